"""Receipts: what ran, for how long, its cost by kind, and when its end was confirmed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpunb.providers.base import Capability, Provider
from gpunb.sessions import start_check
from gpunb.sessions.cost import bills
from gpunb.sessions.foreign_errors import ANY
from gpunb.sessions.model import FORGOTTEN, OVER, Receipt, Session, SessionState

if TYPE_CHECKING:
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["build_receipt", "write_receipt"]


def build_receipt(ledger: Ledger, provider: Provider | None, session: Session, *, why: str = "") -> Receipt:
    """Build the current receipt of `session`; ``confirmed`` is None while it is not over.

    Parameters
    ----------
    provider
        Asked for its own figure where it has one; None leaves it out.
    """
    saved: list[str] = []
    unsaved: dict[str, str] = {}
    brought: dict[str, dict[str, Any]] = {}
    for event in ledger.events(session.id):
        if event.kind == "saved":
            saved.append(event.detail)
            unsaved.pop(event.detail, None)
        elif event.kind == "unsaved":
            with suppress(ValueError, TypeError):  # a row that another program has damaged
                path, reason = json.loads(event.detail)
                unsaved[path] = reason
        elif event.kind == "brought":
            with suppress(ValueError, TypeError, KeyError):
                facts = json.loads(event.detail)
                facts["left"] = [(str(name), str(why)) for name, why in facts["left"]]
                brought[facts["path"]] = facts
        elif event.kind == "transition" and event.new == SessionState.ENDING.value and not why:
            why = event.detail
    checked = start_check.recorded(ledger, session)
    over = session.state in OVER
    left = next((one.detail for one in ledger.events(session.id) if one.kind == FORGOTTEN), "")
    now = ledger.clock.time()
    cost = ledger.cost(session.id, now)
    usd: float | None = None
    not_billed, contradicts = False, ""
    if provider is not None and session.instance_id and provider.can(Capability.USAGE):
        with suppress(*ANY):  # a receipt without the cloud's own figure is better than none
            tried = [intent.instance_id for intent in ledger.intents(session.id) if intent.instance_id]
            by = bills.summed(provider.usages(tried or [session.instance_id]), cost.total)
            not_billed = by is None
            if by is not None:
                usd = sum(by.values())
                contradicts = bills.contradicted(ledger, session, by)
    return Receipt(
        session_id=session.id,
        name=session.name,
        provider=session.provider,
        instance_id=session.instance_id,
        gpu=session.gpu,
        gpus=session.gpus,
        agent=session.agent,
        started=session.created,
        ended=session.ended or now,
        confirmed=(session.ended or now) if over and not left else None,
        cost=cost,
        provider_usd=usd,
        not_billed=not_billed,
        contradicts=contradicts,
        runs=[
            {
                "id": run.id,
                "kind": run.kind,
                "name": run.name,
                "state": run.state,
                "seconds": max(0.0, (run.ended or session.ended or now) - run.started),
            }
            for run in reversed(ledger.runs(session.id, limit=1000))
        ],
        saved=list(dict.fromkeys(saved)),
        brought=list(brought.values()),
        unsaved=[
            *unsaved.items(),
            *((f"{path}/{name}", why) for path, facts in brought.items() for name, why in facts["left"]),
        ],
        check=None if checked is None else checked.data(),
        why=f"{why}; not confirmed, and may be left: {left}" if left else why,
    )


def write_receipt(ledger: Ledger, provider: Provider | None, session: Session, *, why: str = "") -> Receipt:
    """Build the receipt and store it in the ledger, replacing an earlier one."""
    receipt = build_receipt(ledger, provider, session, why=why)
    ledger.save_receipt(receipt)
    return receipt

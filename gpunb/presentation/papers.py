"""``cost --invoices``: invoices and audit logs that clouds keep of the accounts of our keys."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gpunb.errors import GpunbError
from gpunb.hints import typed
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.units import money_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.providers.features import AuditEntry, Invoice
    from gpunb.services.workspace import Workspace

__all__ = ["run"]

SHOWN = 20  # lines of an audit log, which has one for each call; --json has all of them


def run(context: Workspace, since: float) -> Result:
    """Query each cloud that has a key; `since` is in seconds before now, infinite for everything."""
    from gpunb.providers import keys, names
    from gpunb.providers.features import Papers

    now = time.time()
    begin = 0.0 if since == float("inf") else max(0.0, now - since)
    data: dict[str, Any] = {"accounts": [], "invoices": [], "audit": []}
    blocks: list[Block] = []
    without: list[str] = []
    with context.progress("ask the clouds"):
        for name in keys.asked(context.settings, names()):
            provider = context.provider(name)
            if isinstance(provider, Papers):
                blocks += _one(provider, data, begin, now)
            elif provider.needs_key:
                without.append(provider.title)
    if without:
        blocks.append(Note(f"no invoices and no audit log by API: {', '.join(without)}", "dim"))
    if not blocks:
        blocks.append(Note("no cloud has a key: " + typed("login CLOUD"), "dim"))
    return Result(data, *blocks)


def _one(provider: Any, data: dict[str, Any], begin: float, now: float) -> list[Block]:
    """Report one cloud: account, payments and audit log; the failure of one does not hide the others."""
    blocks: list[Block] = []

    def ask(what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except GpunbError as err:
            blocks.append(Note(f"{provider.title}: {what} could not be asked: {err.message}", "warn"))
            return None

    if account := ask("the account", provider.check):
        row = {"provider": provider.name, "user": account.user, "spends_from": account.spends_from}
        data["accounts"].append(row)
        purse = f", spends {account.spends_from}" if account.spends_from else ""
        blocks.append(Note(f"{provider.title}: {account.user}{purse}", "strong"))
    # a day more: the cloud's clock may differ from ours
    paid = ask("the invoices", lambda: provider.invoices(since=begin, until=now + 86_400.0))
    if paid is not None:
        data["invoices"] += [asdict(one) for one in paid]
        blocks.append(_invoices(paid))
    done = ask("the audit log", lambda: provider.audit_log(since=begin))
    if done is not None:
        data["audit"] += [asdict(one) for one in done]
        blocks += _audit(done)
    return blocks


def _when(at: float | None) -> str:
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _invoices(found: Sequence[Invoice]) -> Block:
    if not found:
        return Note("no invoices in this time (--since TIME goes further back)", "dim")
    heads = [
        Column("when"),
        Column("invoice", drop=3),
        Column("kind", drop=2),
        Column("amount", right=True),
        Column("what", drop=1, wrap=True),
    ]
    shown = [
        [
            _when(invoice.at),
            invoice.id,
            invoice.kind,
            money_text(invoice.usd),
            invoice.text or invoice.source,
        ]
        for invoice in found
    ]
    return Table(heads, shown, ["total", "", "", money_text(sum(invoice.usd for invoice in found)), ""])


def _audit(found: Sequence[AuditEntry]) -> list[Block]:
    if not found:
        return [Note("nothing in the audit log in this time", "dim")]
    heads = [Column("when"), Column("call", wrap=True), Column("from", drop=1), Column("key", drop=2)]
    shown: list[list[object]] = [
        [_when(one.at), Cell(one.what, "strong"), one.address, one.key_id] for one in found[:SHOWN]
    ]
    more = len(found) - SHOWN
    rest = [Note(f"and {more} older ones: --json has them", "dim")] if more > 0 else []
    return [Table(heads, shown), *rest]

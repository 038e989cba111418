"""Conversion of sessions, offers and runs to plain values for the server, the widgets and the panel.

Times are Unix seconds, money is US dollars, unknown is None. Every text has gone through
`gpunb.presentation.result.clean`: hosts and clouds are strangers. What is here is JSON as it stands.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from gpunb.presentation import tables
from gpunb.services import lease_warnings
from gpunb.sessions.cost.lease import standing
from gpunb.sessions.model import Cost, SessionState
from gpunb.text import clean
from gpunb.units import price_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpunb.offers import Ranked
    from gpunb.presentation.api import Facets
    from gpunb.presentation.models import Lease, Run, SessionFacts
    from gpunb.presentation.models import Offer as OfferShape
    from gpunb.providers.base import Offer
    from gpunb.sessions.cost.spending import RunCost
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import RunNote, Session

__all__ = [
    "FACETS",
    "facets",
    "offer_key",
    "ranked_shape",
    "run_shape",
    "session_shape",
    "session_shapes",
]

FACETS = ("gpu", "gpus", "vram_gb", "provider", "region", "trust", "spot")
_BY = {"deadline": "time", "idle": "idle", "budget": "money", "": ""}
_S = SessionState
_COMING = frozenset({_S.REQUESTED, _S.CREATING, _S.BOOTING, _S.REACHABLE, _S.UNKNOWN})


def session_shape(
    ledger: Ledger,
    session: Session,
    *,
    now: float | None = None,
    cost: Cost | None = None,
    running: int | None = None,
    simulated: frozenset[str] | None = None,
) -> SessionFacts:
    """Return one session as the panels show it.

    Parameters
    ----------
    cost, running
        What it cost so far and how many runs execute, where the caller knows; else the
        ledger is asked.
    simulated
        The clouds that are simulated now, where the caller knows.

    Returns
    -------
    dict
        ``lease.ends`` is the earliest end if nothing runs from now on, ``lease.ends_by`` what
        would end it then: "time", "idle", "money" or "". ``lease.soon`` says that this is near.
        ``usd_h`` is the price of the present state.
    """
    at = time.time() if now is None else now
    spent = ledger.cost(session.id, at) if cost is None else cost
    active = _active(ledger, session) if running is None else running
    cell = tables.state_cell(session)
    return {
        "id": session.id,
        "name": clean(session.name),
        "provider": session.provider,
        "simulated": session.provider in (_simulated() if simulated is None else simulated),
        "state": session.state.value,
        "detail": clean(
            session.alarm or _silence(ledger, session, at) or _short(ledger, session, at) or session.detail
        ),
        "tone": cell.tone,
        "gpu": clean(session.gpu),
        "gpus": session.gpus,
        "trust": session.trust,
        "host": clean(session.host),
        "port": session.port or None,
        "usd_h": _finite(session.hourly),
        "cost": {
            "gpu": _finite(spent.gpu),
            "disk": _finite(spent.disk),
            "bandwidth": _finite(spent.bandwidth),
            "total": _finite(spent.total),
        },
        "lease": _lease(session, spent, active, at),
        "created": _finite(session.created) or None,
        "ready": _finite(session.ready),
        "ended": _finite(session.ended),
        "runs_active": active,
        "agent": clean(session.agent),
        "next": _next(session),
    }


def session_shapes(ledger: Ledger, *, alive: bool = True, now: float | None = None) -> list[SessionFacts]:
    """Return all sessions (the live ones, with `alive`), in the order in which they began."""
    at = time.time() if now is None else now
    costs, simulated = ledger.costs(at), _simulated()
    return [
        session_shape(
            ledger,
            session,
            now=at,
            cost=costs.get(session.id, Cost()) if session.alive else None,
            simulated=simulated,
        )
        for session in ledger.sessions(alive=alive)
    ]


def _silence(ledger: Ledger, session: Session, now: float) -> str:
    return (
        lease_warnings.silence_text(session, ledger.silences().get(session.id), now) if session.alive else ""
    )


def _short(ledger: Ledger, session: Session, now: float) -> str:
    """Warn that the account can't pay until the leases at its cloud end."""
    from gpunb.sessions.cost import funds

    if not session.alive or not any(fund.provider == session.provider for fund in ledger.funds()):
        return ""
    return dict(funds.lines(ledger, ledger.sessions(), now)).get(session.provider, "")


def _active(ledger: Ledger, session: Session) -> int:
    if not session.alive:
        return 0
    return sum(run.active for run in ledger.open_runs(session.id))


def _simulated() -> frozenset[str]:
    """Return the clouds that `gpunb sim` simulates now; their ledger is apart from the real one."""
    from gpunb import paths

    return frozenset(paths.simulation() or ())


def _lease(session: Session, cost: Cost, running: int, now: float) -> Lease:
    lease = session.lease
    stands = standing(replace(session, lease=replace(lease, idle_s=None)) if running else session, cost, now)
    idle_ends = None
    if session.state is SessionState.READY and lease.idle_s is not None and not running:
        idle_ends = max(session.last_activity or 0.0, session.ready or 0.0) + lease.idle_s
    over = not session.alive
    return {
        "deadline": _finite(lease.deadline),
        "idle_s": _finite(lease.idle_s),
        "idle_ends": None if over else _finite(idle_ends),
        "budget_usd": _finite(lease.budget_usd),
        "ends": None if over else _finite(stands.ends_at),
        "ends_by": "" if over else _BY.get(stands.why, ""),
        "soon": bool(stands.warning) and not over,
    }


def _next(session: Session) -> str:
    """Return the next command or button that makes sense."""
    price = f"; its disk costs {price_text(session.stopped_usd_h)} an hour"
    if session.alarm:
        text = "look at the cloud's own page; gpunb goes on trying"
    elif session.cloud_state == "interrupted":
        text = "Start may bring it back; Down ends it for good"
    elif session.state is SessionState.STOPPED:
        text = "Start brings it back, Down ends it" + (price if session.stopped_usd_h > 0 else "")
    elif session.state is SessionState.ENDING:
        text = f"wait until {clean(session.provider)} confirms the end"
    elif session.state in _COMING:
        text = "wait until it is ready, or end it with Down"
    elif session.state is SessionState.READY:
        text = "%%gpu at the top of a cell runs it there"
    else:
        text = "%gpu receipts shows what it was"
    return text


# -- offers ------------------------------------------------------------------------------------


def offer_key(offer: Offer) -> str:
    """Return an offer's unique key among those of all clouds: ``cloud/rental/id``."""
    return f"{offer.provider}/{offer.rental}/{offer.id}"


def ranked_shape(row: Ranked) -> OfferShape:
    """Return an offer that has been ranked as the picker shows it.

    ``usd_h`` is an hour with the disk; ``parts`` add up to ``total_usd``, what all hours cost
    with disk and traffic in the cloud's billing steps.
    """
    offer = row.offer
    return {
        "key": clean(offer_key(offer)),
        "provider": offer.provider,
        "offer_id": clean(offer.id),
        "gpu": clean(offer.gpu),
        "gpus": offer.gpus,
        "vram_gb": _round(offer.vram_gb, 1),
        "region": clean(offer.region or offer.country),
        "country": clean(offer.country),
        "kind": offer.kind,
        "spot": offer.rental == "spot",
        "reserved": offer.rental == "reserved",
        "trust": offer.trust,
        "verified": offer.verified,
        "cpu": clean(offer.cpu),
        "cores": _round(offer.cores, 2),
        "ram_gb": _round(offer.ram_gb, 1),
        "disk_gb": _round(offer.disk_max_gb, 1),
        "usd_h": _round(row.hourly, 6),
        "parts": {
            "gpu": _round(row.gpu_usd, 6),
            "disk": _round(row.disk_usd, 6),
            "bandwidth": _round(row.traffic_usd, 6),
        },
        "total_usd": _round(row.total, 6),
        "reliability": _finite(offer.reliability),
        "ready_s": _round(row.ready.total_s, 1),
        "why": clean("; ".join(row.why())),
    }


def facets(rows: Iterable[Mapping[str, Any]]) -> Facets:
    """Count the values of `rows` (offer shapes), the most frequent first."""
    kept = list(rows)
    out: dict[str, list[dict[str, Any]]] = {}
    for name in FACETS:
        counts = Counter(row[name] for row in kept if row[name] is not None)
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))
        out[name] = [{"value": value, "count": count} for value, count in ordered]
    return cast("Facets", out)


# -- runs --------------------------------------------------------------------------------------


def run_shape(
    note: RunNote,
    cost: RunCost | None = None,
    *,
    session_name: str = "",
    exit_code: int | None = None,
    now: float | None = None,
) -> Run:
    """Return one run; ``usd`` is what its machine cost while it executed, None without `cost`."""
    at = time.time() if now is None else now
    seconds = None
    if note.started:
        seconds = max(0.0, (at if note.ended is None else note.ended) - note.started)
    return {
        "id": clean(note.id),
        "session": note.session_id,
        "session_name": clean(session_name or (cost.session.name if cost is not None else "")),
        "kind": clean(note.kind),
        "name": clean(note.name),
        "state": clean(note.state),
        "started": _finite(note.started) or None,
        "ended": _finite(note.ended),
        "seconds": _finite(seconds),
        "usd": None if cost is None else _finite(cost.usd),
        "exit_code": exit_code,
        "front": clean(note.front),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _round(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None

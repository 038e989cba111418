"""What a person should know: read from the ledger, each with a key that occurs once."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb.errors import LedgerError
from gpunb.hints import typed
from gpunb.log import redact
from gpunb.sessions.attempts import chain
from gpunb.sessions.cost import limits, limits_used
from gpunb.sessions.cost.lease import standing
from gpunb.sessions.ledger.notices import Notice
from gpunb.sessions.model import HOSTS, Session, SessionState, machine
from gpunb.text import one_line
from gpunb.units import duration_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpunb.providers.features import PriceIncrease
    from gpunb.sessions.cost.lease import Due
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Cost, RunNote
    from gpunb.settings import LimitsSettings

__all__ = ["noticed", "of_increases"]

BUDGET_SHARE = 0.8
CELL_S = 300.0  # the end of a shorter cell is seen by whoever ran it
SILENT_S = 600.0
HORIZON_S = 86400.0
_S = SessionState
_RENTED = {_S.READY, _S.REACHABLE, _S.STOPPED}


def noticed(ledger: Ledger, caps: LimitsSettings | None, crossed: Mapping[str, Due]) -> list[Notice]:
    """Everything that a person should know by now; keys tell what was noticed before.

    Parameters
    ----------
    caps, crossed
        The caps over all sessions, and the sessions that one of them ends now.
    """
    now = ledger.clock.time()
    since = ledger.notices_since(HORIZON_S)
    live = ledger.sessions()
    costs = ledger.costs(now) if live else {}
    over, runs = ledger.ended_after(since)
    names = {one.id: one.name for one in (*live, *over)}
    out = [*_runs(runs, names)]
    for session in live:
        cost = costs.get(session.id)
        out += _lease(ledger, session, cost if cost is not None else ledger.cost(session.id, now), now)
        out += _machine(ledger, session, now)
        if session.alarm:
            out.append(_of(f"unconfirmed:{session.id}:{session.state.value}", "unconfirmed", session.alarm))
    for session in (*live, *over):
        out += _attempts(ledger, session, since)
    known = {notice.key for notice in out}
    for session in over:
        receipt = ledger.receipt(session.id)
        if known & {f"taken:{session.id}", f"chain-over:{session.id}"}:
            continue
        if receipt is not None and receipt.why == "vanished":
            text = f"{session.name} is lost: {session.detail}"
            out.append(_of(f"lost:{session.id}", "machine", text, session))
    return [*out, *_caps(ledger, caps, crossed, now)]


def of_increases(
    provider: str, asked: Sequence[PriceIncrease], sessions: Sequence[Session]
) -> Iterator[Notice]:
    """The price increases that hosts ask for, of sessions."""
    mine = {one.instance_id: one for one in sessions if one.provider == provider}
    for increase in asked:
        session = mine.get(increase.instance_id)
        if session is not None:
            old, new = increase.hourly(session.gpus or 1, session.disk_gb)
            text = (
                f"the host of {session.name} asks for {price_text(new)}/h instead of {price_text(old)}/h: "
                + typed("vast increases")
                + " shows, accepts or refuses it; until then the price stays"
            )
            yield _of(f"increase:{provider}:{increase.id}", "increase", text, session)


def _of(key: str, kind: str, text: str, session: Session | None = None) -> Notice:
    # a cloud's or a host's words may be in it, and a script's name
    safe = one_line(redact(text), 500)
    return Notice(key=key, kind=kind, text=safe, session=session.name if session is not None else "")


def _runs(runs: Sequence[RunNote], names: Mapping[str, str]) -> Iterator[Notice]:
    for run in runs:
        lasted = max(0.0, (run.ended or run.started) - run.started)
        if run.front == HOSTS or (run.kind == "cell" and lasted < CELL_S):
            continue
        what = f"{run.name} ({run.id})" if run.name else f"{run.kind} {run.id}"
        how = {"ok": "has ended", "error": "has failed"}.get(run.state, f"has ended: {run.state}")
        where = names.get(run.session_id, run.session_id)
        text = (
            f"{what} on {where} {how} after {duration_text(lasted)}; " + typed("logs", run.id) + " shows it"
        )
        yield replace(_of(f"run:{run.session_id}:{run.id}", "run", text), session=where)


def _lease(ledger: Ledger, session: Session, cost: Cost, now: float) -> Iterator[Notice]:
    lease = session.lease
    if session.state not in _RENTED:
        return
    # an extension makes a new lease of it; its times would change with the clock
    mark = sum(event.kind == "extend" for event in ledger.events(session.id))
    if any(run.active for run in ledger.open_runs(session.id)):
        session = replace(session, lease=replace(lease, idle_s=None))  # at work
    found = standing(session, cost, now)
    if found.warning and found.ends_at is not None:
        why = {"deadline": "its time", "idle": "its idle time", "budget": "its budget"}[found.why]
        left = duration_text(max(0.0, found.ends_at - now))
        more = ["--budget", f"{2 * (lease.budget_usd or 0.0):.2f}"] if found.why == "budget" else ["1h"]
        keep = typed("extend", session.name, *more)
        text = f"{session.name} ends in {left}: {why} is nearly over; " + keep + " keeps it"
        idle = f":{session.active_at:.0f}" if found.why == "idle" else ""
        yield _of(f"lease:{session.id}:{found.why}:{mark}{idle}", "lease", text, session)
    spent = lease.counted(cost)
    if lease.budget_usd is not None and spent >= BUDGET_SHARE * lease.budget_usd:
        used = f"{session.name} has spent {money_text(spent)} of its budget of {money_text(lease.budget_usd)}"
        yield _of(f"budget:{session.id}:{lease.budget_usd:.4f}", "budget", used, session)


def _machine(ledger: Ledger, session: Session, now: float) -> Iterator[Notice]:
    if session.state is _S.STOPPED and session.cloud_state == "interrupted":
        text = (
            f"{session.name} is outbid and stands still; its disk costs {price_text(session.hourly)}/h: "
            + typed("vast bid", session.name, "win")
            + " goes on, "
            + typed("down", session.name)
            + " ends it"
        )
        yield _of(f"outbid:{session.id}:{session.state_at:.0f}", "machine", text, session)
    elif session.cloud_state == "offline" and session.state in _RENTED:
        text = f"the machine of {session.name} is offline, says {session.provider}; " + typed(
            "show", session.name
        )
        yield _of(f"offline:{session.id}:{_day(now)}", "machine", text, session)
    silence = ledger.silences().get(session.id) if session.state is _S.READY else None
    if silence is not None and now - silence.since >= SILENT_S:
        text = (
            f"the host of {session.name} has not answered for {duration_text(now - silence.since)}: "
            "it is billed all the same; " + typed("doctor") + " checks the way there"
        )
        yield _of(f"silent:{session.id}:{silence.since:.0f}", "machine", text, session)


def _attempts(ledger: Ledger, session: Session, since: float) -> Iterator[Notice]:
    """The machines of a run that goes on when its machine is taken: it was, it goes on, it does not."""
    if session.follows and session.created >= since:
        before = ledger.get(session.follows)
        if ledger.run(before.id, before.ends_with) is not None:
            text = (
                f"the machine of {session.name} was taken: its run goes on from its checkpoint on the next "
                "one, within the same time and budget"
            )
            yield _of(f"taken:{before.id}", "machine", text, session)
    run = ledger.run(session.id, session.ends_with) if session.follows else None
    if run is not None and run.started >= since:
        text = (
            f"{session.name} goes on as run {run.id} on {machine(session.gpu, session.gpus)} of "
            f"{session.provider} for {price_text(session.hourly)}/h, attempt "
            f"{chain.attempt(ledger, session)}; " + typed("attach", run.id) + " shows it"
        )
        yield _of(f"again:{session.id}", "machine", text, session)
    for event in ledger.events(session.id) if session.again else ():
        if event.kind == "chain-over" and event.at >= since:
            text = f"the machine of {session.name} was taken, and its run does not go on: {event.detail}"
            yield _of(f"chain-over:{session.id}", "machine", text, session)


def _caps(
    ledger: Ledger, caps: LimitsSettings | None, crossed: Mapping[str, Due], now: float
) -> Iterator[Notice]:
    if caps is None:
        return
    with suppress(LedgerError):
        for cap, text in limits.lines(ledger, caps, now):
            yield _of(f"near:{cap}:{limits_used.period(cap, now)[0]:.0f}", "cap", text)
    for text in sorted({due.text for due in crossed.values()}):
        yield _of(f"cap:{_day(now)}:{text}", "cap", f"paid sessions end: {text}; " + typed("limits"))


def _day(now: float) -> str:
    return dt.datetime.fromtimestamp(now).astimezone().date().isoformat()

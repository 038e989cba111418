"""Lease and billing warnings shown after every command: ends that are near, bills in doubt."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError, LedgerError, SettingsError
from gpunb.hints import written
from gpunb.sessions.model import SessionState
from gpunb.units import duration_text

if TYPE_CHECKING:
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session, Silence

__all__ = ["at_start", "lines", "silence_text", "tell"]

SILENCE_S = 60.0
STEPS_S = (120.0, 600.0)
# warnings shown by this process: (session, what ends it, step); removed when the end is not near any more
_said: set[tuple[str, str, float]] = set()


def lines(ledger: Ledger, *, now: float | None = None, again: bool = False) -> list[str]:
    """A warning for each lease that ends within 10 minutes, and one more within 2; each once a process.

    Parameters
    ----------
    again
        Also those that were shown before.
    """
    from gpunb.sessions.cost import funds
    from gpunb.sessions.cost.lease import standing

    at = time.time() if now is None else now
    out = []
    sessions = [one for one in ledger.sessions() if one.state.value in {"ready", "reachable", "stopped"}]
    costs = ledger.costs(at) if sessions else {}
    silences = ledger.silences() if sessions else {}
    for session in sessions:
        out += _silent(session, silences.get(session.id), at, again=again)
        if any(run.active for run in ledger.open_runs(session.id)):
            session.lease = replace(session.lease, idle_s=None)  # at work
        cost = costs.get(session.id)
        found = standing(session, cost if cost is not None else ledger.cost(session.id, at), at)
        if found.traffic and (again or (session.id, "traffic", 0.0) not in _said):
            out.append(found.traffic)
            _said.add((session.id, "traffic", 0.0))
        mine = {key for key in _said if key[0] == session.id and key[1] not in {"silent", "traffic"}}
        if not found.warning or found.ends_at is None:
            _said.difference_update(mine)
            continue
        left = found.ends_at - at
        step = next((one for one in STEPS_S if left <= one), STEPS_S[-1])
        key = (session.id, found.why, step)
        if again or key not in _said:
            out.append(found.warning)
        _said.add(key)
    for cap, text in _caps(ledger, at) if sessions else ():
        if again or (cap, "limit", 0.0) not in _said:
            out.append("WARNING: " + text)
        _said.add((cap, "limit", 0.0))
    for cloud, text in funds.lines(ledger, sessions, at):
        if again or (cloud, "funds", 0.0) not in _said:
            out.append("WARNING: " + text)
        _said.add((cloud, "funds", 0.0))
    return out


def _caps(ledger: Ledger, at: float) -> list[tuple[str, str]]:
    from gpunb import paths

    if not paths.settings_have("limits"):  # most have none, and pydantic takes long to import
        return []
    from gpunb.sessions.cost import limits, limits_used

    with contextlib.suppress(SettingsError):
        if (caps := limits_used.current()) is not None:
            return limits.lines(ledger, caps, at)
    return []


def _silent(session: Session, silence: Silence | None, at: float, *, again: bool) -> list[str]:
    text, key = silence_text(session, silence, at), (session.id, "silent", 0.0)
    if not text:
        _said.discard(key)
        return []
    known = key in _said
    _said.add(key)
    return [] if known and not again else [f"WARNING: {text}"]


def silence_text(session: Session, silence: Silence | None, now: float) -> str:
    """A warning that the host has not answered for a while, with consequence and remedy; else ""."""
    if silence is None or session.state is not SessionState.READY or now - silence.since < SILENCE_S:
        return ""
    idle = "; its idle time goes on counting" if session.lease.idle_s is not None else ""
    return (
        f"the host of {session.name} has not answered for {duration_text(now - silence.since)} "
        f"({silence.why}): it is billed all the same{idle}; doctor checks the way there, "
        f"down {session.name} ends it"
    )


def tell(context: Workspace) -> None:
    """Show the warnings in the frontend, if the verb has used the ledger."""
    ledger = context.opened
    if ledger is None or context.as_json:
        return
    with contextlib.suppress(LedgerError):
        found = lines(ledger)
        if found:
            context.say(*((line, "warn") for line in found))


def at_start() -> list[str]:
    """Warnings when the notebook extension is loaded; starts a supervisor if none is alive.

    Unconfirmed bills, live sessions, and whether a supervisor ends them.
    Never fails: an error of the ledger is one of the lines.
    """
    from gpunb import paths

    if not paths.ledger_file().exists():
        return []
    try:
        from gpunb.sessions.ledger.sessions import Ledger

        with Ledger.open() as ledger:
            live = ledger.sessions()
            out = [f"WARNING: {session.alarm}" for session in live if session.alarm]
            if live and ledger.leader() is None:
                out.append(_watched_again(ledger))
            return out + [written(line, "notebook") for line in lines(ledger, again=True)]
    except (GpunbError, OSError) as err:
        return [f"WARNING: {err}"]


def _watched_again(ledger: Ledger) -> str:
    from gpunb.sessions.supervisor import process

    try:
        process.ensure(ledger)
    except GpunbError as err:
        return f"WARNING: nothing watches the leases: {err.message}"
    return "no supervisor was alive to end sessions when their lease is over; one is started"

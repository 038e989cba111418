"""Conversion of ledger records, hosts' answers and clouds' facts to what the browser gets."""

from __future__ import annotations

import math
import os
import platform
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from gpunb.errors import GpunbError
from gpunb.presentation import tables
from gpunb.presentation.shapes import run_shape, session_shape, session_shapes
from gpunb.sessions.access import ports
from gpunb.sessions.model import OVER, SessionState
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpunb.presentation import api, models
    from gpunb.providers import Provider
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Receipt, RunNote, Session, Transfer

__all__ = [
    "cost_now",
    "found",
    "ports_of",
    "receipt",
    "report",
    "run",
    "sample",
    "session_now",
    "sessions_now",
    "supervisor",
    "transfer",
    "transfers",
]

GPUS_MOST = 64
_S = SessionState


def session_now(ledger: Ledger, session: Session, load: models.Sample | None) -> models.Session:
    """Return a session with its ports, its load, and the actions that are possible."""
    return _with(session_shape(ledger, session), session, load)


def sessions_now(
    ledger: Ledger, loads: Mapping[str, models.Sample], *, alive: bool = True
) -> list[models.Session]:
    """Return all sessions in that form."""
    by_id = {session.id: session for session in ledger.sessions(alive=False)} if not alive else {}
    by_id.update((session.id, session) for session in ledger.sessions())
    shapes = session_shapes(ledger, alive=alive)
    return [
        _with(facts, by_id[facts["id"]], loads.get(facts["id"])) for facts in shapes if facts["id"] in by_id
    ]


def _with(shape: models.SessionFacts, session: Session, load: models.Sample | None) -> models.Session:
    there = ports_of(session.id) if session.alive else []
    return {**shape, "ports": there, "load": load if session.alive else None, "can": can(session)}


def can(session: Session) -> list[str]:
    """Return the actions that the session's state and cloud allow."""
    state, out = session.state, []
    if session.state not in {*OVER, _S.ENDING, _S.UNKNOWN}:
        out.append("extend")
    if state in {_S.READY, _S.REACHABLE} and "stop" in capabilities(session.provider):
        out.append("stop")
    if state is _S.STOPPED:
        out.append("start")
    if session.alive:
        out.append("down")
    return out


@cache
def _class(name: str) -> type[Provider] | None:
    from gpunb.providers import provider_class

    try:
        return provider_class(name)
    except GpunbError:
        return None


def capabilities(name: str) -> list[str]:
    """List the cloud's optional capabilities, sorted."""
    found = _class(name)
    return sorted(capability.value for capability in found.capabilities) if found is not None else []


def ports_of(session_id: str) -> list[models.Port]:
    """List the session's port forwards, whichever process holds them."""
    return [
        {
            "host_port": port.host_port,
            "local_port": port.local_port,
            "link": port.link,
            "reverse": port.reverse,
            "here": port.pid == os.getpid(),
            "since": port.since,
        }
        for port in ports.listed(session_id)
    ]


def cost_now(sessions: Iterable[models.SessionFacts]) -> api.CostNow:
    """Return what the live sessions (shapes) have cost so far, and what they cost an hour."""
    kept = list(sessions)
    each = {facts["id"]: round(facts["cost"]["total"] or 0.0, 6) for facts in kept}
    return {
        "usd_h": round(math.fsum(facts["usd_h"] or 0.0 for facts in kept), 6),
        "total": round(math.fsum(each.values()), 6),
        "sessions": each,
    }


def found(ledger: Ledger) -> api.Found:
    """Return orphaned instances and sessions in an unknown state."""
    orphans = ledger.orphans()
    return {
        "orphans": [
            {
                "provider": orphan.provider,
                "instance_id": clean(orphan.instance_id),
                "label": clean(orphan.label),
                "ours": orphan.ours,
                "usd_h": orphan.usd_h,
                "says": clean(note.text),
            }
            for orphan, note in zip(orphans, tables.orphan_notes(orphans), strict=True)
        ],
        "unknown": [
            {
                "id": session.id,
                "name": clean(session.name),
                "provider": session.provider,
                "says": clean(session.alarm),
            }
            for session in ledger.sessions()
            if session.alarm
        ],
    }


def supervisor(ledger: Ledger, error: str | None = None) -> api.Supervisor:
    """Return which supervisor ends sessions whose lease is over."""
    leader = ledger.leader()
    if leader is None:
        return nobody(error)
    host, pid, *_ = [*leader.owner.rsplit("/", 3), "", ""]
    here = host == platform.node() and pid == str(os.getpid())
    return {
        "alive": True,
        "here": here,
        "kind": leader.kind,
        "pid": int(pid) if pid.isdigit() else None,
        "heartbeat": leader.beat,
        "error": error,
    }


def nobody(error: str | None = None) -> api.Supervisor:
    """Return the state without any supervisor."""
    return {"alive": False, "here": False, "kind": None, "pid": None, "heartbeat": None, "error": error}


def transfer(one: Transfer, names: Mapping[str, str]) -> models.Transfer:
    """Return a transfer of the ledger."""
    return {
        "id": str(one.id),
        "session": one.session_id,
        "session_name": clean(names.get(one.session_id, "")),
        "direction": one.direction,
        "what": clean(one.what),
        "bytes": one.bytes,
        "files": one.files,
        "state": clean(one.state),
        "started": one.started,
        "ended": one.ended,
    }


def transfers(ledger: Ledger, sessions: Iterable[Session], limit: int = 50) -> list[models.Transfer]:
    """List the latest transfers of `sessions`, newest first."""
    chosen = list(sessions)
    names = {session.id: session.name for session in chosen}
    rows = [row for session in chosen for row in ledger.transfers(session.id)[-limit:]]
    rows.sort(key=lambda row: row.id, reverse=True)
    return [transfer(row, names) for row in rows[:limit]]


def run(ledger: Ledger, note: RunNote, session: Session | None, exit_code: int | None = None) -> models.Run:
    """Return a run with what its machine cost meanwhile."""
    if session is None:
        return run_shape(note, exit_code=exit_code)
    from gpunb.sessions.cost.spending import RunCost, of_run

    until = session.ended or ledger.clock.time()
    usd = of_run(ledger.segments(session.id), note, until)
    seconds = max(0.0, (note.ended or until) - note.started)
    cost = RunCost(run=note, session=session, seconds=seconds, usd=usd)
    return run_shape(note, cost, exit_code=exit_code)


def receipt(one: Receipt) -> models.Receipt:
    """Return a receipt with its texts cleaned."""
    return cast("models.Receipt", _cleaned(one.data()))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(item) for item in value]
    return value


def sample(told: Mapping[str, Any]) -> models.Sample:
    """Return one sample of a host's load; values from the host that make no sense are left out."""
    given = told.get("gpus")
    gpus = [one for one in given if isinstance(one, dict)][:GPUS_MOST] if isinstance(given, list) else []
    return {
        "at": _number(told.get("ts")) or 0.0,
        "cpu": _number(told.get("cpu")),
        "memory": _pair(told.get("mem")),
        "disk": _pair(told.get("disk")),
        "net": _pair(told.get("net")),
        "gpus": [
            {
                "name": clean(str(gpu.get("name", ""))[:100]),
                "util": _number(gpu.get("util")),
                "memory": _pair(gpu.get("mem")),
                "temp": _number(gpu.get("temp")),
                "power": _number(gpu.get("power")),
            }
            for gpu in gpus
        ],
    }


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _pair(value: object) -> list[float] | None:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        one, two = _number(value[0]), _number(value[1])
        if one is not None and two is not None:
            return [one, two]
    return None


def report(data: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Return a sync's report with its lists cut to `most`, and the full counts."""
    out: dict[str, Any] = _cleaned({key: value for key, value in data.items() if key != "plan"})
    plan = data.get("plan")
    lists = {**data, **(plan if isinstance(plan, dict) else {})}
    for key, value in lists.items():
        if isinstance(value, (list, tuple)):
            out[key] = _cleaned(list(value)[:most])
            out[f"{key}_count"] = len(value)
        elif key not in out and not isinstance(value, dict):
            out[key] = _cleaned(value)
    return out

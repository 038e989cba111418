"""Conversion between the ledger's rows and sessions, intents and events."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from gpunb import log
from gpunb.sessions import model
from gpunb.sessions.model import Lease, Session, SessionState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from gpunb.sessions.model import Intent

__all__ = ["add_event", "intent_of", "row_of", "session_of", "set_fields"]

_LEASE = ("deadline", "idle_s", "budget_usd", "budget_set", "count_ssh")
_TIMES_AND_MONEY = (
    "created", "state_at", "ready", "ended", "deadline", "idle_s", "budget_usd", "last_activity",
    "usd_h", "stopped_usd_h", "disk_gb", "next_try",
)  # fmt: skip
_J = TypeVar("_J", dict[str, Any], list[str])
_COLUMNS = {f.name for f in fields(Session)} - {"id", "state", "state_at", "lease"} | set(_LEASE)


def session_of(row: sqlite3.Row) -> Session:
    """Read a session from a row, without unreadable fields: the session must still be watched and ended."""
    values = dict(row)
    for key in _TIMES_AND_MONEY:
        if values[key] is not None and not isinstance(values[key], (int, float)):
            values[key] = _number(values["id"], key, values[key])
    values["budget_set"] = bool(values["budget_set"])
    values["count_ssh"] = bool(values["count_ssh"])
    values["lease"] = Lease(**{key: values.pop(key) for key in _LEASE})
    values["seen"] = bool(values["seen"])
    values["offer"] = _from_json(values["id"], "offer", values["offer"], {})
    values["save"] = _from_json(values["id"], "save", values["save"], [])
    values["again"] = _from_json(values["id"], "again", values["again"], {})
    values["ports"] = _from_json(values["id"], "ports", values["ports"], {})
    try:
        values["state"] = SessionState(values["state"])
    except ValueError:
        _spoiled(values["id"], "state", values["state"])
        values["state"] = SessionState.UNKNOWN
    return Session(**values)


def _from_json(session_id: str, key: str, text: Any, otherwise: _J) -> _J:
    try:
        result = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        result = None
    if isinstance(result, type(otherwise)):
        return result
    _spoiled(session_id, key, text)
    return otherwise


def _number(session_id: str, key: str, text: Any) -> float | None:
    _spoiled(session_id, key, text)
    try:
        return float(text)
    except (ValueError, TypeError):
        # 1970 for a time and 0 for money: an unreadable value must not make a lease longer
        return 0.0


def _spoiled(session_id: str, key: str, value: Any) -> None:
    log.get(__name__).error("session %s: %s can't be read in the ledger: %.200r", session_id, key, value)


def intent_of(row: sqlite3.Row) -> Intent:
    """Read an intent from a row."""
    values = dict(row)
    values["state"] = model.IntentState(values["state"])
    values["summary"] = json.loads(values["summary"])
    return model.Intent(**values)


def row_of(session: Session) -> dict[str, Any]:
    """The values of a new session's row, by column."""
    values = {f.name: getattr(session, f.name) for f in fields(Session) if f.name != "lease"}
    values.update({key: getattr(session.lease, key) for key in _LEASE})
    values["state"] = session.state.value
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, (dict, list, tuple)) else value


def set_fields(db: sqlite3.Connection, session_id: str, changed: Mapping[str, Any]) -> None:
    """Change columns of a session; `lease` stands for all of its limits."""
    values = dict(changed)
    lease = values.pop("lease", None)
    if lease is not None:
        values.update({key: getattr(lease, key) for key in _LEASE})
    odd = set(values) - _COLUMNS
    if odd:
        msg = f"a session has no field {', '.join(sorted(odd))} that can be changed"
        raise TypeError(msg)
    if values:
        marks = ", ".join(f"{key} = :{key}" for key in values)
        plain = {key: _plain(value) for key, value in values.items()}
        db.execute(f"UPDATE sessions SET {marks} WHERE id = :_id", {**plain, "_id": session_id})


def add_event(
    db: sqlite3.Connection,
    session_id: str,
    at: float,
    kind: str,
    *,
    old: str = "",
    new: str = "",
    detail: str = "",
) -> None:
    """Add a line to a session's history."""
    db.execute(
        "INSERT INTO events (session_id, at, pid, kind, old, new, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (session_id, at, os.getpid(), kind, old, new, detail),
    )

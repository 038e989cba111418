"""What becomes of the sessions that this process rented when it ends: none is left without a word."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError

if TYPE_CHECKING:
    from gpunb.python_api.live_session import Session

__all__ = ["entered", "left", "rented"]

_rented: dict[str, Session] = {}
_open: set[str] = set()  # ids of sessions whose block has not been left


def rented(session: Session) -> None:
    """Note a session that this process rented."""
    if not _rented:
        atexit.register(_end, os.getpid())
    _rented[session.id] = session


def entered(session: Session) -> None:
    """Note that its block begins: if the process ends in it, the session does, too."""
    rented(session)
    _open.add(session.id)


def left(session: Session) -> None:
    """Note that its block has been left, or that what rented it ends it."""
    _open.discard(session.id)
    _rented.pop(session.id, None)


def _end(process: int) -> None:
    if os.getpid() != process:  # a fork's end is not this process's
        return
    for session in list(_rented.values()):
        _settle(session)


def _settle(session: Session) -> None:
    try:
        if session.id in _open:
            session.down()
        elif session.record.alive:
            _say(_stays(session))
    except GpunbError as err:
        _say(f"gpunb: {err}")


def _stays(session: Session) -> str:
    import time

    from gpunb.hints import typed
    from gpunb.units import costs_text, duration_text

    record = session.record
    deadline = record.lease.deadline
    until = "" if deadline is None else f", for {duration_text(max(0.0, deadline - time.time()))} at most"
    ends = typed("down", record.name)
    return f"gpunb: {record.name} runs on and {costs_text(record.hourly)}{until}; {ends} ends it"


def _say(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")

"""What a ledger is filled with in tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gpunb.sessions.ledger.sessions import Ledger, new_id
from gpunb.sessions.model import Intent, Session, SessionState


def add(ledger: Ledger, name: str = "", **more: Any) -> Session:
    return ledger.add_session(
        Session(id=new_id(), name=name, provider="local", label=f"l-{new_id()}", **more), slug="h100"
    )


def ready(ledger: Ledger, *, summary: dict[str, Any] | None = None, **more: Any) -> Session:
    session = add(ledger, **more)
    intent = Intent(label=session.label, session_id=session.id, provider="local", summary=summary or {})
    session = ledger.begin_create(session, intent)
    session = ledger.answer_create(session, f"i-{session.id}", [])
    session = ledger.transition(session, SessionState.REACHABLE)
    return ledger.transition(session, SessionState.READY, ready=time.time())


def whole(file: Path) -> bytes:
    """A ledger with content, closed, its log folded in; its bytes."""
    with Ledger.open(file) as ledger:
        for _ in range(50):
            add(ledger)
    return file.read_bytes()

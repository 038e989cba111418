"""Groups of sessions in a ledger, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.sessions.ledger.sessions import Ledger, new_id
from gpunb.sessions.model import Group, Intent, Session, SessionState

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["add_group", "ready_group", "to_ready"]


def add_group(
    ledger: Ledger, name: str = "team", count: int = 3, *, at_least: int | None = None, **more: Any
) -> Group:
    members = [
        Session(id=new_id(), name="", provider="local", label=f"l-{new_id()}", **more) for _ in range(count)
    ]
    group = Group(id=new_id(), name=name, wanted=count, at_least=count if at_least is None else at_least)
    return ledger.add_group(group, members, claim_s=60.0)


def to_ready(ledger: Ledger, members: Sequence[Session]) -> list[Session]:
    out = []
    for member in members:
        intent = Intent(label=member.label, session_id=member.id, provider="local")
        session = ledger.begin_create(member, intent)
        session = ledger.answer_create(session, f"i-{member.id}", [])
        session = ledger.transition(session, SessionState.REACHABLE)
        out.append(ledger.transition(session, SessionState.READY, ready=ledger.clock.time()))
        ledger.release(member.id)
    return out


def ready_group(ledger: Ledger, name: str = "team", count: int = 3, **more: Any) -> Group:
    group = add_group(ledger, name, count, **more)
    to_ready(ledger, group.members)
    ledger.form_group(group.id)
    return ledger.group(name)

"""What `show` says of a run that goes on when its machine is taken: the attempt, and what came home."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from gpunb.presentation import tables
from gpunb.sessions.attempts import chain, checkpoints

if TYPE_CHECKING:
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["Attempt", "data", "rows"]


class Attempt(TypedDict):
    """The fields of `gpunb.presentation.rows.SessionShown` on it."""

    attempt: int
    followed_by: str
    checkpoint: str


def rows(ledger: Ledger, session: Session, now: float) -> list[tuple[str, str]]:
    """The rows of the table; none for a session whose run does not go on elsewhere."""
    if not session.again:
        return []
    events = ledger.events(session.id)
    home = next((event.at for event in reversed(events) if event.kind == checkpoints.KIND), None)
    kept = checkpoints.kept(ledger, session)
    came = f"came home {tables.ago(home, now)}" if home is not None else "has not come home from this machine"
    place = f"; the last is in {kept}" if kept is not None else ""
    later = ledger.successor(session.id)
    before = ledger.get(session.follows) if session.follows else None
    over = next((event.detail for event in events if event.kind == "chain-over"), "")
    return [
        ("attempt", f"{chain.attempt(ledger, session)} of at most {chain.MOST}"),
        ("after", f"{before.name} ({before.id})" if before is not None else ""),
        ("goes on in", f"{later.name} ({later.id})" if later is not None else over and f"no other: {over}"),
        ("checkpoint", f"{session.again.get('checkpoint', '')}: {came}{place}"),
    ]


def data(ledger: Ledger, session: Session) -> Attempt:
    """The same as fields."""
    later = ledger.successor(session.id)
    return {
        "attempt": chain.attempt(ledger, session) if session.again else 0,
        "followed_by": later.id if later is not None else "",
        "checkpoint": str(session.again.get("checkpoint", "")),
    }

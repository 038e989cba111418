"""Sessions that take the place of others: a move, and the next machine of a run whose machine was taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, WrongState
from gpunb.sessions.ledger.notices import Notices
from gpunb.sessions.ledger.rows import add_event, row_of, session_of, set_fields
from gpunb.sessions.model import OVER, Lease, Session, SessionState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

__all__ = ["Successors", "free_name", "insert", "names_taken"]

_LIVE = "state NOT IN ('gone', 'failed')"


def insert(db: sqlite3.Connection, session: Session, slug: str, now: float) -> None:
    """Insert a new session in state requested; without a name it is called "<slug>-<n>".

    Raises
    ------
    BadInput
        A live session has its name.
    """
    session.created, session.state_at, session.state = now, now, SessionState.REQUESTED
    if session.name in names_taken(db):
        msg = f"--name {session.name!r} is taken by a live session"
        raise BadInput(msg, bill="nothing was rented", hint="choose another name")
    session.name = session.name or free_name(db, slug)
    row = row_of(session)
    names, marks = ", ".join(row), ", ".join(f":{key}" for key in row)
    db.execute(f"INSERT INTO sessions ({names}) VALUES ({marks})", row)
    add_event(db, session.id, now, "transition", new=session.state.value)


def names_taken(db: sqlite3.Connection) -> set[str]:
    """The names of live sessions, and of the groups with live members: they share one name space."""
    names = db.execute(
        f"SELECT name FROM sessions WHERE {_LIVE} UNION SELECT g.name FROM groups g "
        f"JOIN sessions s ON s.group_id = g.id AND s.{_LIVE}"
    )
    return {row["name"] for row in names}


def free_name(db: sqlite3.Connection, slug: str) -> str:
    """The first of "<slug>-1", "<slug>-2" … that is not taken."""
    taken, number = names_taken(db), 1
    while f"{slug}-{number}" in taken:
        number += 1
    return f"{slug}-{number}"


def _left_name(db: sqlite3.Connection, name: str) -> str:
    """The name of a session whose own goes to another one."""
    taken = names_taken(db)
    names = (f"{name[:26]}-was{number or ''}" for number in range(len(taken) + 1))
    return next(one for one in names if one not in taken)


class Successors(Notices):
    """Base class of `gpunb.sessions.ledger.sessions.Ledger`: one session in the place of another."""

    def get(self, session_id: str) -> Session:
        """The session with this id."""
        raise NotImplementedError

    def _move(  # noqa: PLR0917
        self,
        db: sqlite3.Connection,
        session: Session,
        new_state: SessionState,
        detail: str,
        now: float,
        changed: Mapping[str, Any],
    ) -> None:
        raise NotImplementedError

    def switch(self, old: Session, new: Session, lease: Lease) -> Session:
        """Give `new` the name and the rest of the lease of `old`, which begins to end: all or nothing.

        Raises
        ------
        WrongState
            One of them is not ready any more, or `new` was not made to take the place of `old`.
        """
        now = self.clock.time()
        with self._write(durable=True) as db:
            rows = [
                db.execute("SELECT * FROM sessions WHERE id = ?", (session.id,)) for session in (old, new)
            ]
            was, comes = (session_of(row.fetchone()) for row in rows)
            if comes.state is not SessionState.READY or comes.moves_from != old.id:
                msg = f"session {comes.name} is {comes.state.value} by now: it can't take {was.name}'s place"
                raise WrongState(msg)
            left = _left_name(db, was.name)
            detail = f"moved to {comes.provider} instance {comes.instance_id}"
            ending = {"name": left, "tries": 0, "next_try": 0.0}
            self._move(db, old, SessionState.ENDING, detail, now, ending)
            set_fields(db, new.id, {"name": was.name, "lease": lease, "moves_from": ""})
            add_event(db, new.id, now, "moved", detail=f"takes the place of {was.id}, now {left}")
        return self.get(new.id)

    def succeed(self, old: Session, new: Session, why: str) -> Session:
        """Record `new`, on which the run of `old` goes on, and that `old` begins to end: all or nothing.

        `new` takes the name. It is requested and nothing is rented for it; there is at most one.

        Raises
        ------
        WrongState
            `old` is in another state by now, or another process has recorded its successor.
        """
        now = self.clock.time()
        with self._write(durable=True) as db:
            known = db.execute("SELECT id FROM sessions WHERE follows = ?", (old.id,)).fetchone()
            if known is not None:
                msg = f"the run of {old.name} goes on in session {known['id']} already"
                raise WrongState(msg, bill="nothing was rented")
            if old.state not in OVER:
                ending = {"name": _left_name(db, old.name), "tries": 0, "next_try": 0.0}
                self._move(db, old, SessionState.ENDING, why, now, ending)
            new.follows, new.name = old.id, "" if old.name in names_taken(db) else old.name
            insert(db, new, old.name[:28], now)
            add_event(db, old.id, now, "followed", detail=f"its run goes on in {new.id}")
        return self.get(new.id)

    def successor(self, session_id: str) -> Session | None:
        """The session on which the run of this one goes on; None if there is none."""
        rows = self._rows("SELECT * FROM sessions WHERE follows = ?", (session_id,))
        return session_of(rows[0]) if rows else None

    def unfollowed(self) -> list[Session]:
        """Sessions over, within their time, whose runs were to go on elsewhere and have no session yet."""
        rows = self._rows(
            "SELECT * FROM sessions AS was WHERE state IN ('gone', 'failed') AND again != '{}' "
            "AND (deadline IS NULL OR deadline > ?) "
            "AND NOT EXISTS (SELECT 1 FROM sessions WHERE follows = was.id)",
            (self.clock.time(),),
        )
        return [session_of(row) for row in rows]

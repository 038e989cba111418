"""Groups in the ledger: their rows, their members' ranks, and what the members have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.errors import BadInput, SessionNotFound
from gpunb.hints import typed
from gpunb.sessions.ledger.rows import session_of, set_fields
from gpunb.sessions.ledger.successors import Successors, free_name, insert, names_taken
from gpunb.sessions.model import Group, Lease, Session

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

__all__ = ["Groups"]

_LIVE = "state NOT IN ('gone', 'failed')"
_OF_LIVE = f"id IN (SELECT group_id FROM sessions WHERE group_id != '' AND {_LIVE})"


class Groups(Successors):
    """Base class of `gpunb.sessions.ledger.sessions.Ledger`: sessions that are rented and ended together."""

    def add_group(
        self,
        group: Group,
        members: Sequence[Session],
        *,
        slug: str = "gpu",
        claim_s: float = 0.0,
        admit: Callable[[], None] | None = None,
    ) -> Group:
        """Record a group and its members in state requested, all claimed by this process, or nothing.

        Parameters
        ----------
        members
            In the order of their ranks; their names are made from the group's.
        slug, claim_s
            As `gpunb.sessions.ledger.sessions.Ledger.add_session`.
        admit
            As `gpunb.sessions.ledger.sessions.Ledger.begin_create`.

        Raises
        ------
        BadInput
            A live session or group has this name.
        LedgerUnwritable
            The disk is full, or has no room for writing down its end.
        """
        self.hold_reserve()
        now = self.clock.time()
        with self._write(durable=True) as db:
            group.name = group.name or free_name(db, slug)
            if group.name in names_taken(db):
                msg = f"--name {group.name!r} is taken by a live session or group"
                raise BadInput(msg, bill="nothing was rented", hint="choose another name")
            group.created = now
            db.execute(
                "INSERT INTO groups (id, name, wanted, at_least, created) VALUES (?, ?, ?, ?, ?)",
                (group.id, group.name, group.wanted, group.at_least, now),
            )
            for rank, member in enumerate(members):
                member.group_id, member.rank, member.name = group.id, rank, f"{group.name}.{rank}"
                insert(db, member, slug, now)
                db.execute(
                    "INSERT OR REPLACE INTO claims (session_id, owner, until) VALUES (?, ?, ?)",
                    (member.id, self.owner, now + claim_s),
                )
            if admit is not None:
                admit()
        return self.group(group.name)

    def form_group(self, group_id: str) -> None:
        """Record that the group is complete: from here on, its lease alone ends it."""
        with self._write(durable=True) as db:
            db.execute(
                "UPDATE groups SET formed = ? WHERE id = ? AND formed IS NULL", (self.clock.time(), group_id)
            )

    def lease_group(
        self, lease: Lease, members: Sequence[str], *, admit: Callable[[str], None] | None = None
    ) -> None:
        """Give these members one lease: all of them, or none if `admit` raises for one."""
        with self._write() as db:
            for member in members:
                set_fields(db, member, {"lease": lease})
            for member in members if admit is not None else ():
                if admit is not None:
                    admit(member)

    def groups(self, *, alive: bool = True) -> list[Group]:
        """The groups with members that may still cost something, or all, oldest first."""
        where = f" WHERE {_OF_LIVE}" if alive else ""
        return self._with_members(self._rows(f"SELECT * FROM groups{where} ORDER BY created, id"))

    def find_group(self, name: str) -> Group | None:
        """The group with exactly this name, a live one or the latest; None if there is none."""
        rows = self._rows(
            f"SELECT * FROM groups WHERE name = ? ORDER BY {_OF_LIVE} DESC, created DESC LIMIT 1", (name,)
        )
        return next(iter(self._with_members(rows)), None)

    def group(self, name: str) -> Group:
        """As `find_group`.

        Raises
        ------
        SessionNotFound
            There is none.
        """
        found = self.find_group(name)
        if found is None:
            msg = f"there is no group {name!r}"
            raise SessionNotFound(msg, asked=name, hint=typed("ps --all") + " lists them")
        return found

    def group_of(self, session: Session) -> Group | None:
        """The group that the session is a member of; None if of none."""
        if not session.group_id:
            return None
        rows = self._rows("SELECT * FROM groups WHERE id = ?", (session.group_id,))
        return next(iter(self._with_members(rows)), None)

    def lost_in_group(self, session: Session) -> list[Session]:
        """The other members of its group with create calls whose answers are lost, and not looked up yet."""
        rows = self._rows(
            "SELECT s.* FROM intents i JOIN sessions s ON s.id = i.session_id "
            "WHERE s.group_id = ?1 AND ?1 != '' AND s.id != ?2 AND i.state = 'sent' "
            "AND i.resolved IS NOT NULL ORDER BY i.sent",
            (session.group_id, session.id),
        )
        return [session_of(row) for row in rows]

    def _with_members(self, rows: Sequence[sqlite3.Row]) -> list[Group]:
        found = [Group(**dict(row)) for row in rows]
        for group in found:
            members = self._rows("SELECT * FROM sessions WHERE group_id = ? ORDER BY rank", (group.id,))
            group.members = [session_of(member) for member in members]
        return found

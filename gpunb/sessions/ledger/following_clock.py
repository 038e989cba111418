"""Moves the ledger's times along when this machine's clock is set."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gpunb import log
from gpunb.sessions.ledger import clock_steps
from gpunb.sessions.ledger.connection import Store

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from gpunb.sessions.model import Clock, Session

__all__ = ["FollowingClock"]


class FollowingClock(Store):
    """Base class of `gpunb.sessions.ledger.sessions.Ledger`: times that follow the clock."""

    clock: Clock
    _followed: clock_steps.Mark | None

    def follow_clock(self) -> float:
        """Move the times of live sessions if this machine's clock was set.

        Returns the seconds that any process moved them since this object's last call.
        """
        found = self._steady()
        if found is None:
            return 0.0
        mark = clock_steps.read(self._db())
        if mark is None or clock_steps.compare(mark, *found, self.clock.time(), 0.0)[0] != mark:
            with self._write() as db:
                mark = clock_steps.read(db)
        before, self._followed = self._followed, mark
        if before is None or mark is None or before.boot != mark.boot:
            return 0.0
        return mark.offset - before.offset

    @contextlib.contextmanager
    def _write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One write transaction, after the clock's steps are applied: times in it are consistent."""
        with super()._write(durable=durable) as db:
            self._follow(db)
            yield db

    def _follow(self, db: sqlite3.Connection) -> None:
        found, wall = self._steady(), self.clock.time()
        if found is None:
            return
        before = clock_steps.read(db)
        if before is not None and clock_steps.compare(before, *found, wall, 0.0)[0] == before:
            return
        mark, step, since = clock_steps.compare(before, *found, wall, clock_steps.latest(db))
        clock_steps.save(db, mark)
        if step:
            clock_steps.move(db, step, since)
            log.get(__name__).warning("this machine's clock was set by %+.0f s; leases move along", step)

    def _steady(self) -> tuple[str, float] | None:
        steady: Callable[[], tuple[str, float] | None] = getattr(self.clock, "steady", lambda: None)
        return steady()

    def held(self, session: Session) -> bool:
        """Whether the session's lease must wait: this machine just started, and its clock may be wrong."""
        found, mark = self._steady(), clock_steps.read(self._db())
        if found is None or mark is None or not mark.fresh or mark.boot != found[0]:
            return False
        return found[1] - mark.ticks < clock_steps.HOLD_S and session.created < mark.wall

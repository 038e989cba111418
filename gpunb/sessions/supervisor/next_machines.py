"""The supervisor's part of runs that go on when their machine is taken: checkpoints, and the next machine."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb.errors import WrongState
from gpunb.sessions.attempts import chain, checkpoints
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.lifecycle.ending import Listing, begin_end, end_step
from gpunb.sessions.model import Session, SessionState
from gpunb.sessions.supervisor.session_ends import SessionEnds

if TYPE_CHECKING:
    from gpunb.sessions.supervisor.looked import Looked

__all__ = ["NextMachines"]

_S = SessionState
FAILED_S = 60.0  # from a copy that failed to the next


class NextMachines(SessionEnds):
    """Base class of `gpunb.sessions.supervisor.sweep.Supervision`: the machines of one run."""

    def _go_on(self, listing: Listing, session: Session, looked: Looked) -> Session:
        """Care for a live session whose run goes on when its machine is taken."""
        if chain.is_taken(self.ledger, session, self.ledger.clock.time()):
            return self._taken(listing, session, looked)
        if session.state is _S.READY:
            if self._unbegun(session):
                self._begin_run(session)
            self._checkpoint(session)
        return session

    def _taken(self, listing: Listing, session: Session, looked: Looked) -> Session:
        """End a session whose machine was taken; the next one of a run that goes on is recorded with that."""
        looked.ended.append((session.name, "taken"))
        over = chain.ended_chain(self.ledger, session)
        if over or not chain.goes_on(self.ledger, session):
            if over:
                self.ledger.note(session.id, "chain-over", over)
                self._trouble.append(f"{session.name}: its machine was taken, and {over}")
            begin_end(self.ledger, session.id, chain.TAKEN)
        else:
            self.ledger.succeed(session, chain.successor_of(self.ledger, session), chain.TAKEN)
        self._drop(session.id)
        return end_step(self.ledger, listing, self.ledger.get(session.id), self.timing)

    def _follow_up(self, looked: Looked) -> None:
        """Record the next sessions of runs whose machines are gone: no process may have seen them go."""
        none: list[Session] = []
        for session in self._read(looked, "runs", self.ledger.unfollowed, none):
            with suppress(WrongState):  # another process was faster
                if not chain.goes_on(self.ledger, session):
                    continue
                if over := chain.ended_chain(self.ledger, session):
                    self.ledger.note(session.id, "chain-over", over)
                    looked.errors.append(f"{session.name}: its machine was taken, and {over}")
                    continue
                self.ledger.succeed(session, chain.successor_of(self.ledger, session), chain.TAKEN)

    def _next_machine(self, session: Session) -> Session:
        """Have a requested session's machine rented, once the one before it is confirmed gone."""
        if not session.follows:
            if self.ledger.in_hand(session.id):
                return session  # a member of a group that waits for its turn, in this process
            why = "its rent was broken off before anything was sent"
            return self.ledger.transition(session, _S.FAILED, why)
        now = self.ledger.clock.time()
        if session.lease.deadline is not None and session.lease.deadline - now < chain.LEAST_S:
            return begin_end(self.ledger, session.id, "deadline")
        before = chain.waits_for(self.ledger, session)
        if before is not None:
            detail = f"waits until {before.name} is confirmed gone"
            return session if session.detail == detail else self.ledger.update(session.id, detail=detail)
        if now >= session.next_try and not self.ledger.in_hand(session.id):
            self._begin_run(session)
        return self.ledger.get(session.id)

    def _unbegun(self, session: Session) -> bool:
        """Whether the process that rented a session died before it began the run there."""
        begun = self.ledger.run(session.id, session.ends_with) is not None
        return bool(session.follows) and not begun and not self.ledger.in_hand(session.id)

    def _begin_run(self, session: Session) -> None:
        try:
            self.begin(session)
        except ANY as err:  # no process can be started: tried again at the next tick
            self._trouble.append(f"{session.name}: its run can't be begun: {words(err)}")

    def _checkpoint(self, session: Session) -> None:
        """Bring the checkpoint home when that is due, in a thread of its own, if there are any."""
        now = self.ledger.clock.time()
        if session.id in self._copying:
            return
        if not checkpoints.due(self.ledger, session, now, self._copied.get(session.id, 0.0)):
            return
        self._copied[session.id] = now
        self._copying.add(session.id)

        def work() -> None:
            try:
                if why := checkpoints.keep(self.ledger, session, self.host, self.timing):
                    self._trouble.append(f"{session.name}: its checkpoint did not come home: {why}")
                    self._copied[session.id] = now - checkpoints.EVERY_S + FAILED_S
            except ANY as err:
                self._trouble.append(f"{session.name}: its checkpoint did not come home: {words(err)}")
            finally:
                self._copying.discard(session.id)

        try:
            work() if self.pool is None else self.pool.submit(work)
        except RuntimeError:  # no more threads
            self._copying.discard(session.id)

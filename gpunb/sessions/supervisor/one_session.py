"""One check of one session: its lease, unfinished work, and the provider's view of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gpunb.errors import InstanceGone, LedgerTooNew, ProviderError, WrongState
from gpunb.providers.base import Instance, InstanceState, Provider
from gpunb.sessions.cost.lease import Due, due
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.lifecycle import run_end
from gpunb.sessions.lifecycle.bringup import record_instance
from gpunb.sessions.lifecycle.catching_up import apply
from gpunb.sessions.lifecycle.ending import Listing, begin_end, end_step, resolve_lost_create
from gpunb.sessions.lifecycle.rescue import AGAIN_S, files_due
from gpunb.sessions.lifecycle.run_end import RUN
from gpunb.sessions.model import OVER, Cost, Session, SessionState
from gpunb.sessions.supervisor.ledger_memory import RENTED
from gpunb.sessions.supervisor.next_machines import NextMachines

if TYPE_CHECKING:
    from gpunb.sessions.supervisor.looked import Looked

__all__ = ["OneSession"]

_S = SessionState
BROKEN_OFF = "its move was broken off; the session that it was to replace goes on"
MOVE_S = 60.0  # a new machine may be in nobody's hand for so long, between its rental and the copy


class OneSession(NextMachines):
    """Base class of `gpunb.sessions.supervisor.sweep.Supervision`: the check of one session."""

    def _look(
        self, provider: Provider, listing: Listing, session: Session, cost: Cost, looked: Looked
    ) -> None:
        with self._lock:
            if session.id in self._ending:
                return
        try:
            if self._left_alone(session, cost):
                return
            after = self._step(provider, listing, session, cost, looked)
        except WrongState:
            return  # another process moved it in the meantime
        except LedgerTooNew:
            raise
        except ANY as err:  # one session's trouble must not stop the others, nor its own end
            looked.errors.append(f"{session.name}: {words(err)}")
            self._end_anyway(listing, session, cost)
            return
        if after.state in OVER:
            looked.over.append(after.name)
            self._written_down(after)

    def _left_alone(self, session: Session, cost: Cost) -> bool:
        """Whether another process works on the session; if its lease is over, that is not waited for."""
        if not self.ledger.claimed(session.id):
            return False
        if session.state not in RENTED:
            return True
        return session.id not in self._crossed and due(session, cost, self.ledger.clock.time()) is None

    def _step(
        self, provider: Provider, listing: Listing, session: Session, cost: Cost, looked: Looked
    ) -> Session:
        ledger = self.ledger
        if session.state is _S.REQUESTED:
            return self._next_machine(session)
        if session.state in {_S.CREATING, _S.UNKNOWN}:
            session = self._settle(listing, session)
        if session.moves_from and session.state in RENTED and self._left_half_way(session):
            looked.ended.append((session.name, "move"))
            session = begin_end(ledger, session.id, BROKEN_OFF)
        if session.state is _S.ENDING:
            return end_step(ledger, listing, session, self.timing)
        if session.state not in RENTED:
            return session
        over = self._due(session, cost)
        if over is not None:  # by the clock as it is now, which may have been set since it was read
            self._follow_clock(looked)
            session = ledger.get(session.id)
            over = self._due(session, cost) if session.state in RENTED else None
        if over is not None and over.why == "idle":
            session = self._tender.ask(session)
            over = due(session, cost, ledger.clock.time())
            if over is not None and over.why == "idle" and not self._all_idle(session):
                over = None  # it did not answer yet, or may be at work
        if over is not None and over.why == RUN:
            return self._end_with_run(provider, listing, session, looked)
        if over is not None and not ledger.held(session):
            return self._end(provider, listing, session, over.why, looked)
        if session.state in RENTED:
            session = self._compare(provider, listing, session)
        if session.again:
            session = self._go_on(listing, session, looked)
        return self._tender.tend(session) if session.state is _S.READY else session

    def _left_half_way(self, session: Session) -> bool:
        """Whether the process that moved a session here is gone: two machines are billed for one."""
        young = self.ledger.clock.time() - session.state_at < MOVE_S
        return not young and not self.ledger.in_hand(session.id)

    def _all_idle(self, session: Session) -> bool:
        """Whether a session is really idle, and so is every other member of its group."""
        if not self._tender.surely_idle(session):
            return False
        group = self.ledger.group_of(session)
        for other in () if group is None else group.live:
            if other.id == session.id or other.state is not _S.READY:
                continue
            member = self._tender.ask(other)
            quiet = self.ledger.clock.time() - member.active_at
            if quiet < (member.lease.idle_s or math.inf) or not self._tender.surely_idle(member):
                return False
        return True

    def _due(self, session: Session, cost: Cost) -> Due | None:
        now = self.ledger.clock.time()
        over = self._crossed.get(session.id) or due(session, cost, now)
        if over is None and now - self._started.get(session.id, (0.0, ""))[0] >= AGAIN_S:
            over = files_due(session, cost, now)
        if over is None and now - self._unhomed.get(session.id, 0.0) >= run_end.AGAIN_S:
            over = run_end.run_over(self.ledger, session, now)
        return over

    def _settle(self, listing: Listing, session: Session) -> Session:
        was = session.state
        session = resolve_lost_create(self.ledger, listing, session, self.timing)
        if session.state is _S.BOOTING and was is _S.UNKNOWN:
            return begin_end(self.ledger, session.id, "found again; no process waits for it")
        if session.state in {_S.CREATING, _S.UNKNOWN} and not self.ledger.intents(
            session.id, unresolved=True
        ):
            return self.ledger.transition(session, _S.FAILED, "confirmed: nothing came of its create call")
        return session

    # -- healthy sessions -------------------------------------------------

    def _compare(self, provider: Provider, listing: Listing, session: Session) -> Session:
        """Update the ledger from the provider's list, and advance a booting session."""
        now = self.ledger.clock.time()
        booting = session.state in {_S.BOOTING, _S.REACHABLE}
        if not booting and now - self._listed.get(session.id, 0.0) < self.list_s:
            return session
        instances = listing.instances()
        if instances is None:
            return session
        self._listed[session.id] = now
        instance: Instance | None = next((one for one in instances if one.id == session.instance_id), None)
        # a list may lag, and its rows may be short: Fluence's have no port, and machines no address
        if instance is None or (booting and _runs_unaddressed(instance)):
            try:
                instance = provider.get(session.instance_id)
            except InstanceGone:
                instance = None
            except ProviderError:
                return session
        session = apply(self.ledger, provider, session, instance, host=self.host, timing=self.timing)
        if booting and instance is not None and session.state in {_S.BOOTING, _S.REACHABLE}:
            return self._boot(provider, session, instance)
        return session

    def _boot(self, provider: Provider, session: Session, instance: Instance) -> Session:
        if instance.state is InstanceState.RUNNING and instance.host and instance.port:
            session = record_instance(self.ledger, session, instance)
            session = self._tender.enter(session, instance, provider)
        if session.ready is not None or session.state not in {_S.BOOTING, _S.REACHABLE}:
            return session
        why = self._tender.refused.get(session.id, "")
        if instance.state in {InstanceState.FAILED, InstanceState.ENDING}:
            why = f"{session.provider} says {instance.state.value}"
        elif self._tender.at_work(
            session
        ) or self.ledger.clock.time() - session.state_at <= self.timing.boot_of(self.ledger, session):
            return session
        reason = why or f"{session.provider} says {instance.state.value}"
        return begin_end(self.ledger, session.id, f"boot failed: {reason}")


def _runs_unaddressed(instance: Instance) -> bool:
    return instance.state is InstanceState.RUNNING and not (instance.host and instance.port)

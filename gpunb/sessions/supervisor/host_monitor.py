"""What the supervisor asks of hosts, and tells them, without waiting for any of them."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb.errors import HostError, LedgerError, WrongState
from gpunb.sessions.access.activity import observe
from gpunb.sessions.cost.segments import pays_traffic
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.lifecycle.bringup import enter
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from gpunb.providers.base import Instance, Provider
    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.timeouts import Timing
    from gpunb.sessions.model import Session

__all__ = ["HostMonitor"]

# how often a host is asked at least: for its traffic, and to be told its lease anew
CONTACT_S = 300.0
# how often at most one is asked on which something of ours runs
RUNS_S = 20.0
# Silence of a host after which its idle time holds without its word, where nothing of ours runs there
# (one blip tore down a healthy cluster, skypilot#6787), and where something does that may go on.
SILENT_S = 120.0
SILENT_RUN_S = 3600.0


class HostMonitor:
    """Talks to the hosts of sessions, to each about one thing at a time.

    Parameters
    ----------
    executor
        Where that is done: a host is a stranger, and may take the connection and say nothing.
        None does it in turn.
    pulse_s
        How often at most a host is asked what runs there.
    told
        Takes what went wrong, one line each.

    Attributes
    ----------
    refused
        Session id -> why its host could not be entered the last time.
    """

    def __init__(
        self,
        ledger: Ledger,
        host: HostAccess,
        timing: Timing,
        *,
        executor: Executor | None,
        pulse_s: float,
        told: Callable[[str], None],
    ) -> None:
        self.ledger = ledger
        self.host = host
        self.timing = timing
        self.executor = executor
        self.pulse_s = pulse_s
        self.told = told
        self.refused: dict[str, str] = {}
        self._asked: dict[str, float] = {}
        self._answered: dict[str, float] = {}
        self._failed: dict[str, float] = {}
        self._silent: dict[str, float] = {}
        self._talking: set[str] = set()
        self._lock = threading.Lock()

    def forget_times(self) -> None:
        """The clock was set: when something was asked says nothing any more."""
        self._asked.clear()
        self._answered.clear()
        self._failed = dict.fromkeys(self._failed, self.ledger.clock.time())

    def at_work(self, session: Session) -> bool:
        """Whether something is being asked of its host now."""
        return session.id in self._talking

    def _do(self, session: Session, work: Callable[[Session], None]) -> Session:
        """Do `work` in a thread of its own, or here and now; the session then."""
        if self.executor is None:
            work(session)
            return self.ledger.get(session.id)
        with self._lock:
            if session.id in self._talking:
                return session
            self._talking.add(session.id)

        def run() -> None:
            try:
                work(session)
            except WrongState:
                pass  # it was moved on meanwhile
            except ANY as err:  # told at the next tick
                self.told(f"{session.name}: {words(err)}")
            finally:
                with self._lock:
                    self._talking.discard(session.id)

        try:
            self.executor.submit(run)
        except RuntimeError as err:  # no more threads: asked again later
            with self._lock:
                self._talking.discard(session.id)
            self.told(f"{session.name}: its host can't be asked: {err}")
        return session

    def enter(self, session: Session, instance: Instance, provider: Provider | None = None) -> Session:
        """Bring a session whose instance runs to ready; `refused` says why that failed."""

        def work(one: Session) -> None:
            try:
                within = self.timing.agent_s
                enter(self.ledger, one, instance, host=self.host, within=within, provider=provider)
            except HostError as err:
                self.refused[one.id] = err.message

        return self._do(session, work)

    def tend(self, session: Session) -> Session:
        """Ask the host how its runs do, and when it seems idle; tell it a lease that it missed."""
        since = self.ledger.clock.time() - self._asked.get(session.id, 0.0)
        if since >= min(RUNS_S, self.pulse_s) and self.ledger.open_runs(session.id):
            return self.ask(session, every=RUNS_S)
        if since < self.pulse_s:
            return session
        if session.armed != session.lease.mark:
            self._asked[session.id] = self.ledger.clock.time()
            return self._do(session, self._arm)
        quiet = self.ledger.clock.time() - session.active_at
        idle = session.lease.idle_s is not None and quiet >= min(session.lease.idle_s / 3.0, CONTACT_S)
        if idle or session.id in self._failed or since >= CONTACT_S:
            return self.ask(session)
        return session

    def _arm(self, session: Session) -> None:
        with suppress(HostError):
            self.host.arm(session)
            self.ledger.update(session.id, armed=session.lease.mark)

    def ask(self, session: Session, *, every: float = math.inf) -> Session:
        """Ask the agent what runs, if it was not asked a moment ago, or its idle time has just ended."""
        now, asked = self.ledger.clock.time(), self._asked.get(session.id, 0.0)
        if now - asked < min(self.pulse_s, every) and not asked < idle_at(session) <= now:
            return session
        self._asked[session.id] = now
        return self._do(session, self._pulse)

    def _pulse(self, session: Session) -> None:
        asked = self.ledger.clock.time()
        session = self.ledger.get(session.id)  # with the lease as it is now
        try:
            pulse = self.host.pulse(session)
        except (LedgerError, WrongState):
            raise
        except ANY as err:  # no answer, or one that makes no sense
            self._unanswered(session, asked, words(err))
            return
        self._failed.pop(session.id, None)
        self._silent.pop(session.id, None)
        self.ledger.note_answer(session.id)
        if session.armed != session.lease.mark:
            self.ledger.update(session.id, armed=session.lease.mark)
        if pulse.net is not None and pays_traffic(session):
            self.ledger.meter(session.id, *pulse.net)
        observe(self.ledger, session, pulse, asked)
        self._answered[session.id] = asked

    def _unanswered(self, session: Session, asked: float, why: str) -> None:
        """Count how long it is silent; while this machine slept nobody asked, and that is no silence."""
        if session.id in self._failed:
            passed = min(asked - self._failed[session.id], 2.0 * self.pulse_s)
            self._silent[session.id] = self._silent.get(session.id, 0.0) + passed
        elif session.state is SessionState.READY:
            self.ledger.note(session.id, "silent", why)
        self._failed[session.id] = asked
        self.ledger.note_silence(session.id, why)

    def surely_idle(self, session: Session) -> bool:
        """Whether a session whose idle time is over by the ledger is idle.

        The host has said so, asked after that time. Or it says nothing, and goes on saying nothing:
        a moment for one where nothing of ours runs, longer for one that may be at work.
        """
        if self._answered.get(session.id, 0.0) >= idle_at(session):
            return True
        at_work = any(note.active for note in self.ledger.open_runs(session.id))
        return self._silent.get(session.id, 0.0) >= (SILENT_RUN_S if at_work else SILENT_S)


def idle_at(session: Session) -> float:
    """When its idle time is over, if nothing more runs."""
    idle = session.lease.idle_s
    return math.inf if idle is None else session.active_at + idle

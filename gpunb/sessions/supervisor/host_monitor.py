"""Monitoring of hosts by the supervisor, without waiting for any of them."""

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
from gpunb.sessions.lifecycle.ending import begin_end
from gpunb.sessions.model import SessionState
from gpunb.sessions.start_check import NotAsOffered

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from gpunb.providers.base import Instance, Provider
    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.timeouts import Timing
    from gpunb.sessions.model import Session

__all__ = ["HostMonitor"]

# longest time between two requests to a host: for its traffic, and to renew its lease
CONTACT_S = 300.0
# shortest time between two requests to a host on which something of ours runs
RUNS_S = 20.0
# How long a host must be silent before the ledger's idle time counts without its answer: where nothing of
# ours runs there (one blip tore down a healthy cluster, skypilot#6787), and where something may run.
SILENT_S = 120.0
SILENT_RUN_S = 3600.0


class HostMonitor:
    """Sends requests to the hosts of sessions, to each host one at a time.

    Parameters
    ----------
    executor
        Runs the requests: an untrusted host may accept the connection and never answer.
        None runs them in turn.
    pulse_s
        Shortest time between two requests to a host, seconds.
    told
        Called with each error, one line.

    Attributes
    ----------
    refused
        Session id -> why its host could not be connected the last time.
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
        """Forget the times of requests, after the clock was set."""
        self._asked.clear()
        self._answered.clear()
        self._failed = dict.fromkeys(self._failed, self.ledger.clock.time())

    def at_work(self, session: Session) -> bool:
        """Whether a request to the session's host is running."""
        return session.id in self._talking

    def _do(self, session: Session, work: Callable[[Session], None]) -> Session:
        """Run `work` in a thread of its own, or directly; returns the session afterwards."""
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
                pass  # its state was changed meanwhile
            except ANY as err:  # reported at the next tick
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
        """Bring a session with a running instance to ready; `refused` has the reason of a failure."""

        def work(one: Session) -> None:
            try:
                within = self.timing.agent_s
                enter(self.ledger, one, instance, host=self.host, within=within, provider=provider)
            except NotAsOffered as err:
                begin_end(self.ledger, one.id, f"boot failed: {err.message}")
            except HostError as err:
                self.refused[one.id] = err.message

        return self._do(session, work)

    def tend(self, session: Session) -> Session:
        """Query the host for its runs when that is due, and send it a lease that it missed."""
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
        """Query the agent for its runs, unless it was just asked and its idle time has not ended since."""
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
        """Count the time without an answer; this machine's sleep does not count."""
        if session.id in self._failed:
            passed = min(asked - self._failed[session.id], 2.0 * self.pulse_s)
            self._silent[session.id] = self._silent.get(session.id, 0.0) + passed
        elif session.state is SessionState.READY:
            self.ledger.note(session.id, "silent", why)
        self._failed[session.id] = asked
        self.ledger.note_silence(session.id, why)

    def surely_idle(self, session: Session) -> bool:
        """Whether a session whose idle time is over by the ledger is really idle.

        The host said so after that time. Or it has not answered for a while: a short one where
        nothing of ours runs, a longer one where something may run.
        """
        if self._answered.get(session.id, 0.0) >= idle_at(session):
            return True
        at_work = any(note.active for note in self.ledger.open_runs(session.id))
        return self._silent.get(session.id, 0.0) >= (SILENT_RUN_S if at_work else SILENT_S)


def idle_at(session: Session) -> float:
    """When the session's idle time is over if nothing more runs, Unix seconds."""
    idle = session.lease.idle_s
    return math.inf if idle is None else session.active_at + idle

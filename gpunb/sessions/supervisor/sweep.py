"""One look over all sessions: leases enforced, half-done things finished, orphans ended."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from gpunb.errors import (
    AuthFailed,
    HostError,
    InstanceGone,
    LedgerTooNew,
    ProviderError,
    SettingsError,
    WrongState,
)
from gpunb.providers.base import Instance, InstanceState, Provider
from gpunb.sessions.access.activity import observe
from gpunb.sessions.access.host_access import HOST, Reach
from gpunb.sessions.cost import funds, volumes
from gpunb.sessions.cost.lease import Due, due
from gpunb.sessions.cost.receipts import write_receipt
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.lifecycle.bringup import see
from gpunb.sessions.lifecycle.catching_up import apply
from gpunb.sessions.lifecycle.ending import Listing, begin_end, end_step, settle
from gpunb.sessions.lifecycle.fetch_results import fetch_saves
from gpunb.sessions.lifecycle.rescue import AGAIN_S, files_due, started_for_files
from gpunb.sessions.lifecycle.taking_down import settle_work, shut_down
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.lifecycle.unrecorded_ends import Unrecorded
from gpunb.sessions.model import OVER, Cost, IntentState, Lease, Session, SessionState
from gpunb.sessions.supervisor.host_monitor import Tender
from gpunb.sessions.supervisor.orphans import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from concurrent.futures import Executor

    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Orphan

__all__ = ["Looked", "Watch"]

_T = TypeVar("_T")

# Lists were seen to lag by ten minutes (skypilot#4431): so long after an answer was lost, and the
# lists had nothing, somebody goes on to look for what may have come of it.
LINGER_S = 1800.0

_S = SessionState
_RENTED = frozenset({_S.BOOTING, _S.REACHABLE, _S.READY, _S.STOPPED})


@dataclass(slots=True)
class Looked:
    """What one tick saw and did.

    Attributes
    ----------
    sessions, orphans
        How many are alive after it; of the orphans, ours.
    ended
        (session, why) of those that were asked to end.
    over
        Sessions whose end was confirmed.
    errors
        What could not be done, one line each.
    """

    sessions: int = 0
    orphans: int = 0
    ended: list[tuple[str, str]] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, other: Looked) -> None:
        """Take in what another look saw; the counts stay."""
        self.ended += other.ended
        self.over += other.over
        self.errors += other.errors


def _wait(looks: Collection[Future[Looked]], seconds: float) -> None:
    from concurrent.futures import wait

    wait(looks, timeout=seconds)


class Watch:
    """Ticks over the ledger. Holds only what makes it cheap; a new one can go on at any time.

    Parameters
    ----------
    providers
        Gives the provider of a name; what it raises (no key, a proxy that can't be used, a plug-in's
        own error) is told, and keeps nobody else's sessions from their ends.
    pool
        Where ends with a host to talk to are carried out, so that one does not hold up the
        others; None does all in turn.
    hosts
        Where hosts are talked to: one that is slow or silent, by accident or on purpose, must not
        hold up the ends of others. None does that in turn.
    clouds, wait
        Where each cloud is looked at, and how a tick waits for that (at most `tick_s`): a cloud
        that does not answer must not hold up the ends at the others. None does them in turn.
    tick_s
        The time between two looks; budgets are looked at two of them ahead.
    list_s, sweep_s, pulse_s
        How often at most a provider's list is had for sessions that are well, orphans are
        looked for, and a host is asked what runs there.
    renew
        Called with the name of a cloud that can't be used: `providers` is to make it anew.

    Attributes
    ----------
    blind
        Cloud -> why this process can't end anything there: no key, a wrong one, no client.
    """

    def __init__(
        self,
        ledger: Ledger,
        providers: Callable[[str], Provider],
        *,
        host: Reach = HOST,
        timing: Timing | None = None,
        pool: Executor | None = None,
        hosts: Executor | None = None,
        clouds: Executor | None = None,
        wait: Callable[[Collection[Future[Looked]], float], None] = _wait,
        tick_s: float = 15.0,
        list_s: float = 60.0,
        sweep_s: float = 300.0,
        pulse_s: float = 60.0,
        renew: Callable[[str], object] | None = None,
    ) -> None:
        self.ledger = ledger
        self.providers = providers
        self.host = host
        self.timing = timing or Timing()
        self.pool = pool
        self.clouds = clouds
        self.wait = wait
        self.tick_s = tick_s
        self.list_s = list_s
        self.sweep_s = sweep_s
        self.renew = renew
        self._listed: dict[str, float] = {}
        self._swept: dict[str, float] = {}
        self._funded: dict[str, float] = {}
        self._trouble: list[str] = []
        self._ending: set[str] = set()
        self._tender = Tender(
            ledger, host, self.timing, executor=hosts, pulse_s=pulse_s, told=self._trouble.append
        )
        self._looks: dict[str, Future[Looked]] = {}
        self._lock = threading.Lock()
        self.blind: dict[str, str] = {}
        self._known: list[Session] = []  # as the ledger had them the last time that it could be read
        self._counted: dict[str, Cost] = {}
        self._reached: set[str] = set()  # session ids to whose hosts something may be open
        self._started: dict[
            str, tuple[float, str]
        ] = {}  # session id -> when its start for files failed, and why
        self._decided: dict[str, str] = {}  # session id -> why it has to end, until the ledger has it
        self._unrecorded = Unrecorded(ledger.clock, self.timing)
        self._receipts_at = 0.0
        self._apart: list[str] = []  # names of sessions whose end was confirmed in a thread of its own
        self._renewed: dict[str, float] = {}

    def tick(self, only: Collection[str] | None = None) -> Looked:
        """Look once at everything. Fails for no session because of another.

        What the ledger does not tell any more is taken from the look before: a lease that is over
        is ended also while its row, or the whole file, can't be read or written.

        Parameters
        ----------
        only
            Look at these clouds only.

        Raises
        ------
        LedgerError
            The ledger can't be read, and never was.
        """
        looked = Looked()
        looked.errors = self._trouble[:]
        del self._trouble[: len(looked.errors)]
        looked.over = self._apart[:]
        del self._apart[: len(looked.over)]
        self._follow_clock(looked)
        now = self.ledger.clock.time()
        groups: dict[str, list[Session]] = {}
        sessions = self._sessions(looked)
        for session in sessions:
            groups.setdefault(session.provider, []).append(session)
        costs = self._costs(sessions, now + 2.0 * self.tick_s, looked)
        none: set[str] = set()
        orphaned = self._read(looked, "orphans", lambda: {one.provider for one in self._ours()}, none)
        due = self._read(looked, "clouds", lambda: self._due_sweeps(now), none)
        for name in sorted({*groups, *orphaned, *due}):
            if name not in self._looks and (only is None or name in only):
                self._begin(name, groups.get(name, []), costs, orphaned=name in orphaned)
        self.wait(list(self._looks.values()), self.tick_s)
        for name, look in list(self._looks.items()):
            if look.done():
                del self._looks[name]
                looked.add(_result(name, look))
            else:
                looked.errors.append(f"{name}: it has not answered yet; its sessions wait for that")
        if now - self._receipts_at >= self.sweep_s:
            self._receipts(looked)
            self._receipts_at = now
        self._leave(looked)
        looked.orphans = self._read(looked, "orphans", lambda: len(self._ours()), 0)
        return looked

    def _follow_clock(self, looked: Looked) -> None:
        try:
            step = self.ledger.follow_clock()
        except LedgerTooNew:
            raise
        except ANY as err:
            looked.errors.append(f"the clock can't be compared: {words(err)}")
            return
        if step:
            looked.errors.append(f"this machine's clock was set by {step:+.0f} s; leases move along")
            self._started = {one: (0.0, why) for one, (_, why) in self._started.items()}
            for times in (self._listed, self._swept, self._funded, self._renewed):
                times.clear()
            self._receipts_at = 0.0
            self._tender.forget_times()

    def remembers(self) -> bool:
        """Whether it knows of sessions that are not known to be ended, without the ledger."""
        return any(self._unrecorded.ended(one.id) is None for one in self._known)

    # -- what the ledger says, or said the last time --------------------------

    def _sessions(self, looked: Looked) -> list[Session]:
        try:
            self._known = self.ledger.sessions()
        except LedgerTooNew:
            raise
        except ANY as err:
            if not self._known:
                raise
            looked.errors.append(f"the ledger can't be read, its leases are kept from memory: {words(err)}")
        return self._known

    def _costs(self, sessions: list[Session], until: float, looked: Looked) -> dict[str, Cost]:
        """Costs at `until` (an end takes effect at this look, and shows at the next), each on its own."""
        try:
            self._counted = self.ledger.costs(until)
        except ANY as err:
            looked.errors.append(f"costs can't be counted all at once: {words(err)}")
            for session in sessions:
                try:
                    self._counted[session.id] = self.ledger.cost(session.id, until)
                except ANY as one:  # noqa: PERF203 - its deadline still holds
                    looked.errors.append(f"{session.name}: its cost can't be counted: {words(one)}")
        return self._counted

    def _read(self, looked: Looked, what: str, ask: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return ask()
        except ANY as err:
            looked.errors.append(f"the ledger's {what} can't be read: {words(err)}")
            return otherwise

    def _ours(self) -> list[Orphan]:
        return [one for one in self.ledger.orphans() if one.ours]

    def _leave(self, looked: Looked) -> None:
        """Count what lives, and let go of the hosts of what does not: their addresses may be others' soon."""
        try:
            self._known = self.ledger.sessions()
        except ANY as err:
            looked.errors.append(f"the ledger can't be read: {words(err)}")
        looked.sessions = len(self._known)
        reached = {one.id for one in self._known if one.state in _RENTED and one.state is not _S.STOPPED}
        for gone in self._reached - reached:
            self._drop(gone)
        self._reached = reached

    def _receipts(self, looked: Looked) -> None:
        """Write the receipts that could not be written when their sessions ended."""
        none: list[Session] = []
        for session in self._read(looked, "receipts", self.ledger.without_receipt, none):
            try:
                write_receipt(self.ledger, None, session)
            except ANY as err:  # noqa: PERF203 - each on its own
                looked.errors.append(f"{session.name}: no receipt can be written: {words(err)}")

    def _drop(self, session_id: str) -> None:
        try:
            self.host.drop(session_id)
        except ANY as err:
            self._trouble.append(f"closing what is open to the host of {session_id}: {words(err)}")

    # -- one cloud --------------------------------------------------------------

    def _begin(
        self, name: str, sessions: list[Session], costs: Mapping[str, Cost], *, orphaned: bool
    ) -> None:
        """Look at one cloud, in a thread of its own if there are any."""
        if self.clouds is not None:
            try:
                self._looks[name] = self.clouds.submit(self._cloud, name, sessions, costs, orphaned=orphaned)
            except RuntimeError as err:  # no more threads: then in turn
                self._trouble.append(f"no thread for {name}: {err}")
            else:
                return
        done: Future[Looked] = Future()
        try:
            done.set_result(self._cloud(name, sessions, costs, orphaned=orphaned))
        except ANY as err:
            done.set_exception(err)
        self._looks[name] = done

    def _cloud(
        self, name: str, sessions: list[Session], costs: Mapping[str, Cost], *, orphaned: bool
    ) -> Looked:
        """All sessions and orphans of one cloud."""
        looked = Looked()
        try:
            provider = self.providers(name)
        except ANY as err:
            self.blind[name] = words(err)
            if sessions:
                looked.errors.append(f"{name}: {words(err)}; its sessions can't be ended")
            return looked
        listing = Listing(provider, shared=True)
        for session in sessions:
            self._look(provider, listing, session, costs.get(session.id, Cost()), looked)
        due = self.ledger.clock.time() - self._swept.get(name, 0.0) >= self.sweep_s
        if orphaned or due:
            self._sweep(listing, looked)
        if due or looked.over:
            self._volumes(provider, looked)
        if listing.error is not None:
            looked.errors.append(f"{name}: its list can't be had: {listing.error.message}")
        self._see(name, listing)
        self._account(provider, sessions)
        return looked

    def _account(self, provider: Provider, sessions: list[Session]) -> None:
        """See what the account holds, while something there costs; `ps` and every verb warn by it."""
        now = self.ledger.clock.time()
        if (
            any(one.hourly > 0 for one in sessions)
            and now - self._funded.get(provider.name, 0.0) >= self.sweep_s
        ):
            self._funded[provider.name] = now
            funds.ask(self.ledger, provider)

    def _see(self, name: str, listing: Listing) -> None:
        """Note whether this process can use a cloud at all.

        A key or client that fails here may be right in another process, or by the next look.
        """
        if isinstance(listing.error, AuthFailed) or isinstance(listing.cause, SettingsError):
            self.blind[name] = listing.error.message if listing.error is not None else ""
            now = self.ledger.clock.time()
            if self.renew is not None and now - self._renewed.get(name, 0.0) >= self.list_s:
                self._renewed[name] = now
                self.renew(name)
        elif listing.answered:
            self.blind.pop(name, None)

    def awaited(self) -> int:
        """Create calls of which nothing came as far as lists say, and not long enough to be sure of lists."""
        since = self.ledger.clock.time() - LINGER_S
        return sum(
            one.state is IntentState.ABSENT and (one.resolved or 0.0) > since for one in self.ledger.intents()
        )

    def _due_sweeps(self, now: float) -> set[str]:
        """Providers that were rented from before, and were not swept for a while."""
        names = self.ledger.providers()
        return {name for name in names if now - self._swept.get(name, 0.0) >= self.sweep_s}

    def _sweep(self, listing: Listing, looked: Looked) -> None:
        try:
            sweep(self.ledger, listing, self.timing)
        except ANY as err:
            looked.errors.append(f"orphans of {listing.provider.name}: {words(err)}")
        if listing.error is None:
            self._swept[listing.provider.name] = self.ledger.clock.time()

    def _volumes(self, provider: Provider, looked: Looked) -> None:
        """See which volumes nothing uses; the ledger keeps ours for `ps`."""
        try:
            volumes.sweep(self.ledger, provider)
        except ANY as err:
            looked.errors.append(f"volumes of {provider.name}: {words(err)}")

    # -- one session ------------------------------------------------------------

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
        """Whether somebody else is at work on it; where its lease is over they are not waited for."""
        if not self.ledger.claimed(session.id):
            return False
        return session.state not in _RENTED or due(session, cost, self.ledger.clock.time()) is None

    def _end_anyway(self, listing: Listing, session: Session, cost: Cost) -> None:
        """End what must end although its step failed: the destroy needs neither ledger, host nor disk."""
        now = self.ledger.clock.time()
        try:
            must = session.id in self._decided or session.state is _S.ENDING
            if not must and session.state in _RENTED and _over(session, cost, now):
                must = not self._read(Looked(), "clock", lambda: self.ledger.held(session), False)
            said = self._unrecorded.end(listing, session) if must else ""
        except ANY as err:
            said = words(err)
        if said:
            self._trouble.append(f"{session.name}: {said}")

    def _written_down(self, session: Session) -> None:
        """The ledger has its end now; if that came before, it says when."""
        self._decided.pop(session.id, None)
        gone = self._unrecorded.ended(session.id)
        self._unrecorded.forget(session.id)
        if gone is not None:
            self.ledger.backdate(session.id, gone)

    def _step(
        self, provider: Provider, listing: Listing, session: Session, cost: Cost, looked: Looked
    ) -> Session:
        ledger = self.ledger
        if session.state is _S.REQUESTED:
            return ledger.transition(session, _S.FAILED, "its rent was broken off before anything was sent")
        if session.state in {_S.CREATING, _S.UNKNOWN}:
            session = self._settle(listing, session)
        if session.state is _S.ENDING:
            return end_step(ledger, listing, session, self.timing)
        if session.state not in _RENTED:
            return session
        over = self._due(session, cost)
        if over is not None:  # by the clock as it is now, which may have been set since it was read
            self._follow_clock(looked)
            session = ledger.get(session.id)
            over = self._due(session, cost) if session.state in _RENTED else None
        if over is not None and over.why == "idle":
            session = self._tender.ask(session)
            over = due(session, cost, ledger.clock.time())
            if over is not None and over.why == "idle" and not self._tender.surely_idle(session):
                over = None  # it did not answer yet, or may be at work
        if over is not None and not ledger.held(session):
            return self._end(provider, listing, session, over.why, looked)
        if session.state in _RENTED:
            session = self._compare(provider, listing, session)
        return self._tender.tend(session) if session.state is _S.READY else session

    def _due(self, session: Session, cost: Cost) -> Due | None:
        now = self.ledger.clock.time()
        over = due(session, cost, now)
        if over is None and now - self._started.get(session.id, (0.0, ""))[0] >= AGAIN_S:
            over = files_due(session, cost, now)
        return over

    def _settle(self, listing: Listing, session: Session) -> Session:
        was = session.state
        session = settle(self.ledger, listing, session, self.timing)
        if session.state is _S.BOOTING and was is _S.UNKNOWN:
            return begin_end(self.ledger, session.id, "found again; no process waits for it")
        if session.state in {_S.CREATING, _S.UNKNOWN} and not self.ledger.intents(
            session.id, unresolved=True
        ):
            return self.ledger.transition(session, _S.FAILED, "confirmed: nothing came of its create call")
        return session

    # -- sessions that are well -------------------------------------------

    def _compare(self, provider: Provider, listing: Listing, session: Session) -> Session:
        """Bring the ledger up to the provider's list, and a booting session on its way."""
        now = self.ledger.clock.time()
        booting = session.state in {_S.BOOTING, _S.REACHABLE}
        if not booting and now - self._listed.get(session.id, 0.0) < self.list_s:
            return session
        found = listing.instances()
        if found is None:
            return session
        self._listed[session.id] = now
        instance: Instance | None = next((one for one in found if one.id == session.instance_id), None)
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
            session = see(self.ledger, session, instance)
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
        said = why or f"{session.provider} says {instance.state.value}"
        return begin_end(self.ledger, session.id, f"boot failed: {said}")

    # -- the end ----------------------------------------------------------

    def _end(
        self, provider: Provider, listing: Listing, session: Session, why: str, looked: Looked
    ) -> Session:
        looked.ended.append((session.name, why))
        self._decided[session.id] = why
        if self.pool is None or not (session.state is _S.READY or session.save):
            return self._end_now(listing, session, why)
        with self._lock:
            self._ending.add(session.id)

        def work() -> None:
            apart = Listing(provider, shared=True)
            try:
                after = self._end_now(apart, session, why)
                if after.state in OVER:
                    self._apart.append(after.name)
                    self._written_down(after)
            except ANY as err:  # told at the next tick, which tries again
                self._trouble.append(f"{session.name}: {words(err)}")
                self._end_anyway(apart, session, Cost())
            finally:
                with self._lock:
                    self._ending.discard(session.id)

        try:
            self.pool.submit(work)
        except RuntimeError:  # no more threads
            work()
        return session

    def _end_now(self, listing: Listing, session: Session, why: str) -> Session:
        """Bring back what was asked for, within its limit, and end it whatever came of that."""
        was = session.state
        # one that is being started again has its files, too
        if was in _RENTED and session.ready is not None and session.save:
            try:
                session = started_for_files(self.ledger, listing.provider, session, self.host, self.timing)
                settle_work(session, self.host, self.timing.agent_s)
                fetch_saves(self.ledger, session, self.host, self.timing, last=True)
            except ANY as err:  # the disk is full, the folder is gone: told, and no reason to go on paying
                self._trouble.append(f"{session.name}: what was to be saved could not be: {words(err)}")
                reason = self._started.get(session.id, (0.0, words(err)))[1]
                with suppress(*ANY):
                    if was is _S.STOPPED and self._kept(
                        session, why
                    ):  # until the end of its lease there is time
                        self._started[session.id] = (self.ledger.clock.time(), reason)
                        self._decided.pop(session.id, None)
                        return self.ledger.get(session.id)
                self._unsaved(session, reason)
            with suppress(*ANY):
                if was is _S.READY and self._kept(session, why):
                    self._decided.pop(session.id, None)
                    return self.ledger.get(session.id)
        session = begin_end(self.ledger, session.id, why)
        if was is _S.READY:
            shut_down(self.ledger, session, self.host, self.timing.agent_s)
        self._drop(session.id)
        return end_step(self.ledger, listing, session, self.timing)

    def _unsaved(self, session: Session, reason: str) -> None:
        with suppress(*ANY):
            done = {one.detail for one in self.ledger.events(session.id) if one.kind == "saved"}
            for path in session.save:
                if path not in done:
                    self.ledger.note(session.id, "unsaved", json.dumps([path, reason]))

    def _kept(self, session: Session, why: str) -> bool:
        """Whether the reason to end is gone: extended, or at work again, while the files came."""
        if why == "idle":
            at = self.ledger.clock.time()
            with suppress(HostError):
                observe(self.ledger, session, self.host.pulse(session), at)
        session = self.ledger.get(session.id)
        return due(session, self.ledger.cost(session.id), self.ledger.clock.time()) is None


def _runs_unaddressed(instance: Instance) -> bool:
    return instance.state is InstanceState.RUNNING and not (instance.host and instance.port)


def _over(session: Session, cost: Cost, now: float) -> bool:
    """Whether its time or its budget is over; each is judged although the other can't be."""
    for limit in ("deadline", "budget_usd"):
        lease = replace(Lease(), **{limit: getattr(session.lease, limit)})
        with suppress(*ANY):
            if due(replace(session, lease=lease), cost, now) is not None:
                return True
    return False


def _result(name: str, look: Future[Looked]) -> Looked:
    """What came of one cloud's look; an error in it is one of its lines."""
    try:
        return look.result()
    except LedgerTooNew:
        raise
    except ANY as err:
        return Looked(errors=[f"{name}: {words(err)}"])

"""The supervisor's copy of the ledger, as it was the last time that it could be read."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from gpunb.errors import LedgerTooNew
from gpunb.sessions.access.host_access import HOST, HostAccess
from gpunb.sessions.attempts import starting
from gpunb.sessions.cost import limits_used
from gpunb.sessions.cost.receipts import write_receipt
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.integrations import ssh_config
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.lifecycle.unrecorded_ends import Unrecorded
from gpunb.sessions.model import Cost, Session, SessionState
from gpunb.sessions.supervisor.host_monitor import HostMonitor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from concurrent.futures import Executor, Future

    from gpunb.providers.base import Provider
    from gpunb.sessions.cost.lease import Due
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Orphan
    from gpunb.sessions.supervisor.looked import Looked
    from gpunb.settings import AgentSettings, LimitsSettings

__all__ = ["RENTED", "LedgerMemory"]

_T = TypeVar("_T")
_S = SessionState
RENTED = frozenset({_S.BOOTING, _S.REACHABLE, _S.READY, _S.STOPPED})


def _wait(looks: Collection[Future[Looked]], seconds: float) -> None:
    from concurrent.futures import wait

    wait(looks, timeout=seconds)


class LedgerMemory:
    """Base class of `gpunb.sessions.supervisor.sweep.Supervision`: the state kept between ticks."""

    def __init__(
        self,
        ledger: Ledger,
        providers: Callable[[str], Provider],
        *,
        host: HostAccess = HOST,
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
        caps: Callable[[], LimitsSettings | None] = limits_used.own,
        begin: Callable[[Session], object] | None = None,
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
        self.caps = caps
        self.begin = begin or starting.start
        self._caps: LimitsSettings | None = None  # as they were the last time that they could be read
        self._agents: AgentSettings | None = None  # the same of agents' caps
        self._crossed: dict[str, Due] = {}  # session id -> the cap over all sessions that ends it
        self._listed: dict[str, float] = {}
        self._swept: dict[str, float] = {}
        self._funded: dict[str, float] = {}
        self._trouble: list[str] = []
        self._ending: set[str] = set()
        self._tender = HostMonitor(
            ledger, host, self.timing, executor=hosts, pulse_s=pulse_s, told=self._trouble.append
        )
        self._looks: dict[str, Future[Looked]] = {}
        self._lock = threading.Lock()
        self.blind: dict[str, str] = {}
        self._known: list[Session] = []  # as the ledger was the last time that it could be read
        self._counted: dict[str, Cost] = {}
        self._reached: set[str] = set()  # ids of sessions to whose hosts connections may be open
        self._started: dict[
            str, tuple[float, str]
        ] = {}  # session id -> when its start for files failed, and why
        self._unhomed: dict[str, float] = {}  # session id -> when its run's results did not come
        self._copied: dict[str, float] = {}  # session id -> when its checkpoint was last asked for
        self._copying: set[str] = set()
        self._decided: dict[str, str] = {}  # session id -> why it has to end, until the ledger has it
        self._unrecorded = Unrecorded(ledger.clock, self.timing)
        self._receipts_at = 0.0
        self._apart: list[str] = []  # names of sessions whose end was confirmed in a thread of its own
        self._renewed: dict[str, float] = {}
        self._hurried: set[str] = set()  # clouds that say that something has changed there

    def hurry(self, cloud: str) -> None:
        """Ask `cloud` for its list and balance at the next tick, however recent the last ones are."""
        self._hurried.add(cloud)

    @property
    def capped(self) -> LimitsSettings | None:
        """The caps over all sessions, as they were the last time that they could be read."""
        return self._caps

    @property
    def crossed(self) -> Mapping[str, Due]:
        """The sessions that a cap over all sessions ends now, by id."""
        return self._crossed

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
            seen = (self._listed, self._swept, self._funded, self._renewed)
            for times in (*seen, self._unhomed, self._copied):
                times.clear()
            self._receipts_at = 0.0
            self._tender.forget_times()

    def remembers(self) -> bool:
        """Whether sessions without a known end are in memory, without reading the ledger."""
        return any(self._unrecorded.ended(session.id) is None for session in self._known)

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
        """Costs at `until` (an end takes effect at this tick, and shows at the next), each on its own."""
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
        return [orphan for orphan in self.ledger.orphans() if orphan.ours]

    def _follow_up(self, looked: Looked) -> None:
        raise NotImplementedError

    def _leave(self, looked: Looked) -> None:
        """Count live sessions, and close the connections of ended ones: addresses may be reused."""
        self._follow_up(looked)
        try:
            self._known = self.ledger.sessions()
        except ANY as err:
            looked.errors.append(f"the ledger can't be read: {words(err)}")
        ssh_config.refresh(self._known)
        looked.sessions = len(self._known)
        reached = {
            session.id
            for session in self._known
            if session.state in RENTED and session.state is not _S.STOPPED
        }
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

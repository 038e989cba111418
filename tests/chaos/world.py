"""What the processes of a schedule share: four clouds, one ledger file, hosts that are not there."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import SecretStr

from gpunb.errors import BootstrapFailed, SessionNotFound, SyncError, Unreachable
from gpunb.progress import SILENT, Progress
from gpunb.providers import provider_class
from gpunb.providers.base import Capability, Offer, OfferQuery, Provider, ProviderConfig
from gpunb.providers.features import StoppedFiles
from gpunb.sessions.access.host_access import HostAccess, Pulse
from gpunb.sessions.attempts import chain
from gpunb.sessions.ledger import clock_steps
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sim import InProcessTransport
from gpunb.sim.cloud import Phase
from gpunb.sim.serving.runner import cloud_class
from tests.chaos.saves import Saves
from tests.chaos.stage import START, Actor, Stage, StageClock, WallClock
from tests.sessions.scripted import told
from tests.support.rentals.simulated import OPTIONS, PUBLIC_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gpunb.sessions.model import Session
    from gpunb.sim import Cloud, Machine
    from gpunb.sync.bring import Brought

POISON: tuple[Callable[[], Exception], ...] = (
    lambda: ValueError("Unknown scheme for proxy URL URL('socks://127.0.0.1:7891/')"),
    lambda: ImportError("Using SOCKS proxy, but the 'socksio' package is not installed"),
    lambda: KeyError("instances"),
    lambda: TypeError("'NoneType' object is not subscriptable"),
    lambda: OSError(28, "No space left on device"),
    lambda: sqlite3.OperationalError("no such column"),
    lambda: RecursionError("maximum recursion depth exceeded"),
    MemoryError,
    EOFError,
)
# one of each way to bill and to list; a further cloud has the contract and tests/sim/test_faults.py
CLOUDS = ("vast", "deepinfra", "fluence", "sesterce")


class StepTransport(httpx.BaseTransport):
    """A cloud in this process, with a step before the request and one before its answer is read."""

    def __init__(self, stage: Stage, cloud: Cloud, after: Callable[[], None]) -> None:
        self._stage, self._inner, self._after = stage, InProcessTransport(cloud), after

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        self._stage.step("before a call")
        try:
            answer = self._inner.handle_request(request)
        finally:
            self._after()
        self._stage.step("before its answer")
        return answer


class StepLedger(Ledger):
    """A ledger with a step before each transaction and one after its commit."""

    def __init__(self, stage: Stage, path: Path, **more: Any) -> None:
        self.stage = stage
        super().__init__(path, **more)

    @contextlib.contextmanager
    def _write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        self.stage.step("before a commit")
        with super()._write(durable=durable) as db:
            yield db
        self.stage.step("after a commit")


class World:
    """The clouds with the truth, and what makes a process."""

    def __init__(self, seed: int, folder: Path, clouds: Sequence[str] = CLOUDS) -> None:
        self.stage = Stage(seed)
        self.clock = StageClock(self.stage)
        self.wall = WallClock(self.stage)  # of the users' machine
        self.path = folder / "ledger.sqlite"
        self.clouds: dict[str, Any] = {
            name: cloud_class(name)(clock=self.clock, seed=seed, offers=10, balance=1e6) for name in clouds
        }
        self.doubly: list[str] = []
        self.frozen_until: dict[str, float] = {}  # machine id -> its host takes its time and says nothing
        self.away_until: dict[str, float] = {}  # machine id -> its host can't be reached until then
        self.agent_fails: set[str] = set()  # machine ids whose agent does not start
        self.runs: dict[str, dict[str, tuple[float, str]]] = {}  # machine id -> its runs: their ends, and how
        self.steps: dict[str, float] = {}  # machine id -> seconds by which its host's clock was stepped
        self.liars: set[str] = set()  # machine ids whose host says that it is busy for ever
        self.save_fails = False
        self.poison_until: dict[str, float] = {}  # machine id -> what a supervisor asks of it raises anything
        self.unusable_until: dict[str, float] = {}  # cloud -> no supervisor can make a client for it
        self.watched_since: float | None = None  # since when a supervisor is alive; None: none is
        self.ended_outside: set[str] = set()  # machine ids that their hosts took away
        self.living: set[str] = set()
        self.observer = Ledger.open(self.path, clock=self.wall, owner="observer", owner_lives=self.lives)
        self.saves = Saves(self, folder / "results")
        self.offers: dict[str, list[Offer]] = {}
        for name in clouds:
            found = self.provider(name).search(OfferQuery())
            cheap = sorted((one for one in found if one.available), key=lambda one: one.hourly())
            self.offers[name] = cheap[:8]
            self.stage.now += 60.0
            if name == "vast":  # the one that can be outbid
                spot = self.provider(name).search(OfferQuery(rental="spot"))
                self.offers[name] = [*cheap[:4], *[one for one in spot if one.available][4:8]]
                self.stage.now += 60.0

    def lives(self, owner: str) -> bool:
        """Whether a process with this mark runs."""
        return owner in self.living

    def provider(self, name: str) -> Provider:
        """A provider as a new process makes it."""
        cloud = self.clouds[name]
        http = {
            "transport": StepTransport(self.stage, cloud, lambda: self._after_call(cloud)),
            "sleep": self.clock.advance,
            "clock": self.clock.now,
        }
        options = {**OPTIONS.get(name, {}), "http": http}
        return provider_class(name)(
            ProviderConfig(base_url="http://127.0.0.1", key=SecretStr(cloud.key), options=options)
        )

    @staticmethod
    def provider_can(name: str, what: Capability) -> bool:
        """Whether the provider of this name has it at all."""
        return what in provider_class(name).capabilities

    @contextlib.contextmanager
    def process(self, actor: Actor, *, poisoned: bool = False) -> Iterator[Process]:
        """A process's own ledger, providers and hosts; dead when the block is left.

        A `poisoned` one meets the errors that none of gpunb's classes names.
        """
        self.living.add(actor.name)
        ledger = StepLedger(self.stage, self.path, clock=self.wall, owner=actor.name, owner_lives=self.lives)
        made = Process(self, ledger, poisoned=poisoned)
        try:
            yield made
        finally:
            self.living.discard(actor.name)
            ledger.close()

    def poison(self) -> Exception:
        """Any error: of a proxy, a parser, a plug-in, a disk."""
        return self.stage.random.choice(POISON)()

    def spoil(self, provider: Provider) -> None:
        """Let what is asked about a poisoned machine raise anything, except the call that ends it."""
        for name in ("get", "presence", "usage"):
            real = getattr(provider, name)

            def call(instance_id: str, *, real: Callable[[str], Any] = real) -> Any:
                if self.poison_until.get(instance_id.rpartition(":")[2], 0.0) > self.stage.now:
                    raise self.poison()
                return real(instance_id)

            setattr(provider, name, call)

    # -- the truth ----------------------------------------------------------

    def true(self, told: float) -> float:
        """The true time of one that the ledger has: the users' clock may have been set."""
        mark = clock_steps.read(self.observer._db())
        return told - (0.0 if mark is None else mark.offset - START)

    def _after_call(self, cloud: Any) -> None:
        self._check_double(cloud)
        self.saves.look()

    def machines(self) -> Iterator[tuple[str, Machine]]:
        """Every machine that gpunb ever made, with its cloud's name."""
        for name, cloud in self.clouds.items():
            for machine in cloud.machines.values():
                if machine.label.startswith("gpunb-"):
                    yield name, machine

    def billed(self) -> list[tuple[str, Machine]]:
        """Those that cost something now and were not asked to end."""
        for cloud in self.clouds.values():
            with cloud.lock:
                cloud.settle()
        return [(name, one) for name, one in self.machines() if costs(one)]

    def _first(self, ident: str) -> str:
        """The session on which the run of this one was begun first: all of its machines count as one's."""
        try:
            return chain.first(self.observer, self.observer.get(ident)).id
        except SessionNotFound:
            return ident

    def _check_double(self, cloud: Any) -> None:
        """At most one machine of a session, or of one run, is ever billed."""
        found: dict[str, str] = {}
        for machine in cloud.machines.values():
            if not machine.label.startswith("gpunb-") or not costs(machine):
                continue
            session = self._first(machine.label.split("-")[2])
            if session in found:
                line = f"{session} at {cloud.name}: {found[session]} and {machine.id}"
                if line not in self.doubly:
                    self.doubly.append(line)
            found[session] = machine.id


def costs(machine: Machine) -> bool:
    """Whether it is billed and nobody has asked for its end."""
    return machine.phase not in {Phase.ENDING, Phase.ENDED} and machine.bill.billed()


class Process:
    """One process: its ledger, its providers, its way to the hosts."""

    def __init__(self, world: World, ledger: Ledger, *, poisoned: bool = False) -> None:
        self.ledger = ledger
        self.host = PaperReach(world, poisoned=poisoned)
        self._world = world
        self._poisoned = poisoned
        self._providers: dict[str, Provider] = {}

    def provider(self, name: str) -> Provider:
        """The provider of this name, made once."""
        world = self._world
        if self._poisoned and world.unusable_until.get(name, 0.0) > world.stage.now:
            raise world.poison()
        if name not in self._providers:
            made = self._providers[name] = world.provider(name)
            if self._poisoned:
                world.spoil(made)
        return self._providers[name]


class PaperReach(HostAccess):
    """Hosts as the lifecycle sees them, from what the simulated cloud says of the machine."""

    def __init__(self, world: World, *, poisoned: bool = False) -> None:
        self._world = world
        self._poisoned = poisoned

    def _machine(self, session: Session) -> Machine | None:
        found: Machine | None = self._world.clouds[session.provider].machines.get(
            session.instance_id.rpartition(":")[2]
        )
        return found

    def _up(self, session: Session) -> Machine:
        machine = self._machine(session)
        poisoned = machine is not None and self._world.poison_until.get(machine.id, 0.0)
        if self._poisoned and poisoned and poisoned > self._world.stage.now:
            raise self._world.poison()
        if machine is not None and self._world.frozen_until.get(machine.id, 0.0) > self._world.stage.now:
            if self._world.stage.me is not None:
                self._world.stage.sleep(70.0)
            msg = f"{session.name} took the connection and said nothing for 70 s"
            raise Unreachable(msg)
        now = self._world.stage.now
        up = (
            machine is not None
            and machine.phase is Phase.RUNNING
            and "never-starts" not in machine.troubles
            and "late_keys" not in machine.data
            and self._world.away_until.get(machine.id, 0.0) <= now
        )
        if machine is None or not up:
            msg = f"{session.name} does not answer at {session.host}:{session.port}"
            raise Unreachable(msg)
        return machine

    def prepare(self, session_id: str, label: str) -> str:
        self._world.stage.step("keys")
        return PUBLIC_KEY

    def host_key(self) -> tuple[str, str]:
        return HOST_KEY

    def pin(self, session: Session, line: str) -> None:
        self._world.stage.step("keys")

    def wait(
        self, session: Session, *, timeout: float, progress: Progress, give_up: Callable[[], None]
    ) -> None:
        end = self._world.stage.now + timeout
        while True:
            give_up()
            self._world.stage.step("ssh")
            try:
                self._up(session)
            except Unreachable:
                if self._world.stage.now >= end:
                    raise
            else:
                return
            self._world.stage.sleep(3.0)

    def arm(self, session: Session, progress: Progress = SILENT) -> None:
        self._world.stage.step("agent")
        if self._up(session).id in self._world.agent_fails:
            msg = "no Python on the host"
            raise BootstrapFailed(msg)

    def first_cell(self, session: Session, progress: Any = SILENT) -> None:
        return

    def pulse(self, session: Session) -> Pulse:
        self._world.stage.step("agent")
        machine = self._up(session)
        now = self._world.stage.now
        runs, step = {}, self._world.steps.get(machine.id, 0.0)
        for run, (until, how) in self._world.runs.get(machine.id, {}).items():
            over = until <= now and machine.id not in self._world.liars
            runs.update(told(run, how if over else "running", ended=until + step if over else None))
        if machine.id in self._world.liars:
            runs.update(told("nobodysrun"))
        return Pulse(runs, logins=machine.id in self._world.liars)

    def touch(self, session: Session) -> None:
        return

    def fetch(
        self, session: Session, path: str, target: Path, progress: Progress, *, folders: Any = ()
    ) -> Brought:
        return self._world.saves.fetch(session, path, target, lambda: self._up(session))

    def kept_disk(self, provider: Provider) -> HostAccess | None:
        return PaperDisk(self._world) if isinstance(provider, StoppedFiles) else None

    def mirror(self, session: Session, path: str, target: Path) -> bool:
        self._up(session)
        (target / "step.txt").unlink(missing_ok=True)
        (target / "step.txt").write_text(session.id)
        return True

    def settle(self, session: Session) -> None:
        self._up(session)

    def shutdown(self, session: Session) -> None:
        self._up(session)

    def keep_output(self, session: Session, run_id: str, file: Path) -> None:
        file.write_text(f"the output of {run_id}")

    def drop(self, session_id: str) -> None:
        return


class PaperDisk(PaperReach):
    """The disk of a stopped machine, as its computer gives it: to every other machine's renter."""

    def settle(self, session: Session) -> None:
        return

    def _up(self, session: Session) -> Machine:
        self._world.stage.step("disk")
        machine = self._machine(session)
        off = machine is not None and machine.phase in {Phase.STOPPED, Phase.OUTBID}
        if machine is None or not off or int(machine.id) % 3 == 0:
            msg = f"the computer of {session.name} lets nobody in"
            raise SyncError(msg)
        return machine


def _host_key() -> tuple[str, str]:
    from gpunb.ssh import generate_host_key

    return generate_host_key()


HOST_KEY = _host_key()

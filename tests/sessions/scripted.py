"""A cloud that does what a test tells it to, a virtual clock, and a host that is not there."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from gpunb.errors import InstanceGone, OutcomeUnknown, ProviderError, Unavailable
from gpunb.progress import SILENT
from gpunb.providers.base import (
    Account,
    Capability,
    CreateSpec,
    Instance,
    InstanceState,
    Offer,
    OfferQuery,
    Provider,
    UsageLine,
)
from gpunb.remote import RunInfo
from gpunb.sessions.access.host_access import HostAccess, Pulse
from gpunb.sync.bring import Brought

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpunb.sessions.model import Session


class Crash(BaseException):
    """The process dies here: nothing of ours runs after it."""


class VirtualClock:
    """Time that passes when somebody sleeps."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.now = start
        self.limit = start + 10 * 86400.0

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += max(seconds, 1e-3)
        assert self.now < self.limit, "a loop that does not end"


@dataclass
class Machine:
    """What the cloud really has, and bills."""

    id: str
    label: str
    made: float
    boots_at: float
    state: InstanceState = InstanceState.CREATING
    usd_h: float = 0.0
    gone: bool = False
    ended: float | None = None
    ends: float | None = None


@dataclass
class Script:
    """Faults, by what they hit; a callable is called at that moment and may raise."""

    create_before: list[Callable[[], None]] = field(default_factory=list)
    create_after: list[Callable[[], None]] = field(default_factory=list)
    destroy_before: list[Callable[[], None]] = field(default_factory=list)
    destroy_ignored: int = 0
    list_fails_until: float = 0.0
    list_lag_s: float = 0.0
    get_fails_until: float = 0.0
    boot_s: float = 5.0
    never_boots: set[str] = field(default_factory=set)  # offer ids
    twice: bool = False
    bills: dict[str, float] = field(default_factory=dict)  # offer id -> $/h, where it is not the offer's
    usage: float | None = None


class ScriptedCloud(Provider):
    """One cloud in memory. `billed()` is the truth that the ledger is held against."""

    name: ClassVar[str] = "scripted"
    title: ClassVar[str] = "Scripted Cloud"
    needs_key: ClassVar[bool] = False
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.STOP, Capability.USAGE})

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock
        self.script = Script()
        self.machines: dict[str, Machine] = {}
        self.calls: list[str] = []
        self.creates = 0
        self._ids = itertools.count(1)

    def billed(self) -> list[Machine]:
        return [one for one in self.machines.values() if not one.gone]

    def offer(self, ident: str = "o1", **more: Any) -> Offer:
        values: dict[str, Any] = {"gpu": "H100 SXM", "gpus": 1, "usd_h": 2.0, "machine_id": f"m-{ident}"}
        return Offer(provider=self.name, id=ident, **{**values, **more})

    def check(self) -> Account:
        return Account(provider=self.name)

    def search(self, query: OfferQuery) -> list[Offer]:
        return [self.offer()]

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        self.calls.append(f"create {offer.id}")
        self.creates += 1
        if self.script.create_before:
            self.script.create_before.pop(0)()
        for _ in range(2 if self.script.twice else 1):
            machine = Machine(
                f"i{next(self._ids)}", spec.label, self.clock.now, self.clock.now + self.script.boot_s
            )
            machine.usd_h = self.script.bills.get(offer.id, 0.0)
            if offer.id in self.script.never_boots:
                machine.boots_at = float("inf")
            self.machines[machine.id] = machine
        if self.script.create_after:
            self.script.create_after.pop(0)()
        return self._shown(machine)

    def _shown(self, machine: Machine) -> Instance:
        if machine.state is InstanceState.CREATING and self.clock.now >= machine.boots_at:
            machine.state = InstanceState.RUNNING
        up = machine.state is InstanceState.RUNNING
        return Instance(
            provider=self.name,
            id=machine.id,
            label=machine.label,
            state=machine.state,
            host="203.0.113.7" if up else "",
            port=40000 + int(machine.id[1:]) if up else 0,
            user="root",
            created=machine.made,
            usd_h=machine.usd_h,
            ends=machine.ends,
        )

    def instances(self) -> list[Instance]:
        self.calls.append("list")
        if self.clock.now < self.script.list_fails_until:
            msg = "502 Bad Gateway"
            raise Unavailable(msg, provider=self.name)
        return [
            self._shown(one)
            for one in self.machines.values()
            if not one.gone and self.clock.now - one.made >= self.script.list_lag_s
        ]

    def get(self, instance_id: str) -> Instance:
        if self.clock.now < self.script.get_fails_until:
            msg = "504 Gateway Timeout"
            raise Unavailable(msg, provider=self.name)
        machine = self.machines.get(instance_id)
        if machine is None or machine.gone or self.clock.now - machine.made < self.script.list_lag_s:
            msg = f"404: no instance {instance_id}"
            raise InstanceGone(msg, provider=self.name)
        return self._shown(machine)

    def destroy(self, instance_id: str) -> None:
        self.calls.append(f"destroy {instance_id}")
        if self.script.destroy_before:
            self.script.destroy_before.pop(0)()
        machine = self.machines.get(instance_id)
        if machine is None or machine.gone or self.clock.now - machine.made < self.script.list_lag_s:
            msg = f"404: no instance {instance_id}"
            raise InstanceGone(msg, provider=self.name)
        if self.script.destroy_ignored > 0:
            self.script.destroy_ignored -= 1
            return
        machine.gone, machine.ended = True, self.clock.now

    def stop(self, instance_id: str) -> None:
        self.machines[instance_id].state = InstanceState.STOPPED

    def start(self, instance_id: str) -> None:
        machine = self.machines[instance_id]
        machine.state, machine.boots_at = InstanceState.CREATING, self.clock.now + self.script.boot_s

    def usage(self, instance_id: str) -> list[UsageLine]:
        if self.script.usage is None:
            msg = "no usage yet"
            raise ProviderError(msg, provider=self.name)
        return [UsageLine(instance_id=instance_id, kind="gpu", usd=self.script.usage)]


def told(run: str, state: str = "running", **more: Any) -> dict[str, RunInfo]:
    """What a host says of one run, as `Pulse.runs` has it."""
    words = {"kind": "cell", "name": "", "created": None, "started": None, "ended": None, "exit_code": None}
    return {run: RunInfo(**{**words, "id": run, "state": state, "last": 1, "size": 0, "why": "", **more})}


class ScriptedReach(HostAccess):
    """A host without a machine. `hook(step)` may raise; `armed` is what it was told."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.hook: Callable[[str], None] = lambda step: None
        self.armed: list[tuple[str, float | None, float | None]] = []
        self.beat: Pulse | Exception = Pulse()
        self.settled = 0
        self.fetched: list[tuple[str, Path]] = []
        self.fetch_fails: Exception | None = None
        self.pins: list[str] = []
        self.touched = 0
        self.printed = ""
        self.disk: HostAccess | None = None

    def kept_disk(self, provider: Any) -> HostAccess | None:
        return self.disk

    def prepare(self, session_id: str, label: str) -> str:
        self.hook("prepare")
        return f"ssh-ed25519 AAAA {label}"

    def pin(self, session: Session, line: str) -> None:
        self.pins.append(line)

    def wait(self, session: Session, *, timeout: float, progress: Any, give_up: Callable[[], None]) -> None:
        give_up()
        self.hook("wait")
        self.clock.sleep(1.0)

    def arm(self, session: Session, progress: Any = SILENT) -> None:
        self.hook("arm")
        self.armed.append((session.id, session.lease.deadline, session.lease.idle_s))

    def first_cell(self, session: Session, progress: Any = SILENT) -> None:
        return

    def pulse(self, session: Session) -> Pulse:
        self.hook("pulse")
        if isinstance(self.beat, Exception):
            raise self.beat
        return self.beat

    def touch(self, session: Session) -> None:
        self.touched += 1

    def fetch(
        self, session: Session, path: str, target: Path, progress: Any, *, folders: Any = ()
    ) -> Brought:
        self.hook("fetch")
        if self.fetch_fails is not None:
            raise self.fetch_fails
        self.fetched.append((path, target))
        return Brought(to=[str(target)], files=1, bytes=1_000_000, moved=1_000_000)

    def settle(self, session: Session) -> None:
        self.hook("settle")
        self.settled += 1

    def shutdown(self, session: Session) -> None:
        self.hook("shutdown")

    def keep_output(self, session: Session, run_id: str, file: Path) -> None:
        file.write_text(f"the output of {run_id}")

    def last_output(self, session: Session, run_id: str) -> str:
        return "".join(f"line {number} of {run_id}\n" for number in range(50)) + self.printed

    def drop(self, session_id: str) -> None:
        return


def raising(error: BaseException) -> Any:
    def fault() -> None:
        raise error

    return fault


def timed_out() -> OutcomeUnknown:
    return OutcomeUnknown("the create call timed out", provider="scripted")

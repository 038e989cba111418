"""What the ledger remembers: sessions, leases, runs, costs, receipts. Plain dataclasses.

Times are Unix seconds, money is US dollars. Nothing here reads or writes.
"""

from __future__ import annotations

import enum
import json
import math
import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

from gpunb.providers.base import Offer
from gpunb.units import price_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ALLOWED",
    "HOSTS",
    "LOUD_TRIES",
    "OVER",
    "SYSTEM_CLOCK",
    "WAITING",
    "Clock",
    "Cost",
    "Event",
    "Failure",
    "IdleVolume",
    "Intent",
    "IntentState",
    "Leader",
    "Lease",
    "Orphan",
    "Receipt",
    "RunNote",
    "Segment",
    "Session",
    "SessionState",
    "Silence",
    "Transfer",
    "allowed",
    "machine",
    "offer_from_dict",
    "offer_to_dict",
]


class Clock(Protocol):
    """Where the time comes from; tests and chaos runs bring a virtual one.

    One that can be set also has ``steady``, see `gpunb.sessions.ledger.clock_steps.steady`.
    """

    def time(self) -> float:
        """Unix seconds now."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class _SystemClock:
    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def steady(self) -> tuple[str, float] | None:
        from gpunb.sessions.ledger import clock_steps

        return clock_steps.steady()


SYSTEM_CLOCK: Clock = _SystemClock()


class SessionState(str, enum.Enum):
    """Where a session stands; `ALLOWED` has the only ways from one to the next."""

    REQUESTED = "requested"  # recorded; no create call is out
    CREATING = "creating"  # a create call may be out
    BOOTING = "booting"  # the instance's id is known
    REACHABLE = "reachable"  # SSH answers with the pinned key
    READY = "ready"  # the agent runs and the lease is armed on the host
    STOPPED = "stopped"  # the disk is kept, and usually billed
    ENDING = "ending"  # to be destroyed, or destroyed and not confirmed yet
    GONE = "gone"  # the provider agrees that it is no more
    FAILED = "failed"  # never became ready, and confirmed that nothing is rented
    UNKNOWN = "unknown"  # it is not known whether something was rented


_S = SessionState

ALLOWED: Mapping[SessionState, frozenset[SessionState]] = {
    _S.REQUESTED: frozenset({_S.CREATING, _S.ENDING, _S.FAILED}),
    # back to requested: the provider refused for certain, the next offer may be tried
    _S.CREATING: frozenset({_S.REQUESTED, _S.BOOTING, _S.ENDING, _S.FAILED, _S.UNKNOWN}),
    _S.BOOTING: frozenset({_S.REACHABLE, _S.STOPPED, _S.ENDING, _S.GONE}),
    _S.REACHABLE: frozenset({_S.READY, _S.BOOTING, _S.STOPPED, _S.ENDING, _S.GONE}),
    _S.READY: frozenset({_S.BOOTING, _S.STOPPED, _S.ENDING, _S.GONE}),
    _S.STOPPED: frozenset({_S.BOOTING, _S.ENDING, _S.GONE}),
    # back to requested: a failed boot whose end is confirmed, then the next offer
    _S.ENDING: frozenset({_S.GONE, _S.FAILED, _S.REQUESTED}),
    _S.UNKNOWN: frozenset({_S.BOOTING, _S.ENDING, _S.FAILED}),
    _S.GONE: frozenset(),
    _S.FAILED: frozenset(),
}

# a run that asks something (`input()`) which nobody has answered yet
WAITING = "waiting for input"
# who "started" a run that only its host knows of
HOSTS = "host"

OVER = frozenset({SessionState.GONE, SessionState.FAILED})

# an end that the provider has not confirmed after so many tries is shouted
LOUD_TRIES = 3


def allowed(old: SessionState, new: SessionState) -> bool:
    """Whether a session may go from `old` to `new`."""
    return new in ALLOWED[old]


@dataclass(slots=True, kw_only=True)
class Lease:
    """When a session ends by itself; None means "not by this rule".

    Attributes
    ----------
    deadline
        Unix time.
    idle_s
        Seconds after the last activity.
    budget_usd
        US dollars, see `counted`.
    budget_set
        Whether the user chose the budget; else it is the default and grows with the deadline.
    count_ssh
        Whether somebody who is logged in at a terminal of the host keeps it from being idle.
    """

    deadline: float | None = None
    idle_s: float | None = None
    budget_usd: float | None = None
    budget_set: bool = False
    count_ssh: bool = False

    def counted(self, cost: Cost) -> float:
        """What of `cost` counts against the budget, US dollars.

        A budget that the user chose is for all of it. The default one is for gpu and disk: traffic that
        nobody set a limit to must not end a job; it is shown, and warned of.
        """
        return cost.total if self.budget_set else cost.gpu + cost.disk

    @property
    def mark(self) -> str:
        """What the host is told of it, as one comparable word (`Session.armed`)."""
        return f"{self.deadline}/{self.idle_s}" + ("/ssh" if self.count_ssh else "")


@dataclass(slots=True, kw_only=True)
class Session:
    """Our durable record of one rental.

    Attributes
    ----------
    label
        What the instance is called at the provider: ``gpunb-<installation>-<id>``,
        with ``-2``, ``-3`` … ``-a`` for the later offers that one `rent` tried.
    usd_h, stopped_usd_h
        US dollars an hour with disk while it runs, and while it is stopped.
    cloud_state
        The instance's state as the provider last said it (`InstanceState`'s value);
        tells "interrupted" and "offline" from a stop that was asked for.
    seen
        Whether the provider itself has shown the instance since its create call. Until
        then, "not listed" proves nothing: lists lag behind creates.
    save, save_to
        Paths on the host to bring back before the end, and the folder here.
    ports
        Ports beside SSH's that are open to the world: ``{"8000/tcp": "203.0.113.7:40512"}``.
    armed
        The `Lease.mark` that the host last confirmed; "" if none.
    renter
        The marks of the notebook or shell that rented it (`sessions.access.renter`), with spaces between.
    tries, next_try
        Attempts to end it that were not confirmed, and when the next is due.
    state_at
        When the present state began.
    """

    id: str
    name: str
    provider: str
    label: str
    state: SessionState = SessionState.REQUESTED
    detail: str = ""
    instance_id: str = ""
    cloud_state: str = ""
    seen: bool = False
    host: str = ""
    port: int = 0
    user: str = ""
    created: float = 0.0
    state_at: float = 0.0
    ready: float | None = None
    ended: float | None = None
    lease: Lease = field(default_factory=Lease)
    armed: str = ""
    last_activity: float | None = None
    usd_h: float = 0.0
    stopped_usd_h: float = 0.0
    gpu: str = ""
    gpus: int = 0
    trust: str = "stranger"
    image: str = ""
    disk_gb: float = 0.0
    python: str = ""
    offer: dict[str, Any] = field(default_factory=dict, repr=False)
    save: list[str] = field(default_factory=list)
    save_to: str = ""
    ports: dict[str, str] = field(default_factory=dict)
    renter: str = ""
    tries: int = 0
    next_try: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether it may still cost something."""
        return self.state not in OVER

    @property
    def active_at(self) -> float:
        """When something of ours ran or moved there last, Unix seconds: the idle time counts from it."""
        return max(self.last_activity or 0.0, self.ready or 0.0)

    @property
    def hourly(self) -> float:
        """US dollars an hour in the present state, as far as known."""
        if self.state in OVER or self.state is SessionState.REQUESTED:
            return 0.0
        if self.cloud_state == "offline" and not self.offline_billed:
            return 0.0
        return self.stopped_usd_h if self.state is SessionState.STOPPED else self.usd_h

    @property
    def contract_end(self) -> float | None:
        """When the cloud ends the host's contract by itself, Unix seconds, where it knows that."""
        ends = self.offer.get("ends")
        return float(ends) if isinstance(ends, (int, float)) else None

    @property
    def offline_billed(self) -> bool:
        """Whether the cloud bills while the host is offline; where it does not say, it does."""
        return bool(self.offer.get("bills_offline", True))

    @property
    def alarm(self) -> str:
        """One loud line if something may be billed that nobody can vouch for, else ""."""
        at = f" under the label {self.label}" if self.label else ""
        if self.state is SessionState.UNKNOWN:
            return (
                f"it is not known whether {self.provider} rented {self.name}{at}: "
                f"if it did, it costs {price_text(self.usd_h)}/h; gpunb keeps looking, "
                f"and ends it when it shows up"
            )
        if self.state is SessionState.ENDING and self.tries >= LOUD_TRIES:
            what = f"instance {self.instance_id}" if self.instance_id else f"whatever runs{at}"
            return (
                f"{self.provider} has not confirmed the end of {self.name} ({what}) after {self.tries} "
                f"tries: it may still cost {price_text(self.usd_h)}/h; gpunb keeps trying"
            )
        return ""


class IntentState(str, enum.Enum):
    """What became of one create call."""

    SENT = "sent"  # committed before the call; the answer is not known (yet)
    ANSWERED = "answered"  # the id is known, from the answer or by the label
    REFUSED = "refused"  # the provider said no, and nothing was changed
    ABSENT = "absent"  # the answer was lost, and the lists agree that nothing came of it
    GONE = "gone"  # what came of it is confirmed to be no more


@dataclass(slots=True, kw_only=True)
class Intent:
    """One create call, written down before it was sent. `label` is unique."""

    label: str
    session_id: str
    provider: str
    offer_id: str = ""
    state: IntentState = IntentState.SENT
    instance_id: str = ""
    sent: float = 0.0
    resolved: float | None = None
    detail: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Event:
    """One line of a session's history, in the order it was committed."""

    id: int
    session_id: str
    at: float
    pid: int
    kind: str  # "transition", or what was done: "destroy", "stop", "save", "adopt", …
    old: str = ""
    new: str = ""
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class RunNote:
    """A run as this side knows it; the host has its output.

    `state` is the agent's word ("queued", "running", "ok", "error", …), or `WAITING`; `front`
    names who started it ("notebook", "terminal", …; `HOSTS` if nobody here did: the host lists it).
    """

    id: str
    session_id: str
    kind: str = "cell"
    name: str = ""
    started: float = 0.0
    ended: float | None = None
    state: str = "running"
    front: str = ""

    @property
    def active(self) -> bool:
        """Whether it is activity: started by us, not over, and not waiting for an answer."""
        return self.ended is None and self.front != HOSTS and self.state != WAITING


@dataclass(slots=True, kw_only=True)
class Silence:
    """A host that does not answer: since when (Unix seconds), and what was said of it the last time."""

    since: float
    why: str = ""


@dataclass(slots=True, kw_only=True)
class Transfer:
    """Files or variables that moved. `direction` is seen from here: "up" goes to the host."""

    session_id: str
    direction: str
    bytes: int
    started: float
    ended: float | None = None
    files: int = 0
    what: str = ""
    state: str = "ok"
    id: int = 0


@dataclass(slots=True, kw_only=True)
class Segment:
    """A stretch of cost: an hourly price over time, or (bandwidth) a price for each GB.

    `increment_s` and `clock_hours` are the provider's billing step; `label` is that of the
    create call which it pays for.
    """

    session_id: str
    kind: str  # "gpu", "disk", "bandwidth"
    rate: float  # US dollars an hour; for bandwidth US dollars a GB
    start: float
    end: float | None = None
    quantity: float = 0.0  # GB, for bandwidth
    increment_s: float = 0.0
    clock_hours: bool = False
    label: str = ""
    id: int = 0


@dataclass(slots=True, kw_only=True, frozen=True)
class Cost:
    """US dollars by kind."""

    gpu: float = 0.0
    disk: float = 0.0
    bandwidth: float = 0.0

    @property
    def total(self) -> float:
        """US dollars altogether."""
        return self.gpu + self.disk + self.bandwidth

    def data(self) -> dict[str, float]:
        """The figures by name, for JSON."""
        return {"gpu": self.gpu, "disk": self.disk, "bandwidth": self.bandwidth, "total": self.total}


@dataclass(slots=True, kw_only=True)
class Receipt:
    """What a session was, cost and left behind.

    Attributes
    ----------
    confirmed
        When the provider agreed that the instance is gone; None if it has not yet.
    provider_usd
        What the provider itself says it cost, where it has such a figure.
    not_billed
        Whether the provider has such figures, and had charged nothing for it yet.
    contradicts
        The assumption about its billing that `provider_usd` speaks against (`gpunb.sessions.cost.bills`).
    runs
        ``{"kind", "name", "state", "seconds"}`` of each run.
    saved, unsaved
        Paths brought back, and (path, reason) of what could not be, or was left there by a rule.
    brought
        Of each path what came: ``{"path", "to", "files", "bytes", "beside", "held", "left"}``; see
        `gpunb.sync.bring.Brought`.
    why
        What ended it: "down", "deadline", "idle", "budget", "cancelled", "boot failed", ….
    """

    session_id: str
    name: str
    provider: str
    instance_id: str = ""
    gpu: str = ""
    gpus: int = 0
    started: float = 0.0
    ended: float = 0.0
    confirmed: float | None = None
    cost: Cost = field(default_factory=Cost)
    provider_usd: float | None = None
    not_billed: bool = False
    contradicts: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)
    unsaved: list[tuple[str, str]] = field(default_factory=list)
    brought: list[dict[str, Any]] = field(default_factory=list)
    why: str = ""

    @property
    def seconds(self) -> float:
        """From the create call to the end."""
        return max(0.0, self.ended - self.started)

    def data(self) -> dict[str, Any]:
        """The receipt as plain values, for JSON and the ledger."""
        out = asdict(self)
        out["cost"] = self.cost.data()
        out["unsaved"] = [list(pair) for pair in self.unsaved]
        return out

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Receipt:
        """The receipt back from `data`; unknown keys are left out."""
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        cost = values.get("cost") or {}
        values["cost"] = Cost(
            gpu=cost.get("gpu", 0.0), disk=cost.get("disk", 0.0), bandwidth=cost.get("bandwidth", 0.0)
        )
        values["unsaved"] = [(pair[0], pair[1]) for pair in values.get("unsaved", ())]
        return cls(**values)


@dataclass(slots=True, kw_only=True)
class Failure:
    """A host that failed before; offers on it sink."""

    provider: str
    machine_id: str
    reason: str
    at: float


@dataclass(slots=True, kw_only=True)
class Orphan:
    """An instance with a gpunb label that belongs to no session here.

    `ours` tells whether the label carries this installation's id: only those are
    ended, the others are shown.
    """

    provider: str
    instance_id: str
    label: str
    ours: bool
    first_seen: float
    usd_h: float = 0.0
    tries: int = 0
    next_try: float = 0.0
    gone: float | None = None
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class IdleVolume:
    """A volume that this installation made and nothing uses; `since` is when that was first seen."""

    provider: str
    id: str
    name: str
    size_gb: float
    usd_h: float | None
    since: float


@dataclass(slots=True, kw_only=True)
class Leader:
    """The process that supervises now: its owner mark, kind and last heartbeat."""

    owner: str
    kind: str  # "detached" or "server"
    since: float
    beat: float
    ttl: float

    @property
    def until(self) -> float:
        """When another process may take over."""
        return self.beat + self.ttl


_RAW_MAX = 16_384


def offer_to_dict(offer: Offer) -> dict[str, Any]:
    """`offer` as plain JSON values; an endless ``disk_max_gb`` and a huge ``raw`` are left out."""
    out = {f.name: getattr(offer, f.name) for f in fields(offer)}
    if math.isinf(offer.disk_max_gb):
        del out["disk_max_gb"]
    try:
        raw = json.dumps(out["raw"], default=str)
    except (TypeError, ValueError):
        raw = ""
    if not raw or len(raw) > _RAW_MAX:
        del out["raw"]
    else:
        out["raw"] = json.loads(raw)
    return out


def machine(gpu: str, gpus: int) -> str:
    """``"2x H100 SXM"``, or ``"cpu"``."""
    if not gpu:
        return "cpu"
    return f"{gpus}x {gpu}" if gpus > 1 else gpu


def offer_from_dict(data: Mapping[str, Any]) -> Offer:
    """The offer back from `offer_to_dict`; unknown keys are left out."""
    known = {f.name for f in fields(Offer)}
    values = {key: value for key, value in data.items() if key in known}
    return Offer(**{"provider": "", "id": "", **values})

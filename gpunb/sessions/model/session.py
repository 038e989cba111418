"""The session record: states and transitions, lease, and hourly cost."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpunb.units import price_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.sessions.model.cost import Cost

__all__ = ["AGENT_MARK", "ALLOWED", "LOUD_TRIES", "OVER", "Lease", "Session", "SessionState", "allowed"]


class SessionState(str, enum.Enum):
    """The state of a session; `ALLOWED` lists the only transitions."""

    REQUESTED = "requested"  # recorded; no create call is out
    CREATING = "creating"  # a create call may be out
    BOOTING = "booting"  # the instance's id is known
    REACHABLE = "reachable"  # SSH answers with the pinned key
    READY = "ready"  # the agent runs and the lease is armed on the host
    STOPPED = "stopped"  # the disk is kept, and usually billed
    ENDING = "ending"  # to be destroyed, or destroyed and not confirmed yet
    GONE = "gone"  # the provider confirms that it is gone
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


OVER = frozenset({SessionState.GONE, SessionState.FAILED})
# after so many unconfirmed tries to end it there is a warning
LOUD_TRIES = 3
AGENT_MARK = "agent:"  # begins the mark of an agent among those of the renter


def allowed(old: SessionState, new: SessionState) -> bool:
    """Whether a session may go from `old` to `new`."""
    return new in ALLOWED[old]


@dataclass(slots=True, kw_only=True)
class Lease:
    """The limits at which a session ends by itself; None means "not by this rule".

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
        Whether a login at a terminal of the host keeps it from being idle.
    """

    deadline: float | None = None
    idle_s: float | None = None
    budget_usd: float | None = None
    budget_set: bool = False
    count_ssh: bool = False

    def counted(self, cost: Cost) -> float:
        """The part of `cost` that counts against the budget, US dollars.

        A budget that the user chose is for all of it. The default one is for gpu and disk: traffic without
        a limit of the user's must not end a job; it is shown, and warned of. The members of a group have one
        budget: what all of them cost counts.
        """
        beside = 0.0 if cost.beside is None else self.counted(cost.beside)
        return beside + (cost.total if self.budget_set else cost.gpu + cost.disk)

    @property
    def mark(self) -> str:
        """The lease as sent to the host, as one comparable string (`Session.armed`)."""
        return f"{self.deadline}/{self.idle_s}" + ("/ssh" if self.count_ssh else "")


@dataclass(slots=True, kw_only=True)
class Session:
    """The durable record of one rental.

    Attributes
    ----------
    label
        The instance's name at the provider: ``gpunb-<installation>-<id>``,
        with ``-2``, ``-3`` … ``-a`` for the later offers that one `rent` tried.
    usd_h, stopped_usd_h
        US dollars an hour with disk while it runs, and while it is stopped.
    cloud_state
        The instance's state as the provider last reported it (`InstanceState`'s value);
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
    ends_with
        The run whose end ends the session, after its results are brought back; "" if none does.
    moves_from
        The id of the session that this one is to take the place of; "" once it has, or for any other.
    again
        How its run goes on when its machine is taken, see `gpunb.sessions.attempts`; empty if it does not.
    follows
        The id of the session whose run goes on here; "" for the first machine of a run.
    group_id, rank
        The id of the group that it is a member of ("" if of none), and its number there, from 0.
    tries, next_try
        Attempts to end it that were not confirmed, or to rent it that failed, and when the next is due.
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
    ends_with: str = ""
    moves_from: str = ""
    again: dict[str, Any] = field(default_factory=dict, repr=False)
    follows: str = ""
    group_id: str = ""
    rank: int = 0
    tries: int = 0
    next_try: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether the session may still cost something."""
        return self.state not in OVER

    @property
    def agent(self) -> str:
        """The agent that rented it, by the name that it gave; "" for a person."""
        marks = (one for one in self.renter.split() if one.startswith(AGENT_MARK))
        return next(marks, "").removeprefix(AGENT_MARK)

    @property
    def group(self) -> str:
        """The name of the group that it is a member of; "" if of none."""
        return self.name.rpartition(".")[0] if self.group_id else ""

    @property
    def active_at(self) -> float:
        """The time of the last activity, Unix seconds: the idle time counts from it."""
        return max(self.last_activity or 0.0, self.ready or 0.0)

    @property
    def hourly(self) -> float:
        """The hourly price in the present state in US dollars, as far as known."""
        if self.state in OVER or self.state is SessionState.REQUESTED:
            return 0.0
        if self.cloud_state == "offline" and not self.offline_billed:
            return 0.0
        return self.stopped_usd_h if self.state is SessionState.STOPPED else self.usd_h

    @property
    def contract_end(self) -> float | None:
        """The end of the host's contract, Unix seconds, if the cloud has one."""
        ends = self.offer.get("ends")
        return float(ends) if isinstance(ends, (int, float)) else None

    @property
    def offline_billed(self) -> bool:
        """Whether the cloud bills while the host is offline; true if unknown."""
        return bool(self.offer.get("bills_offline", True))

    @property
    def alarm(self) -> str:
        """A warning if an unconfirmed instance may be billed, else ""."""
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

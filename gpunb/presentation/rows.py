"""Models of the ``--json`` rows of verbs that list; scripts rely on the names, which must not change."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import NotRequired, TypedDict

from gpunb.presentation.models import Cost, StartCheck, State, about

__all__ = [
    "CloudFailed",
    "CostOfCloud",
    "CostOfDay",
    "CostOfRun",
    "CostOfSession",
    "EventRow",
    "JobRow",
    "LeaseRow",
    "Left",
    "OfferRow",
    "OffersFound",
    "RunName",
    "RunRow",
    "SessionRow",
    "SessionShown",
    "VolumeRow",
]


class LeaseRow(TypedDict):
    """When the session ends by itself, as it was set."""

    deadline: float | None
    idle_s: float | None
    budget_usd: float | None
    budget_set: Annotated[bool, about("the user chose the budget")]
    count_ssh: bool


class Left(TypedDict):
    """What is left of the lease; null is no limit."""

    time_s: float | None
    idle_s: float | None
    budget_usd: float | None


class RunRow(TypedDict):
    """A cell or a job, as this side knows it (`runs`)."""

    id: str
    session_id: str
    kind: str
    name: str
    started: float
    ended: float | None
    state: str
    front: str


class SessionRow(TypedDict):
    """A session (`ps`)."""

    id: str
    name: str
    provider: str
    label: str
    state: State
    detail: str
    instance_id: str
    cloud_state: str
    seen: bool
    host: str
    port: int
    user: str
    created: float
    state_at: float
    ready: float | None
    ended: float | None
    lease: LeaseRow
    armed: str
    last_activity: float | None
    usd_h: Annotated[float, about("while it runs, with its disk")]
    stopped_usd_h: float
    gpu: str
    gpus: int
    trust: str
    image: str
    disk_gb: float
    python: str
    save: list[str]
    save_to: str
    ends_with: str
    moves_from: str
    follows: Annotated[str, about("the session whose run goes on here")]
    group_id: Annotated[str, about("the group that it is a member of")]
    rank: Annotated[int, about("its number there, from 0")]
    ports: dict[str, str]
    renter: str
    tries: int
    next_try: float
    cost: Cost
    usd_h_now: Annotated[float, about("in the present state")]
    left: Left | None
    running: list[RunRow]
    alarm: str
    silent_since: NotRequired[Annotated[float | None, about("its host does not answer")]]


class RunName(TypedDict):
    """A run of a session (`show`)."""

    id: str
    kind: str
    name: str
    state: str


class EventRow(TypedDict):
    """A line of a session's history (`show`)."""

    at: float
    kind: str
    old: str
    new: str
    detail: str


class SessionShown(SessionRow):
    """All that is known of a session (`show`)."""

    check: StartCheck | None
    attempt: Annotated[int, about("0: its run does not go on when its machine is taken")]
    followed_by: str
    checkpoint: str
    runs: list[RunName]
    events: list[EventRow]


class OfferRow(TypedDict):
    """Something that can be rented now (`offers`)."""

    place: int
    provider: str
    id: str
    gpu: str
    gpus: int
    vram_gb: float
    kind: str
    rental: str
    region: str
    country: str
    cores: float
    ram_gb: float
    trust: str
    reliability: float | None
    usd_h: float
    total_usd: float
    ready_s: float


class CloudFailed(TypedDict):
    """A cloud that did not answer (`offers`)."""

    provider: str
    error: str


class OffersFound(TypedDict):
    """What `offers` found."""

    offers: list[OfferRow]
    matched: int
    failed: list[CloudFailed]


class JobRow(TypedDict):
    """A job as its host knows it (`runs --jobs`)."""

    id: str
    kind: str
    name: str
    state: str
    created: float | None
    started: float | None
    ended: float | None
    exit_code: int | None
    last: int
    size: int
    why: str
    wants: int
    gpus: list[str]
    attempt: int
    waiting: str | None
    waiting_since: float | None


class CostOfSession(TypedDict):
    """What a session cost (`cost`)."""

    session: str
    id: str
    provider: str
    state: State
    seconds: float
    cost: Cost
    provider_usd: float | None
    difference_usd: float | None
    not_billed: bool
    contradicts: str


class CostOfDay(TypedDict):
    """What a day cost (`cost --by day`)."""

    day: str
    cost: Cost


class CostOfCloud(TypedDict):
    """What a cloud cost (`cost --by cloud`)."""

    provider: str
    sessions: int
    cost: Cost
    provider_usd: float | None
    difference_usd: float | None


class CostOfRun(TypedDict):
    """What the machine cost while a run went on (`cost --by run`)."""

    run: str
    kind: str
    name: str
    session: str
    seconds: float
    usd: float


class VolumeRow(TypedDict):
    """A disk that outlives instances (`volumes`)."""

    provider: str
    id: str
    name: str
    ours: bool
    place: str
    size_gb: float
    usd_h: float | None
    ends: float | None
    instances: list[str]

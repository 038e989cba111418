"""Models of sessions, offers, runs and receipts: one for each, the only definition of its fields.

The models are `TypedDict`s: mypy checks the code that makes a value, at no cost at run time, and a
stranger's odd value can't break an answer. Pydantic makes the JSON schemas from them: `make types`
writes those into ``gpunb/server/openapi.yaml``, and the TypeScript of JupyterLab's extension from there.

Times are Unix seconds, money is US dollars, sizes are bytes; None is unknown, or no limit.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from gpunb.sessions.model import SessionState

__all__ = [
    "Brought",
    "CheckFigure",
    "Cost",
    "Gpu",
    "Lease",
    "Offer",
    "Parts",
    "Port",
    "Receipt",
    "ReceiptRun",
    "Run",
    "Sample",
    "Session",
    "SessionCard",
    "SessionEvent",
    "SessionFacts",
    "SessionWhole",
    "Spent",
    "StartCheck",
    "State",
    "Telemetry",
    "Tone",
    "Transfer",
]


def about(text: str) -> Any:
    """Describe a field, for readers of the OpenAPI document."""
    return Field(description=text)


def one_of(*words: str) -> Any:
    """Describe a text field whose value is one of these words."""
    return Field(json_schema_extra={"enum": [str(getattr(word, "value", word)) for word in words]})


State = Annotated[str, one_of(*SessionState)]
Tone = Annotated[str, one_of("ok", "info", "warn", "bad", "dim")]
Pair = Annotated[
    list[float],
    WithJsonSchema(
        {"type": "array", "prefixItems": [{"type": "number"}] * 2, "minItems": 2, "maxItems": 2},
    ),
]
Series = list[float | None]


class Cost(TypedDict):
    """US dollars by what they were for."""

    gpu: float
    disk: float
    bandwidth: float
    total: float


class Spent(TypedDict):
    """The same of a session that goes on."""

    gpu: float | None
    disk: float | None
    bandwidth: float | None
    total: float | None


# -- sessions ----------------------------------------------------------------------------------


class Lease(TypedDict):
    """When a session ends by itself."""

    deadline: float | None
    idle_s: float | None
    idle_ends: Annotated[float | None, about("null also while something runs")]
    budget_usd: float | None
    ends: Annotated[float | None, about("the earliest end if nothing runs from now on")]
    ends_by: Annotated[str, one_of("time", "idle", "money", "")]
    soon: Annotated[bool, about("the end is near")]


class SessionFacts(TypedDict):
    """How a session stands."""

    id: str
    name: str
    provider: str
    simulated: bool
    state: State
    detail: str
    tone: Tone
    gpu: str
    gpus: int
    trust: str
    host: str
    port: int | None
    usd_h: Annotated[float | None, about("in the present state")]
    cost: Spent
    lease: Lease
    created: float | None
    ready: float | None
    ended: float | None
    runs_active: int
    agent: Annotated[str, about("the agent that rented it; empty for a person")]
    next: Annotated[str, about("what to type or to click now")]


class SessionCard(SessionFacts):
    """A session as its card shows it, and what can be done with it."""

    can: list[Annotated[str, one_of("extend", "stop", "start", "down")]]


class Port(TypedDict):
    """A port of the host that is forwarded to the server's machine, or the other way."""

    host_port: int
    local_port: int
    link: Annotated[str, about("reached from the server's machine only")]
    reverse: bool
    here: Annotated[bool, about("this server holds it")]
    since: float


class Gpu(TypedDict):
    """The load of one GPU."""

    name: str
    util: Annotated[float | None, about("per cent")]
    memory: Annotated[Pair | None, about("bytes used, and in all")]
    temp: float | None
    power: float | None


class Sample(TypedDict):
    """The load of a host at one time."""

    at: Annotated[float, about("by the host's clock")]
    cpu: Annotated[float | None, about("per cent")]
    memory: Annotated[Pair | None, about("bytes used, and in all")]
    disk: Annotated[Pair | None, about("bytes used, and in all")]
    net: Annotated[Pair | None, about("bytes a second in and out")]
    gpus: list[Gpu]


class Telemetry(TypedDict):
    """A host's load over time, as one list each."""

    session: str
    latest: Sample | None
    at: list[float]
    gpu: Annotated[list[Series], about("for each GPU its load at those times, per cent")]
    gpu_memory: Annotated[list[Series], about("for each GPU, per cent")]
    cpu: Series
    memory: Annotated[Series, about("per cent")]


class Session(SessionCard):
    """A session with its ports and its load."""

    ports: list[Port]
    load: Sample | None


class SessionEvent(TypedDict):
    """A line of a session's history."""

    at: float
    kind: str
    state: str
    detail: str


class SessionWhole(Session):
    """A session and its history."""

    events: list[SessionEvent]


# -- offers ------------------------------------------------------------------------------------


class Parts(TypedDict):
    """What a total is made of."""

    gpu: float | None
    disk: float | None
    bandwidth: float | None


class Offer(TypedDict):
    """Something that can be rented now."""

    key: Annotated[str, about("names it among those of all clouds")]
    provider: str
    offer_id: str
    gpu: str
    gpus: int
    vram_gb: float | None
    region: str
    country: str
    kind: str
    spot: bool
    reserved: bool
    trust: str
    verified: bool
    cpu: str
    cores: float | None
    ram_gb: float | None
    disk_gb: Annotated[float | None, about("the most that can be had; null is no limit")]
    usd_h: Annotated[float | None, about("with the disk")]
    parts: Annotated[Parts, about("what total_usd is made of")]
    total_usd: float | None
    reliability: float | None
    ready_s: float | None
    why: str


# -- runs and transfers ------------------------------------------------------------------------


class Run(TypedDict):
    """A cell or a job on the host."""

    id: str
    session: str
    session_name: str
    kind: str
    name: str
    state: str
    started: float | None
    ended: float | None
    seconds: float | None
    usd: Annotated[float | None, about("what its machine cost while it executed")]
    exit_code: int | None
    front: str


class Transfer(TypedDict):
    """Files or variables that moved."""

    id: str
    session: str
    session_name: str
    direction: Annotated[str, one_of("up", "down")]
    what: str
    bytes: int
    files: int
    state: str
    started: float
    ended: float | None


# -- receipts ----------------------------------------------------------------------------------


class ReceiptRun(TypedDict, total=False):
    """A run of a session that is over."""

    id: str
    kind: str
    name: str
    state: str
    seconds: float | None


class Brought(TypedDict):
    """What of a saved path came: where it lies, how much, and under which other names."""

    path: str
    to: list[str]
    files: int
    bytes: int
    beside: Annotated[list[list[str]], about("path, and the name it took, for another stands here")]
    held: Annotated[list[list[str]], about("path, and the name it took, for it could run here")]
    left: Annotated[list[list[str]], about("path, and the reason why it stayed there")]


class CheckFigure(TypedDict):
    """A figure of the start check beside the offer's."""

    what: str
    offered: str
    found: str
    verdict: Annotated[str, about("empty, weak or wrong")]


class StartCheck(TypedDict):
    """Whether a machine is what its offer said."""

    figures: list[CheckFigure]
    wrong: Annotated[list[str], about("what ended the rental")]
    weak: Annotated[list[str], about("what is worse than offered")]
    notes: Annotated[list[str], about("what could not be compared")]
    took_s: float


class Receipt(TypedDict):
    """What a session was, cost and left behind."""

    session_id: str
    name: str
    provider: str
    instance_id: str
    gpu: str
    gpus: int
    started: float
    ended: float
    confirmed: Annotated[float | None, about("when the cloud agreed that it is gone")]
    cost: Cost
    provider_usd: Annotated[float | None, about("what the cloud itself says")]
    not_billed: Annotated[bool, about("the cloud has figures and had charged nothing for it yet")]
    contradicts: Annotated[
        str, about("the assumption about its billing that the cloud's figure speaks against")
    ]
    runs: list[ReceiptRun]
    saved: list[str]
    unsaved: Annotated[list[list[str]], about("path, and the reason")]
    brought: list[Brought]
    check: Annotated[StartCheck | None, about("null without a check")]
    why: Annotated[str, about("what ended it: down, deadline, idle, budget, …")]
    agent: Annotated[str, about("the agent that rented it; empty for a person")]

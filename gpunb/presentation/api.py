"""Models of the server's answers and events, beside those of `gpunb.presentation.models`."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import NotRequired, TypedDict

from gpunb.presentation.models import Cost, Offer, Run, Sample, Session, Transfer, about, one_of

__all__ = [
    "EVENTS",
    "CloudFailure",
    "CloudInfo",
    "CostNow",
    "CostRow",
    "Costs",
    "Facet",
    "Facets",
    "FileEntry",
    "Files",
    "Found",
    "Hello",
    "InDoubt",
    "Job",
    "Log",
    "LogRecord",
    "LoggedIn",
    "Notice",
    "Offers",
    "Orphan",
    "Place",
    "Problem",
    "Question",
    "Removed",
    "SampleOf",
    "SettingRow",
    "Settings",
    "Snapshot",
    "Status",
    "Supervisor",
]


class Problem(TypedDict):
    """What happened, what it means for the bill, what to do next."""

    message: str
    reason: Annotated[
        str, about("a word for programs: BadInput, SessionNotFound, AuthFailed, ConfirmationNeeded, …")
    ]
    hint: Annotated[str | None, about("what to do next")]
    bill: Annotated[str | None, about("what it means for the bill")]


# -- status ------------------------------------------------------------------------------------


class Supervisor(TypedDict):
    """Who ends sessions when their lease is over."""

    alive: Annotated[bool, about("whether a supervisor ends sessions when their lease is over")]
    here: Annotated[bool, about("this server does")]
    kind: str | None
    pid: int | None
    heartbeat: float | None
    error: Annotated[str | None, about("why it does not run here")]


class Orphan(TypedDict):
    """An instance of no session."""

    provider: str
    instance_id: str
    label: str
    ours: bool
    usd_h: float
    says: str


class InDoubt(TypedDict):
    """A session whose bill is in doubt."""

    id: str
    name: str
    provider: str
    says: str


class Found(TypedDict):
    """What nobody can vouch for."""

    orphans: list[Orphan]
    unknown: list[InDoubt]


class CloudInfo(TypedDict):
    """A cloud that is installed."""

    name: str
    title: str
    key: Annotated[bool, about("there is a key, or none is needed")]
    needs_key: bool
    asked: Annotated[bool, about("it is among the clouds that offers are asked for by default")]
    simulated: bool
    login: Annotated[str | None, about("how to log in")]
    can: list[str]


class Status(TypedDict):
    """The server, its supervisor, what was found at its start, the clouds."""

    version: str
    api: int
    user: str
    supervisor: Supervisor
    found: Found
    simulated: Annotated[bool, about("simulated clouds stand in for real ones")]
    clouds: list[CloudInfo]


# -- renting -----------------------------------------------------------------------------------


class Facet(TypedDict):
    """A value that offers have, and how many have it."""

    value: str | float | bool
    count: int


class Facets(TypedDict):
    """The values of all offers, the most frequent first."""

    gpu: list[Facet]
    gpus: list[Facet]
    vram_gb: list[Facet]
    provider: list[Facet]
    region: list[Facet]
    trust: list[Facet]
    spot: list[Facet]


class CloudFailure(TypedDict):
    """A cloud that did not answer as it should."""

    provider: str
    title: NotRequired[str]
    message: str
    reason: NotRequired[str]
    hint: NotRequired[str | None]
    login: Annotated[bool, about("a key would help")]


class Offers(TypedDict):
    """What the clouds answered."""

    offers: list[Offer]
    facets: Facets
    failed: list[CloudFailure]
    matched: Annotated[int, about("how many fit before the limit")]
    hours: float
    disk_gb: float


class Question(TypedDict):
    """What an action would cost, and the token to carry it out."""

    token: str
    says: Annotated[str, about("one sentence, with the money")]
    usd: Annotated[float | None, about("what it adds to the bill; null if no length is known")]
    expires_s: float


class Job(TypedDict):
    """Work that takes time."""

    id: str
    kind: Annotated[str, one_of("rent", "stop", "start", "down", "transfer")]
    session: Annotated[str | None, about("null until it is known")]
    state: Annotated[str, one_of("queued", "running", "cancelling", "done", "failed", "cancelled")]
    title: str
    done: float | None
    total: float | None
    unit: str
    says: str
    error: Problem | None
    result: Annotated[dict[str, Any] | None, about("a receipt (down), or the transfer's report")]
    started: float
    ended: float | None


# -- runs and files ----------------------------------------------------------------------------

RECORDS = ("stdout", "stderr", "result", "display", "error", "input", "note", "end")


class LogRecord(TypedDict):
    """A piece of what a run has printed."""

    n: int
    kind: Annotated[str, one_of(*RECORDS)]
    text: Annotated[str, about("lines, tabs and ANSI colours stay; other control characters do not")]


class Log(TypedDict):
    """What a run has printed since a record."""

    records: list[LogRecord]
    text: Annotated[
        str, about("the records' output as one text, without colours, overwritten lines as they ended")
    ]
    coloured: Annotated[str, about("the same with its ANSI colours")]
    next: Annotated[int, about("ask from here next time")]
    ended: Annotated[bool, about("nothing more will come")]
    state: str


class FileEntry(TypedDict):
    """A file or a folder of the host."""

    name: Annotated[str, about("to show")]
    path: Annotated[str, about("to ask with")]
    type: Annotated[str, one_of("file", "directory", "link", "other")]
    size: int
    mtime: float


class Files(TypedDict):
    """What is in a folder."""

    path: str
    entries: list[FileEntry]
    truncated: Annotated[bool, about("there are more than 10,000")]


class Place(TypedDict):
    """A path of the host."""

    path: Annotated[str, about("where it is, or was")]


# -- money, settings, keys ---------------------------------------------------------------------


class CostRow(TypedDict):
    """What a session, a day or a cloud cost."""

    key: Annotated[str, about("session id, date or cloud")]
    label: str
    provider: NotRequired[str | None]
    state: NotRequired[str | None]
    seconds: NotRequired[float | None]
    cost: Cost
    provider_usd: NotRequired[Annotated[float | None, about("what the cloud itself says")]]


class Costs(TypedDict):
    """What was spent, from the ledger."""

    by: str
    rows: list[CostRow]
    total: Cost
    usd_h: Annotated[float, about("what the live sessions cost an hour now")]


class SettingRow(TypedDict):
    """A setting and where it comes from."""

    key: str
    value: Any
    source: str
    about: str
    own: Annotated[bool, about("it comes from the user's own file, or would if it were written there")]


class Settings(TypedDict):
    """The settings that hold."""

    settings: list[SettingRow]
    user_file: str
    project_file: str | None
    refused: Annotated[list[str], about("what the project's file asks for and may not set, and why")]


class LoggedIn(TypedDict):
    """A key that was checked and kept."""

    provider: str
    account: str
    balance_usd: float | None
    stored: Annotated[str, about("where the key is kept")]
    warning: Annotated[str | None, about("what beats it, if something does")]


# -- events ------------------------------------------------------------------------------------


class Hello(TypedDict):
    """The first event."""

    version: str
    api: int


class CostNow(TypedDict):
    """What the live sessions cost."""

    usd_h: Annotated[float, about("what the live sessions cost an hour now")]
    total: Annotated[float, about("what the live sessions have cost")]
    sessions: Annotated[dict[str, float], about("what each has cost, by id")]


class Notice(TypedDict):
    """Something to read now."""

    tone: Annotated[str, one_of("ok", "info", "warn", "bad")]
    text: str
    session: str | None
    actions: list[Annotated[str, one_of("extend", "start", "down", "login")]]
    at: float


class Snapshot(TypedDict):
    """All that is known; it replaces what was known before."""

    sessions: Annotated[list[Session], about("the live ones")]
    jobs: list[Job]
    transfers: list[Transfer]
    cost: CostNow
    supervisor: Supervisor
    found: Found
    notices: Annotated[list[Notice], about("the latest")]


class Removed(TypedDict):
    """A session that is over; GET receipts has its receipt."""

    id: str
    name: str
    state: str


class SampleOf(TypedDict):
    """A session's latest load."""

    session: str
    sample: Sample


# the kinds of event, and what each carries
EVENTS: dict[str, type[Any]] = {
    "hello": Hello,
    "snapshot": Snapshot,
    "session": Session,
    "removed": Removed,
    "cost": CostNow,
    "run": Run,
    "transfer": Transfer,
    "job": Job,
    "telemetry": SampleOf,
    "notice": Notice,
    "supervisor": Supervisor,
}

"""What the verbs of files and ports print with ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import NotRequired, TypedDict

from gpunb.presentation.models import about

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANSWERS"]


class PlannedItem(TypedDict):
    """A file or link that goes."""

    path: str
    kind: str
    bytes: int


class LeftOut(TypedDict):
    """What stays, and the rule that says so."""

    path: str
    rule: str


class Failed(TypedDict):
    """What could not be moved."""

    path: str
    reason: str


class SyncPlan(TypedDict):
    """What a sync moves: the first 10,000 of each list, and `counts` of all."""

    items: list[PlannedItem]
    folders: list[str]
    modes: list[str]
    counts: dict[str, int]
    unchanged: int
    deletions: list[str]
    left_out: list[LeftOut]
    blocked: list[Failed]
    notes: list[str]
    total_bytes: int


class SyncDone(TypedDict):
    """What one sync did; with --dry-run, what it would do."""

    session: str
    dry_run: bool
    engine: str
    why: str
    way: str
    sent_files: int
    sent_bytes: int
    seconds: float
    moved_bytes: int
    matched_bytes: int
    retries: int
    estimate_s: float | None
    estimate_usd: float | None
    failed: list[Failed]
    deleted: list[str]
    plan: SyncPlan


class Syncs(TypedDict):
    """What several syncs of one call did."""

    session: str
    dry_run: bool
    syncs: list[SyncDone]


class StoredItem(TypedDict):
    """An object of a store that goes."""

    path: str
    bytes: int
    tag: str
    mtime: int | None


class StoreSync(TypedDict):
    """What a sync with an object store did."""

    session: str
    dry_run: bool
    url: str
    way: Annotated[str, about("host, here, or nothing where nothing had to move")]
    why: str
    items: list[StoredItem]
    unchanged: int
    left_out: list[LeftOut]
    warnings: list[str]
    total_bytes: int
    sent_files: int
    sent_bytes: int
    seconds: float
    failed: list[Failed]


class CloudCopy(TypedDict):
    """A copy that a cloud makes by itself; also what a watch ended with before its first sync."""

    session: str
    dry_run: NotRequired[bool]
    way: NotRequired[str]
    connection: NotRequired[int]
    source: NotRequired[str]
    target: NotRequired[str]
    state: NotRequired[str]
    every: NotRequired[str]
    until: NotRequired[float]
    ended: NotRequired[list[int]]


class Connection(TypedDict):
    """A storage that is linked to a cloud's account."""

    id: int
    storage: str
    name: str


class ScheduledCopy(TypedDict):
    """A copy that a cloud repeats."""

    id: int
    session: str | None
    instance: str | None
    every: str
    source: str
    target: str
    connection: Any
    until: float | None


class CloudCopies(TypedDict):
    """A cloud's connections and scheduled copies."""

    connections: list[Connection]
    scheduled: list[ScheduledCopy]


class Forwarded(TypedDict):
    """A forwarded port."""

    session_id: str
    session: str
    host_port: int
    local_port: int
    reverse: bool
    pid: int
    started: int | None
    since: float
    name: str
    link: str


class Closed(TypedDict):
    """The links that were closed."""

    closed: list[str]


class Command(TypedDict):
    """A command of this machine that opens the host."""

    session: str
    argv: list[str]


class SshBlock(TypedDict):
    """A session's block for ~/.ssh/config."""

    session: str
    config: str


class SshFile(TypedDict):
    """The file that is kept up to date, and the line that includes it."""

    file: str
    include: NotRequired[str]
    removed: NotRequired[bool]


ANSWERS: Mapping[str, Any] = {
    "sync": SyncDone | Syncs | StoreSync | CloudCopy | CloudCopies,
    "forward": list[Forwarded] | Forwarded | Closed,
    "ssh": Command | SshBlock | SshFile,
    "code": Command,
}

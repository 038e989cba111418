"""One attempt at one sync, whatever the engine: the plan, and all of it but the files' content."""

from __future__ import annotations

import contextlib
import stat
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gpunb.agent.shared.file_content import whole_digest
from gpunb.errors import BadInput
from gpunb.progress import SILENT
from gpunb.sync.local.safe_root import umask
from gpunb.sync.local.tree import LocalSide
from gpunb.sync.planning import locations
from gpunb.sync.planning.deletions import Shown, check_source, in_the_way, would_empty
from gpunb.sync.planning.notes import speak_up
from gpunb.sync.planning.plan import Plan, Tree
from gpunb.sync.planning.planner import Merge
from gpunb.sync.planning.rules import Rules
from gpunb.sync.planning.side import HostEnd, Side
from gpunb.sync.report import SyncReport
from gpunb.sync.throttle import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gpunb.progress import Progress
    from gpunb.ssh.endpoint import Endpoint
    from gpunb.sync.planning.estimate import Rates
    from gpunb.sync.planning.side import Entry

__all__ = ["Flow", "SyncOptions", "one_host"]

JOBS = 500  # items of one request
S = TypeVar("S", bound=Side)


@dataclass(slots=True)
class SyncOptions:
    """The options of a sync; see `gpunb.sync.sync`."""

    delete: str = ""
    dry_run: bool = False
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    checksum: bool = False
    pace: Pace = field(default_factory=lambda: Pace(None))
    rates: Rates | None = None
    progress: Progress = SILENT
    yes: bool = False
    """Delete even if nothing of the target stays."""
    follow: bool = False
    """Send what links lead to that lead out of the source."""
    hold: bool = False
    """Leave out what looks like credentials: the target is a stranger."""
    everything: bool = False
    """From one host to another: also what the rules leave out by default, environments and `.git`."""
    direct: bool = True
    """From one host to another: straight, if that goes."""


class Flow(Generic[S]):
    """One attempt at one sync; an engine says in `move` how the content of files goes.

    Attributes
    ----------
    exists
        Whether the target folder is there.
    over
        Whether all is done, and the connections may be used again.
    where, root
        The target, for messages, and as its path.
    """

    resumes = True

    def __init__(
        self,
        source: S,
        target: S,
        single: str,
        wish: SyncOptions,
        *,
        rules: Rules,
        lock: contextlib.AbstractContextManager[None],
    ) -> None:
        self.source, self.target, self.single = source, target, single
        self.rules, self.wish, self._lock = rules, wish, lock
        self.exists = self.over = False
        self.where = self.root = ""
        self.shown = Shown()
        self.report = SyncReport(Plan())
        self.unkept: Counter[str] = Counter()
        self._leftovers: list[str] = []

    def close(self) -> None:
        """Close both sides."""
        self.source.close(keep=self.over)
        self.target.close(keep=self.over)

    def choose(self) -> None:
        """Choose how the plan of the report is carried out, and say so in the report."""

    def move(self) -> None:
        """Move the content of the plan's files; a file that fails is recorded in the report."""
        raise NotImplementedError

    def run(self) -> None:
        """Make the plan, and carry it out unless it is a dry run."""
        with contextlib.nullcontext() if self.wish.dry_run else self._lock:
            self._plan()
            if self.wish.dry_run:
                self.shown.keep(self.report.plan)
                would_empty(self.report.plan, self.where)
            else:
                check_source(self.report.plan, self.where, yes=self.wish.yes)
                self.shown.narrow(self.report.plan)
                self.carry_out()
        self.over = True

    def _plan(self) -> None:
        wish, tree = self.wish, Tree()
        if self.exists:
            self.target.enter_soon(self.root)
        target: Any = Single(self.target, self.single, self.root) if self.single else self.target
        merge = Merge(
            self.rules, tree, target,
            exists=self.exists, delete=wish.delete, folds=self.target.folds, checksum=wish.checksum,
            coarse=self.source.coarse or self.target.coarse, resumes=self.resumes,
        )  # fmt: skip
        plan = merge.run(
            self._one_file() if self.single else self.source.folders(self.rules, tree, follow=wish.follow)
        )
        merge.compare_content(self.source)
        speak_up(plan, self.rules, single=self.single)
        self._leftovers = sorted(merge.leftovers)
        self.report.plan = plan
        self.report.failed += tree.failed
        self.choose()

    def _one_file(self) -> Iterable[tuple[str, list[Entry]]]:
        path = self.source.alias[self.single]
        entry = self.source.item(path, follow=True)
        if entry is None:
            msg = f"source {path!r} is gone"
            raise BadInput(msg)
        return [("", [entry._replace(name=self.single)])]

    def carry_out(self) -> None:
        """Carry the report's plan out."""
        plan, report, target = self.report.plan, self.report, self.target
        report.failed += plan.blocked
        room_first = locations.need_room(plan, target.room(self.root), self.where)
        target.make_root(self.root)
        if self._leftovers:
            target.delete(self._leftovers, {})
        opened = plan.opened()
        if opened:
            target.set_modes(opened)
        first = plan.deletions if room_first else in_the_way(plan)
        self._delete(first)
        for items in _chunks(plan.folders):
            report.failed += target.make_folders(items)
        if plan.items:
            count = len(plan.items)
            how = f", {report.why}" if report.why else ""
            self.wish.progress.say(f"moving {count} file{'s'[: count != 1]}{how}")
            self.move()
            self._links()
        before = set(first)
        self._delete([path for path in plan.deletions if path not in before])
        # deepest first: a folder that is closed to us hides what is in it
        closed = [item for item in plan.closed if opened and item.path not in plan.kinds]
        for spool in (plan.folders, closed, plan.modes):
            for items in _chunks(reversed(spool)):
                report.failed += target.set_modes(items)
        self.unkept.update(target.unkept)
        report.note_unkept(self.unkept, self.where)

    def _delete(self, paths: list[str]) -> None:
        if not paths:
            return
        report = self.report
        self.wish.progress.say(f"deleting {len(paths)} files and folders")
        for jobs in _chunks(paths):
            failed = dict(self.target.delete(jobs, report.plan.kinds))
            report.failed += [(path, f"not deleted: {why}") for path, why in failed.items()]
            report.deleted += [path for path in jobs if path not in failed]

    def _links(self) -> None:
        for items in _chunks(item for item in self.report.plan.items if item.kind == "link"):
            failed = self.target.make_links(items)
            self.report.failed += failed
            self.report.sent_files += len(items) - len(failed)


F = TypeVar("F", bound=Flow[Any])


def one_host(
    kind: Callable[..., F],
    host: HostEnd,
    endpoint: Endpoint,
    ends: tuple[str, str, str],
    wish: SyncOptions,
    *,
    guard: bool,
    digest: Callable[[int], bytes] = whole_digest,
) -> F:
    """Prepare a sync between this machine and one host.

    Parameters
    ----------
    kind
        The class of the flow, or what makes one.
    ends
        Source, target, and "up" or "down".
    guard
        The host is a stranger.
    digest
        Of an open local file, as `host` computes it of its own.
    """
    source, target, direction = ends
    up = direction == "up"
    wish.progress.say("listing files")
    host.look(target if up else source)
    find = locations.up_ends if up else locations.down_ends
    places = find(host, source, target, delete=bool(wish.delete))
    host.alias = {places.single: places.source} if places.single else {}
    host.mask = 0 if up else umask()
    here = LocalSide(places.here, host.alias, host.mask, digest)
    rules = Rules(
        places.here if up else None,
        include=wish.include, exclude=wish.exclude, hold=up and wish.hold, guard=guard and not up,
    )  # fmt: skip
    sides = (here, host) if up else (host, here)
    lock = locations.lock(endpoint, places, direction)
    flow = kind(*sides, places.single, wish, rules=rules, lock=lock)
    if up:
        flow.exists = is_folder(host, places.there)
        flow.where, flow.root = f"the host ({places.there})", places.there
    else:
        flow.exists = places.here.is_dir()
        flow.where, flow.root = f"this machine ({places.here})", str(places.here)
        host.enter_soon(places.there)
    flow.shown = Shown(direction, endpoint.alias, places, wish.delete, wish.include, wish.exclude)
    return flow


def is_folder(host: locations.Looker, path: str) -> bool:
    """Whether there is a folder at `path` of the host."""
    attrs = host.attrs(path)
    return attrs is not None and stat.S_ISDIR(attrs.mode or 0)


class Single:
    """A target folder reduced to a single name."""

    def __init__(self, side: Side, name: str, root: str) -> None:
        self._side, self._name, self._path = side, name, f"{root}/{name}"
        self.local, self.hashes, self.hashes_begin = side.local, side.hashes, side.hashes_begin

    def ask(self, path: str) -> None:
        """Do nothing: a single name needs no request."""

    def take(self) -> tuple[str, list[Entry], str]:
        """Return the entry of that name, if there is one."""
        entry = self._side.item(self._path, follow=False)
        return "", [entry._replace(name=self._name)] if entry is not None else [], ""


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == JOBS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

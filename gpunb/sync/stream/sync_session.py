"""A whole sync through the agent: check paths, plan, transfer, and resume after a broken connection."""

from __future__ import annotations

import contextlib
import stat
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from gpunb import log
from gpunb.errors import BadInput, GpunbError, HostError, ProtocolError, SyncError, Unreachable
from gpunb.progress import SILENT
from gpunb.ssh import openssh_channel
from gpunb.sync.local.safe_root import umask
from gpunb.sync.local.tree import LocalReader, LocalSide, LocalWriter
from gpunb.sync.planning import locations
from gpunb.sync.planning.deletions import Shown, check_source, in_the_way, would_empty
from gpunb.sync.planning.estimate import choose, estimate
from gpunb.sync.planning.notes import speak_up
from gpunb.sync.planning.plan import Plan, Tree
from gpunb.sync.planning.planner import Merge
from gpunb.sync.planning.rules import Rules
from gpunb.sync.report import SyncReport
from gpunb.sync.stream import host_to_host as direct
from gpunb.sync.stream.engine import Stream
from gpunb.sync.stream.file_channel import FileChannel
from gpunb.sync.stream.host_files import HostReader, HostWriter
from gpunb.sync.stream.host_tree import JOBS, HostSide
from gpunb.sync.throttle import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gpunb.progress import Progress
    from gpunb.remote import AgentClient
    from gpunb.sync.local.scan import Entry
    from gpunb.sync.planning.estimate import Rates

    Side: TypeAlias = HostSide | LocalSide

__all__ = ["SyncOptions", "by_agent", "by_agents"]

TRIES = 12  # broken connections in a row without a byte transferred
PAUSE = (0.1, 5.0)
DIRECT_TRIES = 3  # breaks after which files go through this machine
APART_TRIES = 2  # breaks after which channels share a connection: a proxy may limit connections


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
    direct: bool = True
    """From one host to another: straight, if that goes."""


def by_agent(client: AgentClient, source: str, target: str, direction: str, wish: SyncOptions) -> SyncReport:
    """Sync between this machine and the host of `client`; parameters and errors as `gpunb.sync.sync`."""
    return _patiently((client,), wish, lambda: _one_host(client, source, target, direction, wish))


def by_agents(
    source_client: AgentClient, source: str, target_client: AgentClient, target: str, wish: SyncOptions
) -> SyncReport:
    """Sync from one host to another: directly if one can reach the other, else through this machine.

    Nothing is kept on this machine's disk. The plan is made here; see
    `gpunb.sync.stream.host_to_host` for what the hosts learn of each other.

    Raises
    ------
    BadInput, NotEnoughSpace, SyncError, Unreachable
        As `gpunb.sync.sync`.
    """
    clients = (source_client, target_client)
    return _patiently(clients, wish, lambda: _two_hosts(*clients, source, target, wish))


def _patiently(clients: Sequence[AgentClient], wish: SyncOptions, once: Callable[[], _Flow]) -> SyncReport:
    """Run the sync; when the connection breaks, wait for it and continue with what is left."""
    began = time.monotonic()
    before: list[SyncReport] = []
    idle, pause = 0, PAUSE[0]
    through = ""
    while True:
        flow: _Flow | None = None
        try:
            flow = once()
            flow.apart = len(before) < APART_TRIES
            flow.through = through
            flow.run()
        except (Unreachable, HostError) as err:
            report = flow.report if flow is not None else None
            if isinstance(err, ProtocolError) or not _broken(err, clients):
                raise
            moved = report is not None and report.moved_bytes > 0
            idle, pause = (0, PAUSE[0]) if moved else (idle + 1, min(PAUSE[1], pause * 2))
            if report is not None:
                before.append(report)
            if isinstance(err, direct.DirectBroke) or len(before) >= DIRECT_TRIES:
                through = _plainly(err)
            if idle >= TRIES:
                raise
            wish.progress.say("the line broke; the sync goes on when it is back")
            time.sleep(pause)
            for client in clients:
                _ = client.connection  # waits, and raises if it does not come back
            continue
        finally:
            if flow is not None:
                flow.close()
        report = flow.report
        for old in before:
            report.sent_files += old.sent_files
            report.sent_bytes += old.sent_bytes
            report.moved_bytes += old.moved_bytes
            report.deleted += [path for path in old.deleted if path not in report.deleted]
        report.retries = len(before)
        report.seconds = time.monotonic() - began
        return report


def _broken(err: GpunbError, clients: Sequence[AgentClient]) -> bool:
    """Whether waiting may help: the connection broke, or has just been broken."""
    return isinstance(err, Unreachable) or not all(one.connected for one in clients)


def _plainly(err: GpunbError) -> str:
    return err.message if isinstance(err, direct.DirectBroke) else "the line broke several times"


def _one_host(client: AgentClient, source: str, target: str, direction: str, wish: SyncOptions) -> _Flow:
    wish.progress.say("listing files")
    host = HostSide(client)
    try:
        host.look(target if direction == "up" else source)
        find = locations.up_ends if direction == "up" else locations.down_ends
        ends = find(host, source, target, delete=bool(wish.delete))
        single = {ends.single: ends.source} if ends.single else {}
        mask = umask() if direction == "down" else 0
        here = LocalSide(ends.here, single, mask)
        host.mask = mask
        host.alias = single
        lock = locations.lock(client.endpoint, ends, direction)
        if direction == "up":
            rules = Rules(ends.here, include=wish.include, exclude=wish.exclude, hold=wish.hold)
            at = host.attrs(ends.there)
            flow = _Flow(here, host, ends.single, wish, rules=rules, lock=lock)
            flow.exists = at is not None and stat.S_ISDIR(at.mode or 0)
            flow.where, flow.root = f"the host ({ends.there})", ends.there
        else:
            guard = client.trust != "own"
            rules = Rules(None, include=wish.include, exclude=wish.exclude, guard=guard)
            flow = _Flow(host, here, ends.single, wish, rules=rules, lock=lock)
            flow.exists = ends.here.is_dir()
            flow.where, flow.root = f"this machine ({ends.here})", str(ends.here)
            host.enter_soon(ends.there)
        flow.shown = Shown(direction, client.endpoint.alias, ends, wish.delete, wish.include, wish.exclude)
    except BaseException:
        host.close()
        raise
    return flow


def _two_hosts(
    source_client: AgentClient, target_client: AgentClient, source: str, target: str, wish: SyncOptions
) -> _Flow:
    wish.progress.say("listing files")
    one, two = HostSide(source_client), HostSide(target_client)
    try:
        one.look(source)
        two.look(target)
        ends, root = locations.between(one, two, source, target, delete=bool(wish.delete))
        one.alias = {ends.single: ends.source} if ends.single else {}
        guard = source_client.trust != "own"
        rules = Rules(None, include=wish.include, exclude=wish.exclude, hold=wish.hold, up=True, guard=guard)
        lock = locations.lock(target_client.endpoint, ends, "up")
        flow = _Flow(one, two, ends.single, wish, rules=rules, lock=lock)
        at = two.attrs(ends.there)
        flow.exists = at is not None and stat.S_ISDIR(at.mode or 0)
        flow.where, flow.root = f"the host ({ends.there})", ends.there
        one.enter_soon(root)
        alias = source_client.endpoint.alias, target_client.endpoint.alias
        flow.shown = Shown(*alias, root, ends, wish.delete, wish.include, wish.exclude)
    except BaseException:
        one.close()
        two.close()
        raise
    return flow


class _Flow:
    """One attempt at one sync."""

    def __init__(
        self,
        source: Side,
        target: Side,
        single: str,
        wish: SyncOptions,
        *,
        rules: Rules,
        lock: contextlib.AbstractContextManager[None],
    ) -> None:
        self.source, self.target, self.single = source, target, single
        self.rules, self.wish, self._lock = rules, wish, lock
        self.exists = self.over = False
        self.apart = True
        self.where = self.root = self.through = ""
        self.shown = Shown()
        self.report = SyncReport(Plan())
        self._leftovers: list[str] = []
        self._unkept: Counter[str] = Counter()
        self._apart: list[FileChannel] = []
        self._straight: list[direct.Link] = []

    def close(self) -> None:
        """Close the channels."""
        for line in self._apart:
            line.close()
        for link in self._straight:
            link.close()
        self.source.close(keep=self.over)
        self.target.close(keep=self.over)

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
                self._carry_out()
        self.over = True

    def _plan(self) -> None:
        wish = self.wish
        tree = Tree()
        if isinstance(self.target, HostSide) and self.exists:
            self.target.enter_soon(self.root)
        folds = (
            self.target.folds if isinstance(self.target, HostSide) else locations.folds_here(self.target.root)
        )
        target: Any = _Single(self.target, self.single, self.root) if self.single else self.target
        merge = Merge(
            self.rules, tree, target,
            exists=self.exists, delete=wish.delete, folds=folds, checksum=wish.checksum,
        )  # fmt: skip
        folders = self.source.folders(self.rules, tree, follow=wish.follow) if not self.single else ()
        plan = merge.run(folders if not self.single else self._single_source())
        merge.compare_content(self.source)
        speak_up(plan, self.rules, single=self.single)
        self._leftovers = sorted(merge.leftovers)
        report = self.report
        report.plan = plan
        report.failed += tree.failed
        hosts = [side for side in (self.source, self.target) if isinstance(side, HostSide)]
        rtt = max(side.line.rtt for side in hosts)
        self.way = choose(
            rtt,
            plan,
            zstd=all(side.zstd for side in hosts),
            rates=wish.rates,
            ssh=self.apart and openssh_channel.there(),
            down=isinstance(self.source, HostSide),
        )
        report.engine, report.why = "stream", self.way.why
        report.estimate_s, report.estimate_usd = estimate(plan, rtt, self.way.lines, wish.rates)

    def _single_source(self) -> Iterable[tuple[str, list[Entry]]]:
        entry = self.source.item(self.source.alias[self.single], follow=True)
        if entry is None:
            msg = f"source {self.source.alias[self.single]!r} is gone"
            raise BadInput(msg)
        return [("", [(self.single, *entry[1:])])]

    # -- carrying out

    def _carry_out(self) -> None:
        plan, report = self.report.plan, self.report
        report.failed += plan.blocked
        free = (
            self.target.free if isinstance(self.target, HostSide) else locations.free_here(self.target.root)
        )
        room_first = locations.need_room(plan, free, self.where)
        self._prepare_root()
        if self._leftovers:
            self.target.delete(self._leftovers, {})
        opened = plan.opened()
        if opened:
            self.target.set_modes(opened)
        first = plan.deletions if room_first else in_the_way(plan)
        self._delete(first)
        for items in _chunks(plan.folders):
            report.failed += self.target.make_folders(items)
        if plan.items:
            count = len(plan.items)
            self.wish.progress.say(f"moving {count} file{'s'[: count != 1]}, {self.way.why}")
            self._stream()
            self._links()
        before = set(first)
        self._delete([path for path in plan.deletions if path not in before])
        # deepest first: a folder that is closed to us hides what is in it
        closed = [item for item in plan.closed if opened and item.path not in plan.kinds]
        for spool in (plan.folders, closed, plan.modes):
            for items in _chunks(reversed(spool)):
                report.failed += self.target.set_modes(items)
        self._unkept.update(self.target.unkept)
        report.note_unkept(self._unkept, self.where)

    def _delete(self, paths: list[str]) -> None:
        if not paths:
            return
        report = self.report
        self.wish.progress.say(f"deleting {len(paths)} files and folders")
        for jobs in _chunks(paths):
            failed = dict(self.target.delete(jobs, report.plan.kinds))
            report.failed += [(path, f"not deleted: {why}") for path, why in failed.items()]
            report.deleted += [path for path in jobs if path not in failed]

    def _prepare_root(self) -> None:
        if isinstance(self.target, HostSide):
            if not self.exists:
                self.target.enter(self.root, make=True)
            return
        try:
            self.target.root.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            msg = f"the folder {self.target.root} can't be made: {err.strerror}"
            raise SyncError(msg) from err

    def _stream(self) -> None:
        for side in (self.source, self.target):
            if isinstance(side, HostSide):
                side.entered()
        self._straight = self._connect()
        stream = Stream(self.report.plan, self.report, self._pair, self.wish, self.close)
        stream.run(len(self._straight) or self.way.lines)
        self._unkept.update(stream.unkept)

    def _connect(self) -> list[direct.Link]:
        """Open direct connections between two hosts, if possible; the report says whether it is direct."""
        one, two, report = self.source, self.target, self.report
        if not (isinstance(one, HostSide) and isinstance(two, HostSide)):
            return []
        why = self.through or ("" if self.wish.direct else "as asked")
        found: list[direct.Link] = []
        if not why:
            self.wish.progress.say("connecting the two hosts")
            try:
                found = direct.connect(one, two, report.plan.total_bytes)
            except direct.NotDirect as err:
                why = str(err)
        if why:
            report.way = f"through this machine: {why}"
            return []
        report.way = report.why = f"straight from host to host over {len(found)} line{'s'[: len(found) > 1]}"
        return found

    def _pair(self, number: int) -> tuple[Any, Any, Callable[[], None]]:
        """Open the reader and the writer of one worker, and the function that closes them."""
        closers: list[Callable[[], None]] = []

        def line(side: HostSide) -> FileChannel:
            if self.way.apart:
                found = self._line_apart(side)
                if found is not None:
                    closers.append(found.close)
                    return found
            if number == 0:
                return side.line  # it is used again after the transfer
            found = FileChannel(side.client, side.root)
            closers.append(found.close)
            return found

        codec = self.way.codec
        if self._straight:
            link = self._straight[number]
            return (*link.pair(codec), link.close)
        if isinstance(self.source, HostSide):
            reader: Any = HostReader(line(self.source), self.source.alias, codec)
        else:
            reader = LocalReader(self.source.root, self.source.alias, follow=self.wish.follow)
        if isinstance(self.target, HostSide):
            writer: Any = HostWriter(line(self.target), codec)
        else:
            writer = LocalWriter(self.target.safe)
            closers.append(writer.close)

        def close() -> None:
            for one in closers:
                one()

        return reader, writer, close

    def _line_apart(self, side: HostSide) -> FileChannel | None:
        """Open a channel with its own connection; None if the host, or a proxy before it, refuses that."""
        try:
            found = FileChannel(side.client, side.root, apart=True)
            self._apart.append(found)
            found.greet()
        except Unreachable:
            raise
        except HostError as err:
            log.get(__name__).info("no connection of its own for a line: %s", err.message)
            return None
        return found

    def _links(self) -> None:
        for items in _chunks(item for item in self.report.plan.items if item.kind == "link"):
            failed = self.target.make_links(items)
            self.report.failed += failed
            self.report.sent_files += len(items) - len(failed)


class _Single:
    """A target folder reduced to a single name."""

    local = False

    def __init__(self, side: Any, name: str, root: str) -> None:
        self._side, self._name, self._path = side, name, f"{root}/{name}"
        self.hashes, self.hashes_begin = side.hashes, side.hashes_begin

    def ask(self, path: str) -> None:
        """Do nothing: a single name needs no request."""

    def take(self) -> tuple[str, list[Entry], str]:
        """Return the entry of that name, if there is one."""
        found = self._side.item(self._path, follow=False)
        return "", [(self._name, *found[1:])] if found is not None else [], ""


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == JOBS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

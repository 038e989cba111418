"""`sync`: run one sync from its source and target to its report."""

from __future__ import annotations

import contextlib
import stat
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpunb.errors import BadInput, SyncError
from gpunb.progress import SILENT
from gpunb.sync import rsync
from gpunb.sync.local.safe_root import LocalRoot, umask
from gpunb.sync.local.scan import scan
from gpunb.sync.planning import locations
from gpunb.sync.planning.deletions import Shown, check_source, in_the_way, would_empty
from gpunb.sync.planning.notes import speak_up
from gpunb.sync.planning.plan import Item, Plan, Tree, diff
from gpunb.sync.planning.rules import Rules
from gpunb.sync.planning.spilled_list import Spool
from gpunb.sync.report import SyncReport
from gpunb.sync.sftp import engine as sftp
from gpunb.sync.sftp.host_tree import Remote, encode
from gpunb.sync.sftp.protocol import REMOVE, Request, string
from gpunb.sync.sftp.queues import TransferJob
from gpunb.sync.stream.sync_session import SyncOptions, by_agent
from gpunb.sync.throttle import Pace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.progress import Progress
    from gpunb.remote import AgentClient
    from gpunb.ssh.connection import Connection
    from gpunb.sync.planning.estimate import Rates
    from gpunb.sync.sftp.protocol import Task

__all__ = ["sync"]

_RSYNC_FROM = 2**20  # bytes; below, starting a second ssh costs more than it saves


def sync(
    conn: Connection,
    source: str,
    target: str,
    *,
    direction: Literal["up", "down"],
    delete: bool = False,
    dry_run: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    checksum: bool = False,
    mirror: bool = False,
    yes: bool = False,
    follow: bool = False,
    hold: bool = False,
    limit_rate: float | None = None,
    agent: AgentClient | None = None,
    rates: Rates | None = None,
    guard: bool | None = None,
    engine: Literal["auto", "stream", "rsync", "sftp"] = "auto",
    progress: Progress = SILENT,
) -> SyncReport:
    """Make `target` hold what `source` holds.

    A folder's contents land in `target`, with or without a slash at the end
    of either: ``data`` to ``data`` never makes ``data/data``. A file lands in
    `target` if that is a folder or is written like one (``out/``, ``.``),
    else it takes that name. Paths on the host begin at its home.

    Times (whole seconds; nanoseconds with the agent), permission bits, holes of
    large files (with the agent) and links that stay inside are kept; owners are
    not, and each name of a file with several (hard links) becomes a file of its
    own. Files of the same size and time are not sent again.

    Parameters
    ----------
    direction
        "up": `source` is here and `target` on the host; "down": the reverse.
    delete
        Also delete in `target` what `source` does not have, except what a
        rule leaves out. A dry run shows what.
    dry_run
        Make the plan and return it; nothing is written anywhere.
    include, exclude
        Patterns in git's ignore syntax; see `gpunb.sync.planning.rules`. On the way
        down no ignore file counts: a result is never hidden by one.
    checksum
        Compare by content: by digests of both sides with the agent, as rsync
        does without it; with SFTP every file goes again.
    mirror
        As `delete`, and what an ignore file or `exclude` hides is deleted too;
        `.git`, environments and caches stay.
    yes
        Delete even where nothing of the target stays: the source holds no
        file, or none of the target's (20 or more).
    follow
        Take links that lead out of the source for what they lead to; never
        one that leads to a folder which it is in.
    hold
        On the way up, leave out what looks like credentials.
    limit_rate
        Bytes a second that may go.
    agent
        The host's agent, for the stream engine, over its own connection, not `conn`.
        A broken connection is waited for, and the sync goes on where it was.
    rates
        Known rates and prices of network traffic, for the estimate.
    guard
        The host is a stranger: what could run on this side (`gpunb.sync.local.autorun`) is held back
        and named, unless `include` names it. None goes by the agent's trust; without an agent
        it is a stranger.
    engine
        "auto" takes the stream engine where there is an agent. Else rsync on
        the way up where both ends have it and more than 1 MiB goes, else
        SFTP; on the way down SFTP, which trusts no answer of the host.

    Returns
    -------
    SyncReport
        With the paths that could not go in `failed`; `SyncReport.check`
        raises if there are any.

    Raises
    ------
    BadInput
        A path that is not there, a target that is refused, a bad pattern, a
        deletion of all that the target holds without `yes`.
    NotEnoughSpace
        The target has no room for the plan; nothing was written.
    SyncError
        Another sync into the same place is running, or a disk is full.
    Unreachable
        The connection broke. Each file is old or new; run it again.
    """
    if direction not in ("up", "down"):
        msg = f"direction {direction!r}: must be 'up' or 'down'"
        raise BadInput(msg)
    if engine not in ("auto", "stream", "rsync", "sftp"):
        msg = f"engine {engine!r}: must be 'auto', 'stream', 'rsync' or 'sftp'"
        raise BadInput(msg)
    if agent is None and engine == "stream":
        msg = "engine 'stream': it works through the agent, and none was given"
        raise BadInput(msg)
    if agent is not None and engine in ("auto", "stream"):
        wish = SyncOptions(
            delete="mirror" if mirror else "delete" if delete else "",
            dry_run=dry_run,
            include=include,
            exclude=exclude,
            checksum=checksum,
            yes=yes,
            follow=follow,
            hold=hold,
            pace=Pace(limit_rate),
            rates=rates,
            progress=progress,
        )
        return by_agent(agent, source, target, direction, wish)
    if mirror:
        msg = "mirror: only the stream engine can, through the host's agent"
        raise BadInput(msg, hint="use --delete; what a rule hides then stays")
    began = time.monotonic()
    with Remote(conn) as remote:
        progress.say("listing files")
        find = locations.up_ends if direction == "up" else locations.down_ends
        ends = find(remote, source, target, delete=delete)
        work = _Work(remote, ends, direction, progress, checksum=checksum, pace=Pace(limit_rate))
        work.hold, work.follow = hold, follow
        work.guard = guard if guard is not None else agent is None or agent.trust != "own"
        shown = Shown(direction, conn.endpoint.alias, ends, delete, include, exclude)
        if dry_run:
            report = SyncReport(work.plan(include, exclude, delete=delete))
            report.failed += work.unread
            shown.keep(report.plan)
            would_empty(report.plan, work.where)
        else:
            with locations.lock(conn.endpoint, ends, direction):
                report = SyncReport(work.plan(include, exclude, delete=delete))
                check_source(report.plan, work.where, yes=yes)
                shown.narrow(report.plan)
                report.failed += [*work.unread, *report.plan.blocked]
                work.carry_out(report, engine)
    report.seconds = time.monotonic() - began
    return report


class _Work:
    """One sync between two known endpoints."""

    def __init__(
        self,
        remote: Remote,
        ends: locations.Endpoints,
        direction: str,
        progress: Progress,
        *,
        checksum: bool,
        pace: Pace,
    ) -> None:
        self.remote, self.ends, self.up = remote, ends, direction == "up"
        self.progress, self.checksum, self.pace = progress, checksum, pace
        self.unread: list[tuple[str, str]] = []
        self.leftovers: list[str] = []
        self.unkept: Counter[str] = Counter()
        self.hold = self.follow = False
        self.guard = True
        self.where = f"the host ({ends.there})" if self.up else f"this machine ({ends.here})"

    def plan(self, include: Sequence[str], exclude: Sequence[str], *, delete: bool) -> Plan:
        root = self.ends.here if self.up else None
        rules = Rules(
            root,
            include=include,
            exclude=exclude,
            hold=self.hold and self.up,
            guard=self.guard and not self.up,
        )
        if self.ends.single:
            source, target = self._single_trees()
        else:
            exists = self.up or self.ends.here.is_dir()
            up, follow = self.up, self.follow
            here = scan(self.ends.here, rules, target=not up, follow=up and follow) if exists else Tree()
            there = self.remote.scan(self.ends.there, rules, target=up, follow=not up and follow)
            source, target = (here, there) if self.up else (there, here)
        self.unread = source.failed
        self.leftovers = target.leftovers
        if not self.up:
            masked(source, target)
        found = diff(source, target, delete=delete)
        speak_up(found, rules, single=self.ends.single)
        return found

    def carry_out(self, report: SyncReport, engine: str) -> None:
        plan = report.plan
        report.engine = "sftp"
        if not (plan.items or plan.folders or plan.modes or plan.deletions or self.checksum):
            if not self.up:
                self._prepare_here(plan)  # an empty folder comes back as one
            elif not self.ends.single:
                self.remote.make_folders(self.ends.there)
            return
        room_first = self._prepare_host(plan) if self.up else self._prepare_here(plan)
        self._clear_leftovers()
        opened = Plan(modes=Spool(plan.opened()))
        if opened.modes:
            self._by_sftp(SyncReport(opened), opened)
        first = plan.deletions if room_first else in_the_way(plan)
        self._delete(report, first)
        self._send(report, engine)
        before = set(first)
        self._delete(report, [path for path in plan.deletions if path not in before])
        closed = Plan(modes=Spool(item for item in plan.closed if item.path not in plan.kinds))
        if opened.modes and closed.modes:
            self._by_sftp(SyncReport(closed), closed)
        report.note_unkept(self.unkept, self.where)

    def _send(self, report: SyncReport, engine: str) -> None:
        plan = report.plan
        count = len(plan.items)
        self.progress.say(f"{'sending' if self.up else 'fetching'} {count} file{'' if count == 1 else 's'}")
        if self._rsync_fits(plan, engine):
            try:
                self._by_rsync(report)
            except rsync.Unusable as err:
                if engine == "rsync":
                    msg = f"rsync does not work with this host: {err}"
                    raise SyncError(msg, hint="leave the engine to gpunb") from err
                # the folders are made and writable by now
                report.engine = "sftp"
                plan = replace(plan, folders=Spool(), modes=Spool([*plan.modes, *reversed(plan.folders)]))
            else:
                return
        if self.checksum:  # without an agent SFTP can't compare by content, so all files are sent
            everything = [*plan.items, *(item for item in plan.unchanged if item.kind == "file")]
            plan = replace(plan, items=Spool(everything), total_bytes=sum(item.size for item in everything))
        self._by_sftp(report, plan)

    # -- the two trees of a single file

    def _single_trees(self) -> tuple[Tree, Tree]:
        here = self._local_item(Path(self.ends.source) if self.up else self.ends.here / self.ends.single)
        there = self._host_item(f"{self.ends.there}/{self.ends.single}" if self.up else self.ends.source)
        ends = (here, there) if self.up else (there, here)
        source, target = (Tree(items=[item] if item else []) for item in ends)
        return source, target

    def _local_item(self, path: Path) -> Item | None:
        try:
            # the source may be a link to a file; in the target a link is replaced
            found = path.stat() if self.up else path.lstat()
        except FileNotFoundError:
            return None
        kind = "dir" if stat.S_ISDIR(found.st_mode) else "link" if stat.S_ISLNK(found.st_mode) else "file"
        mtime = found.st_mtime_ns // 10**9
        return Item(self.ends.single, kind, found.st_size, mtime, found.st_mode & 0o777)

    def _host_item(self, path: str) -> Item | None:
        found = self.remote.attrs(path, follow=not self.up)
        if found is None:
            return None
        mode = found.mode or 0
        kind = "dir" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"
        return Item(self.ends.single, kind, found.size or 0, found.mtime or 0, mode & 0o777)

    # -- before

    def _prepare_host(self, plan: Plan) -> bool:
        existing = self.ends.there
        while self.remote.attrs(existing) is None and existing != "/":
            existing = existing.rpartition("/")[0] or "/"
        room_first = locations.need_room(plan, self.remote.free_bytes(existing), self.where)
        self.remote.make_folders(self.ends.there)
        return room_first

    def _prepare_here(self, plan: Plan) -> bool:
        room_first = locations.need_room(plan, locations.free_here(self.ends.here), self.where)
        try:
            self.ends.here.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            msg = f"the folder {self.ends.here} can't be made: {err.strerror}"
            raise SyncError(msg) from err
        return room_first

    def _clear_leftovers(self) -> None:
        """Remove the partial files of an earlier, interrupted try."""
        if self.up:

            def drop(path: str) -> Task:
                yield Request(REMOVE, string(encode(f"{self.ends.there}/{path}")))

            self.remote.each(self.leftovers, drop, lambda _path, _why: None)
        elif self.leftovers:
            with LocalRoot(self.ends.here) as root:
                for path in self.leftovers:
                    with contextlib.suppress(OSError):
                        root.delete(path, "file")

    def _delete(self, report: SyncReport, paths: list[str]) -> None:
        if not paths:
            return
        self.progress.say(f"deleting {len(paths)} files and folders")

        def failed(path: str, why: str) -> None:
            report.failed.append((path, f"not deleted: {why}"))

        if self.up:
            kinds = report.plan.kinds
            report.deleted += sftp.delete_remote(self.remote, self.ends.there, paths, kinds, failed)
            return
        with LocalRoot(self.ends.here) as root:
            for path in paths:
                try:
                    root.delete(path, report.plan.kinds[path])
                    report.deleted.append(path)
                except OSError as err:  # noqa: PERF203 - each by itself
                    failed(path, err.strerror or str(err))

    # -- the engines

    def _rsync_fits(self, plan: Plan, engine: str) -> bool:
        if engine == "sftp" or self.ends.single:
            return False
        wanted = engine == "rsync" or (self.up and (self.checksum or plan.total_bytes > _RSYNC_FROM))
        if not wanted:
            return False
        if rsync.both_have(self.remote.connection, "up" if self.up else "down"):
            return True
        if engine == "rsync":
            msg = "engine 'rsync': both ends must have rsync, here 3.1 or newer and 3.4 for the way down"
            raise BadInput(msg, hint="leave the engine to gpunb")
        return False

    def _by_rsync(self, report: SyncReport) -> None:
        """Send files with rsync; folders before, links and modes after it, over SFTP."""
        plan = report.plan
        files = [item for item in plan.items if item.kind == "file"]
        if self.checksum:
            files += [item for item in plan.unchanged if item.kind == "file"]
        frame = Plan(folders=Spool(map(_open_for_us, plan.folders)))
        self._by_sftp(SyncReport(frame, failed=report.failed), frame)
        report.engine = "rsync"
        if files:
            direction = "up" if self.up else "down"
            sent, size, whole, said = rsync.transfer(
                self.remote.connection.reached,
                str(self.ends.here),
                self.ends.there,
                files,
                direction=direction,
                checksum=self.checksum,
                total=plan.total_bytes,
                rate=self.pace.rate,
                follow=self.follow,
                progress=self.progress,
            )
            report.sent_files, report.sent_bytes = sent, size
            if not whole:
                missing = self._missing(files)
                self.unkept.update(rsync.unkept(said))
                if self.unkept:  # a file of the right size was sent; only its time is missing
                    missing = self._missing(files, times=False)
                report.failed += rsync.reasons(said, missing)
        rest = Plan(
            items=Spool(item for item in plan.items if item.kind == "link"),
            modes=Spool([*plan.modes, *reversed(plan.folders)]),
        )
        self._by_sftp(report, rest)

    def _by_sftp(self, report: SyncReport, plan: Plan) -> None:
        errand = TransferJob(self.remote, self.ends.there, plan, report, self.progress, self.pace)
        single = self.ends.source
        if self.up:
            engine: sftp.Upload | sftp.Download = sftp.Upload(
                errand, self.ends.here, Path(single) if single else None
            )
            engine.run()
        else:
            with LocalRoot(self.ends.here) as root:
                engine = sftp.Download(errand, root, single or None)
                engine.run()
        self.unkept.update(engine.unkept)

    def _missing(self, files: list[Item], *, times: bool = True) -> list[Item]:
        """The `files` that the target does not hold now."""
        rules = Rules(None)
        there = scan(self.ends.here, rules) if not self.up else self.remote.scan(self.ends.there, rules)
        found = {item.path: item for item in there.items if item.kind == "file"}
        return [
            item
            for item in files
            if (now := found.get(item.path)) is None
            or now.size < item.size
            or (times and now.mtime != item.mtime)
        ]


def masked(*trees: Tree) -> None:
    """Remove the permission bits that the umask forbids from items fetched to this machine."""
    bits = umask()
    for tree in trees:
        for item in tree.items:
            item.mode &= ~bits


def _open_for_us(item: Item) -> Item:
    """The folder with a mode that lets us write into it; its final mode is set at the end."""
    return Item(item.path, "dir", mode=item.mode | 0o700)

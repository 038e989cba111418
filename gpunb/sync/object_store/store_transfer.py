"""A sync with an object store, in either direction: who transfers the bytes, and what is counted.

The host moves them itself where it can: its network is faster than ours, and
through this machine each byte travels twice. It gets signed URLs, one for each
file, valid for minutes; never a key. Where nothing can be signed, or the store
is in this network only, the bytes go through this machine.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from gpunb.errors import SyncError
from gpunb.sync.object_store.stores import Multipart, Signed, Store, Stored, is_near, part_size
from gpunb.sync.object_store.via_here import Relay
from gpunb.sync.object_store.via_host import CannotRun, HostMover, Job
from gpunb.sync.planning.plan import Tree
from gpunb.sync.planning.planner import Merge
from gpunb.sync.sftp.host_files import HostFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpunb.progress import Progress
    from gpunb.ssh.connection import Connection
    from gpunb.sync.planning.plan import Plan
    from gpunb.sync.planning.rules import Rules
    from gpunb.sync.planning.side import Entry
    from gpunb.sync.report import CloudReport
    from gpunb.sync.sftp.host_tree import Remote

__all__ = ["Parts", "Work", "md5", "same_content"]

_MD5 = re.compile(r'"?([0-9a-f]{32})(?:-([1-9][0-9]{0,4}))?"?')


class Work:
    """The part that both directions share: choosing who transfers, counting, the report."""

    up = True

    def __init__(  # noqa: PLR0917 - one call
        self,
        conn: Connection,
        remote: Remote,
        store: Store,
        path: str,
        report: CloudReport,
        progress: Progress,
        *,
        via: str,
        allow: bool,
    ) -> None:
        self.conn, self.remote, self.store, self.path = conn, remote, store, path
        self.report, self.progress = report, progress
        self.via, self.allow = via, allow
        self.there = ""  # the folder on the host
        self.single = ""  # for one file: its name there
        self._done = 0

    def plan(self, rules: Rules, *, checksum: bool) -> None:
        """Fill the report with the files that are sent and left out."""
        raise NotImplementedError

    def compare(
        self,
        source: Any,
        target: Any,
        rules: Rules,
        alike: Callable[[Entry, Entry], bool | None],
        *,
        exists: bool,
    ) -> Plan:
        """Compare both sides; the report gets what is there already, stays, or can't go."""
        tree = Tree()
        folders = source.folders(rules, tree)
        if self.single:
            folders = [("", [source.one(self.single)])]
        merge = Merge(rules, tree, target, exists=exists, alike=alike)
        plan = merge.run(folders)
        merge.compare_content(source)
        report = self.report
        report.unchanged = len(plan.unchanged)
        report.left_out += tree.left_out
        report.failed += [(path, f"could not be read: {why}") for path, why in tree.failed]
        report.failed += plan.blocked
        return plan

    def by_host(self, mover: HostMover) -> None:
        """Let the host transfer the files of the report."""
        raise NotImplementedError

    def through_here(self, relay: Relay) -> None:
        """Transfer the files of the report through this machine."""
        raise NotImplementedError

    def sign(self, item: Stored) -> Signed:
        """Sign the URL that the host gets for one file."""
        raise NotImplementedError

    def job(self, item: Stored, what: dict[str, Any]) -> Job:
        """The host's job for a whole file."""
        return Job(
            what, lambda: self.sign(item), lambda _: self.done(item), lambda why: self.failed(item, why)
        )

    def on_host(self, item: Stored) -> str:
        """The path of a file on the host."""
        return f"{self.there}/{item.path}"

    def moved(self, count: int) -> None:
        """Count transferred bytes."""
        self._done += count
        self.progress.advance(self._done, self.report.total_bytes, "B")

    def done(self, item: Stored) -> None:
        """Count a transferred file."""
        self.report.sent_files += 1
        self.report.sent_bytes += item.size

    def failed(self, item: Stored, why: str) -> None:
        """Record a file that failed."""
        self.report.failed.append((item.path, why))

    def goes(self, items: list[Stored]) -> None:
        """Record the files to transfer."""
        self.report.items = items
        self.report.total_bytes = sum(item.size for item in items)

    def carry_out(self) -> None:
        """Transfer the files, by the host if possible."""
        count = len(self.report.items)
        why_not = "asked for" if self.via == "here" else self._unsigned()
        mover = None
        if not why_not:
            try:
                mover = HostMover(self.conn, self.moved)
                why_not = self._unreached(mover)
            except CannotRun as err:
                why_not = err.message
        if self.via == "host" and (why_not or mover is None):
            msg = f"the host can't do it by itself: {why_not}"
            raise SyncError(msg, hint="leave --via out: the bytes then go through here")
        self.progress.say(f"moving {count} file{'' if count == 1 else 's'}")
        if mover is not None and not why_not:
            self.report.way, self.report.why = "host", "its own line, with URLs signed for each file"
            with mover:
                self.by_host(mover)
            return
        if mover is not None:
            mover.__exit__()
        self.report.way, self.report.why = "here", why_not
        with HostFiles(self.conn) as hosts:
            self.through_here(Relay(hosts, self.store, self.moved))

    def _unsigned(self) -> str:
        """The reason why the host can't get signed URLs, or ""."""
        if not (self.store.signs_reading if self.up else self.store.signs_writing):
            return "this store's driver signs no URLs for that"
        try:
            signed = self.sign(self.report.items[0])
        except Exception as err:  # noqa: BLE001 - any reason not to sign is one to go through here
            return f"no URL could be signed: {str(err).partition(chr(10))[0][:200] or type(err).__name__}"
        if signed.secret and not self.allow:
            return (
                "it needs a header with credentials, which the host is not shown without --allow-credentials"
            )
        if self.via == "auto" and is_near(signed.url):
            return "the store's address means something in this network only"
        if signed.secret:
            names = ", ".join(signed.secret)
            self.report.warnings.append(f"the host is shown your {names} header, and could keep it")
        return ""

    def _unreached(self, mover: HostMover) -> str:
        try:
            mover.ask(op="reach", url=self.sign(self.report.items[0]).url)
        except CannotRun as err:
            mover.__exit__()
            return err.message
        return ""


class Parts:
    """One large file sent as a multipart upload."""

    def __init__(
        self, work: Work, item: Stored, parts: Multipart, put: Callable[[int, int], dict[str, Any]]
    ) -> None:
        self._work, self._item, self._parts, self._put = work, item, parts, put
        self._tags: dict[int, str] = {}
        self._problem = ""

    def jobs(self) -> Iterator[Job]:
        """Yield a job for the host for each part, until one has failed."""
        for number, (start, end) in enumerate(self._parts.ranges):
            if self._problem:
                return
            sign = functools.partial(self._parts.sign, number)
            yield Job(self._put(start, end), sign, functools.partial(self._took, number), self._fail)

    def _took(self, number: int, answer: Mapping[str, Any]) -> None:
        self._tags[number] = str(answer.get("tag") or "")

    def _fail(self, why: str) -> None:
        self._problem = self._problem or why

    def settle(self) -> None:
        """Complete the multipart upload, or abort it and record the reason."""
        count = len(self._parts.ranges)
        try:
            if not self._problem and len(self._tags) == count:
                self._parts.finish([self._tags[number] for number in range(count)])
                self._work.done(self._item)
                return
        except Exception as err:  # noqa: BLE001 - drivers raise what their libraries do
            self._problem = str(err).partition("\n")[0][:300]
        try:
            self._parts.abandon()
        except Exception as err:  # noqa: BLE001
            more = f"{type(err).__name__}: its parts may still lie in the store, and be billed there"
            self._work.report.warnings.append(f"{self._item.path}: {more}")
        self._work.failed(self._item, self._problem or "the line broke before all parts were there")


def md5(item: Stored) -> str:
    """The object's MD5, if its ETag is one; for gpunb's multipart uploads, that of its parts' MD5s."""
    found = _MD5.fullmatch(item.tag)
    if found is None:
        return ""
    whole = -(-item.size // part_size(item.size))
    if found.group(2) and int(found.group(2)) not in (whole, whole - 1):  # s3fs joins a short last one
        return ""  # in parts of a size that we can't know
    return found.group(1) + (f"-{found.group(2)}" if found.group(2) else "")


def same_content(
    conn: Connection, folder: str, tags: Mapping[str, str], sizes: Mapping[str, int]
) -> set[str]:
    """The files on the host that have the object store's MD5; `CannotRun` if the host has no Python."""
    same: set[str] = set()
    if not tags:
        return same

    def look(path: str) -> Callable[[Mapping[str, Any]], None]:
        return lambda answer: same.add(path) if answer.get("md5") == tags[path] else None

    with HostMover(conn, lambda _: None) as mover:
        mover.run(
            Job(
                {
                    "op": "hash",
                    "path": f"{folder}/{path}",
                    "part": part_size(sizes[path]) if "-" in tag else 0,
                    "parts": int(tag.partition("-")[2] or 0),
                },
                None,
                look(path),
                lambda _: None,
            )
            for path, tag in tags.items()
        )
    return same

"""A sync without an agent: the content of files goes by the system's rsync, or by SFTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, SyncError
from gpunb.sync import rsync
from gpunb.sync.base_flow import Flow, one_host
from gpunb.sync.planning.plan import Tree
from gpunb.sync.planning.rules import Rules
from gpunb.sync.planning.side import item_of
from gpunb.sync.sftp.digests import sha256
from gpunb.sync.sftp.engine import Download, Upload
from gpunb.sync.sftp.host_tree import Remote
from gpunb.sync.sftp.queues import TransferJob
from gpunb.sync.sftp.side import SftpSide

if TYPE_CHECKING:
    from gpunb.ssh.connection import Connection
    from gpunb.sync.base_flow import SyncOptions
    from gpunb.sync.planning.plan import Item
    from gpunb.sync.report import SyncReport

__all__ = ["SftpFlow", "by_sftp"]

_RSYNC_FROM = 2**20  # bytes; below, starting a second ssh costs more than it saves


def by_sftp(
    conn: Connection, ends: tuple[str, str, str], wish: SyncOptions, *, guard: bool, engine: str
) -> SyncReport:
    """Sync with the host of `conn`; `ends` are source, target, direction, the rest as `gpunb.sync.sync`."""
    with Remote(conn) as remote:
        flow = one_host(SftpFlow, SftpSide(remote), conn.endpoint, ends, wish, guard=guard, digest=sha256)
        flow.remote, flow.up, flow.engine = remote, ends[2] == "up", engine
        try:
            flow.run()
        finally:
            flow.close()
    return flow.report


class SftpFlow(Flow[Any]):
    """One sync over SFTP.

    Attributes
    ----------
    engine
        "rsync", "sftp", or any other word where gpunb chooses.
    """

    resumes = False
    remote: Remote
    up: bool
    engine: str

    def choose(self) -> None:
        """Say that it goes by SFTP; whether rsync can is found out when files move."""
        self.report.engine = "sftp"

    def move(self) -> None:
        """Move the content of the plan's files by rsync where that fits, else by SFTP."""
        if self._rsync_fits():
            try:
                self._by_rsync()
            except rsync.Unusable as err:
                if self.engine == "rsync":
                    msg = f"rsync does not work with this host: {err}"
                    raise SyncError(msg, hint="leave the engine to gpunb") from err
            else:
                self.report.engine = "rsync"
                return
        there = self.target.root if self.up else self.source.root
        job = TransferJob(
            self.remote, there, self.report.plan, self.report, self.wish.progress, self.wish.pace
        )
        mover: Upload | Download
        if self.up:
            mover = Upload(job, self.source.root, self.source.alias)
        else:
            mover = Download(job, self.target.safe, self.source.alias)
        mover.run()
        self.unkept.update(mover.unkept)

    def _rsync_fits(self) -> bool:
        forced = self.engine == "rsync"
        if self.engine == "sftp" or self.single:
            return False
        if not forced and not (self.up and self.report.plan.total_bytes > _RSYNC_FROM):
            return False
        if rsync.both_have(self.remote.connection, "up" if self.up else "down"):
            return True
        if forced:
            msg = "engine 'rsync': both ends must have rsync, here 3.1 or newer and 3.4 for the way down"
            raise BadInput(msg, hint="leave the engine to gpunb")
        return False

    def _by_rsync(self) -> None:
        report = self.report
        files = [item for item in report.plan.items if item.kind == "file"]
        if not files:
            return
        here, there = (self.source, self.target) if self.up else (self.target, self.source)
        sent, size, whole, words = rsync.transfer(
            self.remote.connection.reached,
            str(here.root),
            there.root,
            files,
            direction="up" if self.up else "down",
            total=report.plan.total_bytes,
            rate=self.wish.pace.rate,
            follow=self.wish.follow,
            progress=self.wish.progress,
        )
        report.sent_files, report.sent_bytes = sent, size
        if whole:
            return
        self.unkept.update(rsync.unkept(words))
        # a file of the right size was sent, if its time could not be set
        report.failed += rsync.reasons(words, self._missing(files, times=not self.unkept))

    def _missing(self, files: list[Item], *, times: bool) -> list[Item]:
        """The `files` that the target does not hold now."""
        everything = Rules(None, everything=True)
        now = {
            item.path: item
            for folder, entries in self.target.folders(everything, Tree())
            for item in (item_of(folder, entry) for entry in entries)
            if item.kind == "file"
        }
        return [
            item
            for item in files
            if (one := now.get(item.path)) is None
            or one.size < item.size
            or (times and one.mtime != item.mtime)
        ]

"""Fetch files of a machine that is off, from the rsync daemon of the computer it runs on.

What comes goes into a folder of its own first: that side is a stranger's too. From there it takes its place
by the same plan as in every sync: what could run here is held back, and no link leads out of the target.
"""

from __future__ import annotations

import os
import posixpath
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.errors import SyncError
from gpunb.progress import SILENT
from gpunb.sync import rsync
from gpunb.sync.local.safe_root import LocalRoot
from gpunb.sync.local.scan import scan
from gpunb.sync.planning import locations
from gpunb.sync.planning.notes import speak_up
from gpunb.sync.planning.plan import Item, Tree, diff
from gpunb.sync.planning.rules import PART, Rules
from gpunb.sync.report import SyncReport
from gpunb.sync.transfer import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpunb.progress import Progress
    from gpunb.ssh.endpoint import Endpoint

__all__ = ["fetch"]


def fetch(
    endpoint: Endpoint, module: str, ends: locations.Endpoints, *, guard: bool, progress: Progress = SILENT
) -> SyncReport:
    """Make ``ends.here`` hold what ``ends.there`` holds; nothing is deleted.

    Parameters
    ----------
    module
        The machine's name at its computer's rsync daemon.
    guard
        The host is a stranger: what could run on this side is held back and named.

    Raises
    ------
    SyncError, Unreachable
        Not all came; what has come is in place, each file old or new.
    """
    began = time.monotonic()
    source = f"{module}/{ends.source}" if ends.single else f"{module}/{ends.there.rstrip('/')}/"
    with locations.lock(endpoint, ends, "down"):
        try:
            ends.here.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            msg = f"the folder {ends.here} can't be made: {err.strerror}"
            raise SyncError(msg) from err
        with tempfile.TemporaryDirectory(prefix=PART, dir=ends.here) as staging:
            progress.say("fetching")
            try:
                _, _, whole, said = rsync.from_daemon(
                    endpoint, source, staging, have=str(ends.here), progress=progress
                )
            except rsync.Unusable as err:
                msg = f"the machine's rsync does not give its files: {err}"
                raise SyncError(msg) from err
            report = _in_place(Path(staging), ends, guard=guard)
    if not whole:
        report.failed.append((ends.source or ends.there, said.splitlines()[0]))
    report.engine, report.why = "rsync", "the machine is off; its computer's own rsync gives its files"
    report.seconds = time.monotonic() - began
    return report


def _in_place(staging: Path, ends: locations.Endpoints, *, guard: bool) -> SyncReport:
    """Move the fetched files into place, each atomically and without following links of the target."""
    rules = Rules(None, guard=guard)
    if ends.single:
        name = posixpath.basename(ends.source)
        source, target = (
            Tree(items=_item(at, ends.single)) for at in (staging / name, ends.here / ends.single)
        )
    else:
        name, source, target = "", scan(staging, rules), scan(ends.here, rules, target=True)
    masked(source, target)
    plan = diff(source, target)
    speak_up(plan, rules, single=ends.single)
    report = SyncReport(plan, failed=[*source.failed, *plan.blocked])
    with LocalRoot(ends.here) as root:

        def place(item: Item) -> None:
            if item.kind == "link":
                root.link(item)
                return
            above, _, last = item.path.rpartition("/")
            with root.folder(above) as fd:
                os.replace(staging / (name or item.path), last, dst_dir_fd=fd)

        steps: list[tuple[Callable[[Item], object], Iterable[Item]]] = [
            (root.make_folder, plan.folders),
            (place, plan.items),
            (root.set_mode, plan.modes),
            (root.set_mode, reversed(plan.folders)),
        ]
        for work, items in steps:
            for item in items:
                try:
                    work(item)
                except OSError as err:  # noqa: PERF203 - each by itself
                    report.failed.append((item.path, err.strerror or str(err)))
                else:
                    if work is place:
                        report.sent_files += 1
                        report.sent_bytes += item.size
    return report


def _item(path: Path, name: str) -> list[Item]:
    """Return an item for the one file at `path`, called `name`, if it exists."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return []
    kind = "dir" if stat.S_ISDIR(found.st_mode) else "link" if stat.S_ISLNK(found.st_mode) else "file"
    return [Item(name, kind, found.st_size, int(found.st_mtime), found.st_mode & 0o777)]

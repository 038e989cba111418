"""Fetch files of a machine that is off, from the rsync daemon of the computer it runs on.

What comes goes into a folder of its own first: that side is a stranger's too. From there it takes its place
by the same plan as in every sync: what could run here is held back, and no link leads out of the target.
"""

from __future__ import annotations

import os
import posixpath
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.errors import SyncError
from gpunb.progress import SILENT
from gpunb.sync import rsync
from gpunb.sync.local.safe_root import LocalRoot, umask
from gpunb.sync.local.tree import LocalSide
from gpunb.sync.planning import locations
from gpunb.sync.planning.notes import speak_up
from gpunb.sync.planning.plan import Item, Tree
from gpunb.sync.planning.planner import Merge
from gpunb.sync.planning.rules import PART, Rules
from gpunb.sync.report import SyncReport

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
                _, _, whole, words = rsync.from_daemon(
                    endpoint, source, staging, have=str(ends.here), progress=progress
                )
            except rsync.Unusable as err:
                msg = f"the machine's rsync does not give its files: {err}"
                raise SyncError(msg) from err
            report = _in_place(Path(staging), ends, guard=guard)
    if not whole:
        report.failed.append((ends.source or ends.there, words.splitlines()[0]))
    report.engine, report.why = "rsync", "the machine is off; its computer's own rsync gives its files"
    report.seconds = time.monotonic() - began
    return report


def _in_place(staging: Path, ends: locations.Endpoints, *, guard: bool) -> SyncReport:
    """Move the fetched files into place, each atomically and without following links of the target."""
    rules, tree, mask = Rules(None, guard=guard), Tree(), umask()
    name = posixpath.basename(ends.source) if ends.single else ""
    alias = {ends.single: str(staging / name)} if name else {}
    source, target = LocalSide(staging, alias, mask), LocalSide(ends.here, {}, mask)
    merge = Merge(rules, tree, target, exists=True, folds=target.folds, resumes=False)
    if ends.single:
        entry = source.item(str(staging / name), follow=False)
        plan = merge.run([("", [entry._replace(name=ends.single)] if entry is not None else [])])
    else:
        plan = merge.run(source.folders(rules, tree))
    merge.compare_content(source)
    speak_up(plan, rules, single=ends.single)
    report = SyncReport(plan, failed=[*tree.failed, *plan.blocked])
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

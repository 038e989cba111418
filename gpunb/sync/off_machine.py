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
from gpunb.sync.local.flush import flush
from gpunb.sync.local.free_names import FreeNames
from gpunb.sync.local.safe_root import LocalRoot, umask
from gpunb.sync.local.tree import LocalSide
from gpunb.sync.planning import locations
from gpunb.sync.planning.notes import speak_up
from gpunb.sync.planning.plan import Item, Tree
from gpunb.sync.planning.planner import Merge
from gpunb.sync.planning.rules import PART, Rules
from gpunb.sync.planning.side import item_of
from gpunb.sync.report import SyncReport

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Mapping

    from gpunb.progress import Progress
    from gpunb.ssh.endpoint import Endpoint
    from gpunb.sync.bring import Brought
    from gpunb.sync.planning.plan import Plan

__all__ = ["bring", "fetch"]


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


def bring(
    endpoint: Endpoint,
    module: str,
    there: str,
    listed: Mapping[str, int | None],
    target: Path,
    *,
    word: str,
    guard: bool,
    progress: Progress = SILENT,
    started: Callable[[subprocess.Popen[bytes]], object] = lambda _: None,
) -> Brought:
    """Bring the machine's `there` to `target` as `gpunb.sync.bring.bring` does: no file here is overwritten.

    What was listed and did not come is in `Brought.failed`, also a link that leads out: none is followed.

    Parameters
    ----------
    there
        An absolute path of the machine.
    listed
        What the machine has there: absolute path to bytes, None for a folder.
    word
        Put into names that are taken already: the session's name.
    started
        Called with the running rsync.

    Raises
    ------
    SyncError, Unreachable
        Nothing came.
    """
    from gpunb.sync.bring import Brought, made_folder

    single = listed.get(there) is not None
    here = (target.parent if single else target).absolute()
    above, name = posixpath.split(there)
    out = Brought(to=[str(target)])
    with locations.lock(endpoint, locations.Endpoints(here, above if single else there), "down"):
        made = made_folder(here)
        here = here.resolve()
        with tempfile.TemporaryDirectory(prefix=PART, dir=here) as staging:
            progress.say(f"fetching {there}")
            source = f"{module}/{there}" if single else f"{module}/{there.rstrip('/')}/"
            try:
                _, out.moved, whole, words = rsync.from_daemon(
                    endpoint, source, staging, have=None, progress=progress, started=started
                )
            except rsync.Unusable as err:
                msg = f"the machine's rsync does not give its files: {err}"
                raise SyncError(msg) from err
            base = above if single else there
            out.failed += _lacking(Path(staging), base, listed)
            _take(out, Path(staging), here, FreeNames(word, guard=guard, typed=target.name if single else ""))
            if not whole:
                out.failed.append((name, words.splitlines()[0]))
        flush(made)
    return out


def _lacking(staging: Path, base: str, listed: Mapping[str, int | None]) -> list[tuple[str, str]]:
    """(path, reason) of each file that was listed below `base` and is not here as it was listed."""
    lacking = []
    for path, size in listed.items():
        if size is None:
            continue
        name = posixpath.relpath(path, base)
        try:
            came = (staging / name).lstat().st_size
        except OSError:
            lacking.append((name, "it is a link that leads out, or no file: a start brings what it leads to"))
            continue
        if came != size:
            lacking.append((name, f"it has {size} bytes there, and {came} came"))
    return lacking


def _take(out: Brought, staging: Path, here: Path, names: FreeNames) -> None:
    """Move the fetched files to free names; what is here already in the same content stays as it is."""
    tree, mask = Tree(), umask()
    source, target = LocalSide(staging, {}, mask), LocalSide(here, {}, mask)
    for folder, entries in source.folders(Rules(None, everything=True), tree):
        tree.items += [item_of(folder, entry) for entry in entries]
    plan = names.plan(tree, source, target)
    placed, failed = put(plan, here, lambda path: Path(source.alias.get(path, f"{staging}/{path}")))
    came = [*placed, *plan.unchanged]
    out.files, out.bytes = len(came), sum(item.size for item in came)
    left = [(one.path, one.rule) for one in tree.left_out]
    out.failed += [*tree.failed, *left, *names.lost, *failed]
    out.beside += names.beside
    out.held += names.held
    folders = [here, *(here / path for path in names.folders.values() if path)]
    flush([*(here / item.path for item in came if item.kind == "file"), *folders])


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
    placed, failed = put(plan, ends.here, lambda path: staging / (name or path))
    report.failed += failed
    report.sent_files, report.sent_bytes = len(placed), sum(item.size for item in placed)
    return report


def put(plan: Plan, here: Path, staged: Callable[[str], Path]) -> tuple[list[Item], list[tuple[str, str]]]:
    """Carry out a plan with files that are on this disk: each takes its place atomically.

    Parameters
    ----------
    staged
        The file that takes a path below `here`.

    Returns
    -------
    tuple
        The files and links that are in place, and (path, reason) of what failed.
    """
    placed: list[Item] = []
    failed: list[tuple[str, str]] = []
    with LocalRoot(here) as root:

        def place(item: Item) -> None:
            if item.kind == "link":
                root.link(item)
                return
            above, _, last = item.path.rpartition("/")
            with root.folder(above) as fd:
                os.replace(staged(item.path), last, dst_dir_fd=fd)

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
                    failed.append((item.path, err.strerror or str(err)))
                else:
                    if work is place:
                        placed.append(item)
    return placed, failed

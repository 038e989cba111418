"""Choose a local name for each fetched file: its own, unless that is taken or would run."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from typing import TYPE_CHECKING

from gpunb.agent.shared import file_frames as wire
from gpunb.errors import SyncError
from gpunb.sync.local import autorun
from gpunb.sync.planning.plan import Plan, Tree
from gpunb.sync.planning.planner import Merge
from gpunb.sync.planning.rules import Rules
from gpunb.sync.planning.side import KINDS, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.sync.local.tree import LocalSide
    from gpunb.sync.planning.plan import Item
    from gpunb.sync.planning.side import Side

__all__ = ["FreeNames"]

_KINDS = {word: kind for kind, word in KINDS.items()}


class FreeNames:
    """The free names below a local folder, for all trees that come into it.

    Parameters
    ----------
    word
        Put into the name of what is renamed.
    guard
        What would run here gets a name that nothing runs.
    typed
        For a single file: its name, which the user typed.

    Attributes
    ----------
    folders
        The path here of each of the host's folders.
    beside, held
        (path, name) of what took another name, for its own is taken, or would run.
    lost
        (path, reason) of what has no place.
    """

    def __init__(self, word: str, *, guard: bool, typed: str = "") -> None:
        self._word, self._guard, self._typed = word, guard, typed
        self.folders = {"": ""}
        self._taken: set[str] = set()
        self.beside: list[tuple[str, str]] = []
        self.held: list[tuple[str, str]] = []
        self.lost: list[tuple[str, str]] = []

    def plan(self, tree: Tree, source: Side, here: LocalSide) -> Plan:
        """Plan a tree; in the plan each item has its local path, and `source` knows it by that."""
        plan, folds = Plan(), here.folds
        waiting: list[tuple[Item, str, Iterator[str]]] = []
        for item in sorted(tree.items, key=lambda one: one.path):
            above, _, name = item.path.rpartition("/")
            wanted = self._typed or name
            if self._guard and not self._typed and autorun.why(wanted):
                wanted = f"{wanted}.held"
                self.held.append((item.path, wanted))
            item.mode &= ~here.mask
            folder = self.folders.get(above)
            if folder is None:
                self.lost.append((item.path, "its folder could not be listed"))
                continue
            names = self._free(folder, wanted, is_folder=item.kind == "dir", folds=folds)
            if item.kind != "dir":
                waiting.append((item, wanted, names))
                continue
            path = next(path for path in names if _is_for_folder(here, path))
            self._named(item, wanted, path)
            self.folders[item.path] = path
            item.path = path
            if not (here.root / path).is_dir():
                plan.folders.append(item)
        while waiting:
            waiting = self._compare(plan, waiting, source, here)
        return plan

    def _compare(
        self, plan: Plan, waiting: list[tuple[Item, str, Iterator[str]]], source: Side, here: LocalSide
    ) -> list[tuple[Item, str, Iterator[str]]]:
        """Compare items under their next names with what is here; returns those that need another name."""
        tried, folders = {}, defaultdict[str, list[Entry]](list)
        for item, wanted, names in waiting:
            path = next(names)
            tried[path] = item, wanted, names
            if path != item.path:
                source.alias[path] = f"{source.root}/{item.path}"
            above, _, name = path.rpartition("/")
            kind, mtime = _KINDS[item.kind], item.mtime_ns
            folders[above].append(
                Entry(name, kind, item.mode, item.size, mtime, item.goal, item.room, item.inode)
            )
        merge = _Keeping(
            Rules(None, everything=True), Tree(), here,
            exists=True, folds=here.folds, resumes=False, alike=_alike,
        )  # fmt: skip
        merge.run(folders.items())
        merge.compare_content(source)
        for into, items in ((plan.items, merge.plan.items), (plan.unchanged, merge.plan.unchanged)):
            for found in items:
                into.append(found)
                self._named(*tried.pop(found.path)[:2], found.path)
        plan.total_bytes += merge.plan.total_bytes
        plan.room_bytes += merge.plan.room_bytes
        return list(tried.values())

    def _named(self, item: Item, wanted: str, path: str) -> None:
        name = path.rpartition("/")[2]
        if name != wanted:
            self.beside.append((item.path, name))

    def _free(self, folder: str, wanted: str, *, is_folder: bool, folds: bool) -> Iterator[str]:
        """Yield the paths that an item may have, each for it alone."""
        for name in self._candidates(wanted, folder=is_folder):
            path = f"{folder}/{name}" if folder else name
            key = "/".join(map(autorun.canonical, path.split("/"))) if folds else path
            if key not in self._taken:
                self._taken.add(key)
                yield path
        msg = f"{wanted}: no free name was found for it in {folder or 'its folder'}"
        raise SyncError(msg)

    def _candidates(self, name: str, *, folder: bool) -> Iterator[str]:
        yield name
        stem, dot, end = ("", "", "") if folder else name.rpartition(".")
        if not stem:
            stem, dot, end = name, "", ""
        # a name may have 255 bytes
        room = 250 - len(os.fsencode(f".{self._word}-1000{dot}{end}"))
        stem = os.fsdecode(os.fsencode(stem)[: max(1, room)])
        yield f"{stem}.{self._word}{dot}{end}"
        yield from (f"{stem}.{self._word}-{number}{dot}{end}" for number in range(2, 1000))


class _Keeping(Merge):
    """The comparison of every sync, but what the target has stays: what differs is not planned."""

    def _replace(self, item: Item) -> None:
        """Leave it to the next name."""

    def _block(self, item: Item, why: str) -> None:
        """Leave it to the next name."""


def _alike(new: Entry, old: Entry) -> bool | None:
    """Whether the files are equal; digests decide, but where size and time to the nanosecond do."""
    if new.size != old.size:
        return False
    return True if new.mtime == old.mtime and new.mtime % wire.NS else None


def _is_for_folder(here: LocalSide, path: str) -> bool:
    """Whether there is a folder at `path`, or nothing."""
    try:
        return stat.S_ISDIR((here.root / path).lstat().st_mode)
    except OSError:
        return True

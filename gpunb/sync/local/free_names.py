"""Choose a local name for each fetched file: its own, unless that is taken or would run."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from gpunb.errors import SyncError
from gpunb.sync.local import autorun
from gpunb.sync.local.safe_root import umask
from gpunb.sync.planning import locations
from gpunb.sync.planning.plan import Item, Plan, Tree
from gpunb.sync.sftp.digests import digest_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["FreeNames"]


class FreeNames:
    """The free names below the folder `here`; a renamed file gets `word` in its name.

    `ask` gives the digests of files on the host, see `gpunb.sync.sftp.digests`.

    Attributes
    ----------
    beside, held
        (path, name) of what took another name, for its own is taken, or would run (with `guard`).
    lost
        (path, reason) of what has no place.
    """

    def __init__(
        self,
        here: Path,
        word: str,
        ask: Callable[[Sequence[Item]], dict[str, str]],
        *,
        guard: bool,
    ) -> None:
        self._here, self._word, self._guard, self._ask = here, word, guard, ask
        self._digests: dict[str, str] = {}
        self._mask = umask()
        self._folds = locations.folds_here(here)
        self._folders = {"": ""}
        self._taken: set[str] = set()
        self.beside: list[tuple[str, str]] = []
        self.held: list[tuple[str, str]] = []
        self.lost: list[tuple[str, str]] = []

    def plan(self, tree: Tree) -> Plan:
        """Plan a tree; each item gets its local name."""
        plan = Plan()
        doubtful = [item for item in tree.items if item.kind == "file" and self._alike(item.here, item)]
        self._digests.update(self._ask(doubtful) if doubtful else {})
        for item in sorted(tree.items, key=lambda one: one.path):
            above, _, name = item.path.rpartition("/")
            wanted = item.to or name
            if self._guard and not item.to and autorun.why(wanted):
                wanted = f"{wanted}.held"
                self.held.append((item.path, wanted))
            folder = self._folders.get(above)
            if folder is None:
                self.lost.append((item.path, "its folder could not be listed"))
                continue
            item.mode &= ~self._mask
            chosen, same = self._free(folder, wanted, item)
            item.to = f"{folder}/{chosen}" if folder else chosen
            self._taken.add(self._key(item.to))
            if chosen != wanted:
                self.beside.append((item.path, chosen))
            if item.kind == "dir":
                self._folders[item.path] = item.to
                if not same:
                    plan.folders.append(item)
            elif same:
                plan.unchanged.append(item)
            else:
                plan.items.append(item)
                plan.total_bytes += item.size
                plan.room_bytes += item.room
        return plan

    def _free(self, folder: str, wanted: str, item: Item) -> tuple[str, bool]:
        """Return the first free or identical name, and whether it is identical."""
        for name in self._candidates(wanted, folder=item.kind == "dir"):
            path = f"{folder}/{name}" if folder else name
            if self._key(path) in self._taken:
                continue
            same = self._same(path, item)
            if same is not None:
                return name, same
        msg = f"{wanted}: no free name was found for it in {self._here / folder}"
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

    def _same(self, path: str, item: Item) -> bool | None:
        """True if an identical entry exists, False if none exists, None if a different one does."""
        full = self._here / path
        try:
            found = full.lstat()
        except OSError:
            return False
        mode = found.st_mode
        if item.kind == "dir":
            return True if stat.S_ISDIR(mode) else None
        if item.kind == "link":
            return True if stat.S_ISLNK(mode) and os.fspath(full.readlink()) == item.goal else None
        if not self._alike(path, item):
            return None
        if item.path not in self._digests:
            self._digests.update(self._ask([item]))
        try:
            return digest_here(full, item.size) == self._digests.get(item.path) or None
        except OSError:
            return None

    def _alike(self, path: str, item: Item) -> bool:
        """Whether a local file has this size and this mtime in seconds."""
        try:
            found = (self._here / path).lstat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and (found.st_size, int(found.st_mtime)) == (item.size, item.mtime)

    def _key(self, path: str) -> str:
        return "/".join(map(autorun.canonical, path.split("/"))) if self._folds else path

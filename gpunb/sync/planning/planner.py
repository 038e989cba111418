"""The plan of every sync: source and target compared folder by folder, while both are read.

Memory holds some folders' listings and the plan's own lists, which spill to a
file: a million files fit. The target's folders are asked for ahead, so that a
round trip is not paid for each.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gpunb.agent.shared import file_frames as wire
from gpunb.sync.local import autorun
from gpunb.sync.local.safe_root import part_name
from gpunb.sync.planning.plan import LeftOut, Plan, Tree
from gpunb.sync.planning.rules import PART
from gpunb.sync.planning.side import KINDS, item_of, name_problem
from gpunb.sync.planning.spilled_list import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpunb.sync.planning.plan import Item
    from gpunb.sync.planning.rules import Rules
    from gpunb.sync.planning.side import Entry, Side

__all__ = ["Merge"]

AHEAD = 200  # folders requested and not yet compared
AHEAD_ENTRIES = 20_000
# seconds: of 32 bits, of 34 (ext4), of xfs's bigtime; 1901, 1970 and FAT's 1980
_LAST = {2**31 - 1, 2**32 - 1, 2**34 - 2**31 - 1, 16299260424}
_FIRST = {-(2**31), 0, 315532800}
HASHED = 200  # files whose digests are requested at once
WORDS = {wire.FOLDER: "a folder", wire.FILE: "a file", wire.LINK: "a link", wire.SPECIAL: "a special file"}


class Merge:
    """One comparison; `run` returns the plan.

    Parameters
    ----------
    exists
        Whether the target folder is there; if not, it is not asked.
    delete
        "" deletes nothing; "delete" what only the target has, except what a
        rule hides on either side; "mirror" also what an ignore file or an
        exclude pattern hides.
    folds
        The target takes names that differ in case for one name.
    checksum
        Files of one size are compared by their digests, not by their times.
    coarse
        One side tells times in whole seconds of SFTP's range: they are compared as such.
    resumes
        The engine goes on with the partial files of an earlier try; all others are leftovers.
    alike
        Whether a file of the source is the same as the target's; None if their digests decide.
    """

    def __init__(
        self,
        rules: Rules,
        source_tree: Tree,
        target: Side,
        *,
        exists: bool,
        delete: str = "",
        folds: bool = False,
        checksum: bool = False,
        coarse: bool = False,
        resumes: bool = True,
        alike: Callable[[Entry, Entry], bool | None] | None = None,
    ) -> None:
        self.rules, self.source_tree, self.target = rules, source_tree, target
        self.exists, self.delete, self.folds, self.checksum = exists, delete, folds, checksum
        self._resumes = resumes
        self._same_time = _same_second if coarse else _same_time
        self._alike = alike or self._as_listed
        self._by_listing = alike is None and not checksum
        self.target_tree = Tree()
        self.plan = Plan(left_out=source_tree.left_out, notes=source_tree.notes)
        self.suspects = Spool()
        self.leftovers: set[str] = set()
        self._shut: set[str] = set()
        self._gone: dict[str, tuple[str, int]] = {}
        self._below: deque[str] = deque()
        self._contested: list[tuple[Item, Entry]] = []

    def run(self, source: Iterable[tuple[str, list[Entry]]]) -> Plan:
        """Compare everything; `source` yields each folder with its entries that go, parents first."""
        ahead: deque[tuple[str, list[Entry]]] = deque()
        held = 0
        for path, entries in source:
            if self.exists:
                self.target.ask(path)
            ahead.append((path, entries))
            held += len(entries)
            while len(ahead) > AHEAD or (held > AHEAD_ENTRIES and len(ahead) > 1):
                held -= len(ahead[0][1])
                self._folder(*ahead.popleft())
        while ahead:
            self._folder(*ahead.popleft())
        if self.delete:
            self._deletions()
        self._contests()
        self.plan.blocked.sort()
        return self.plan

    def compare_content(self, source: Side) -> None:
        """Compare files of equal size by their digests."""
        batch: list[Item] = []
        for item in self.suspects:
            batch.append(item)
            if len(batch) == HASHED:
                self._compare_batch(source, batch)
                batch = []
        if batch:
            self._compare_batch(source, batch)

    def _compare_batch(self, source: Side, batch: list[Item]) -> None:
        paths = [item.path for item in batch]
        # the remote side is asked first, so that both work at the same time
        first, second = (source, self.target) if self.target.local else (self.target, source)
        first.hashes_begin(paths)
        second.hashes_begin(paths)
        one, two = first.hashes(paths), second.hashes(paths)
        for item, mine, other in zip(batch, one, two, strict=True):
            if mine is None or mine != other:
                self._replace(item)
            else:
                self.plan.unchanged.append(item)
                self.plan.modes.append(item)

    # -- one folder

    def _folder(self, path: str, entries: list[Entry]) -> None:
        there: dict[str, Entry] = {}
        if self.exists:
            _, found, why = self.target.take()
            if why:
                self.target_tree.failed.append((path, why))
            there = {entry.name: entry for entry in found}
        parts = self._sort_out_parts(path, there)
        if path in self._shut:
            for entry in entries:
                self._block(item_of(path, entry), "its folder can't be made")
            return
        taken: dict[str, str] = {}
        alike = {autorun.canonical(name): name for name in there} if self.folds else {}
        for entry in entries:
            old = there.pop(entry.name, None) or (
                there.pop(alike.get(autorun.canonical(entry.name), ""), None) if alike else None
            )
            item = item_of(path, entry)
            if self.folds and self._is_taken(taken, item, entry.name):
                continue
            if old is None:
                self._new(item, parts)
            elif self._by_listing and entry[1:6] == old[1:6] and entry.kind != wire.FOLDER:
                self.plan.met += 1  # kind, mode, size, time and goal: nearly every entry of a second sync
                self.plan.unchanged.append(item)
            elif wire.FOLDER in (old.kind, entry.kind):
                self._folder_there(item, entry, old)
            elif old.kind != entry.kind:
                self.plan.met += 1
                self._replace(item)
            else:
                self._same_kind(item, entry, old, parts)
        for entry in there.values() if self.delete else ():
            self._only_there(path, entry)

    def _is_taken(self, taken: dict[str, str], item: Item, name: str) -> bool:
        first = taken.setdefault(autorun.canonical(name), name)
        if first != name:
            self._block(item, f"its name and {first!r} are the same in the target")
        return first != name

    def _folder_there(self, item: Item, entry: Entry, old: Entry) -> None:
        if old.kind != entry.kind:
            self._other_kind(item, old)
            return
        if old.mode & 0o700 != 0o700:
            self.plan.closed.append(item)
        if old.mode != entry.mode:
            self.plan.modes.append(item)

    def _same_kind(self, item: Item, entry: Entry, old: Entry, parts: dict[str, int]) -> None:
        self.plan.met += 1
        if entry.kind == wire.LINK:
            if old.goal == entry.goal:
                self.plan.unchanged.append(item)
            else:
                self._replace(item)
            return
        same = self._alike(entry, old)
        if same:
            if old.mode != entry.mode:
                item.mtime, item.nanos = divmod(old.mtime, wire.NS)  # the time stays as it is
                self.plan.modes.append(item)
            self.plan.unchanged.append(item)
        else:
            self._changed(item, old, parts, by_content=same is None)

    def _as_listed(self, new: Entry, old: Entry) -> bool | None:
        if old.size != new.size:
            return False
        if self.checksum:
            return None
        return self._same_time(new.mtime, old.mtime) or (
            None if _may_be_same_time(new.mtime, old.mtime) else False
        )

    def _sort_out_parts(self, path: str, there: dict[str, Entry]) -> dict[str, int]:
        """Remove gpunb's partial files from `there`; return their names and sizes."""
        start = f"{path}/" if path else ""
        parts = {
            name: entry.size for name, entry in there.items() if name.startswith(PART) and "/" not in name
        }
        for name in parts:
            del there[name]
            self.leftovers.add(start + name)
        return parts

    def _new(self, item: Item, parts: dict[str, int]) -> None:
        if item.kind == "dir":
            self.plan.folders.append(item)
            return
        self._resume(item, parts)
        self._send(item)

    def _changed(self, item: Item, old: Entry, parts: dict[str, int], *, by_content: bool) -> None:
        item.base = old.size
        self.plan.replaced_bytes += min(old.held, old.size)
        self._resume(item, parts)
        if by_content and old.size == item.size:
            self.suspects.append(item)
            return
        self._replace(item)

    def _resume(self, item: Item, parts: dict[str, int]) -> None:
        if parts and self._resumes and item.kind == "file" and item.size > wire.SMALL:
            name = part_name(item.path.rpartition("/")[2])
            if name in parts:
                item.part = True
                above = item.path.rpartition("/")[0]
                self.leftovers.discard(f"{above}/{name}" if above else name)

    def _replace(self, item: Item) -> None:
        """Plan a file or link in whose place the target has another one."""
        self._send(item)

    def _send(self, item: Item) -> None:
        self.plan.items.append(item)
        self.plan.total_bytes += item.size
        self.plan.room_bytes += item.room

    def _other_kind(self, item: Item, old: Entry) -> None:
        if not self.delete:
            self._block(item, f"{WORDS[old.kind]} stands in its place")
        elif old.kind == wire.FOLDER:
            # decided later, when the folder's contents have been listed
            self._contested.append((item, old))
            self._only_there(item.path.rpartition("/")[0], old, ruled=False)
        else:
            self._gone[item.path] = KINDS[old.kind], min(old.held, old.size)
            self.plan.folders.append(item)

    def _block(self, item: Item, why: str) -> None:
        self.plan.blocked.append((item.path, why))
        if item.kind == "dir":
            self._shut.add(item.path)

    # -- what only the target has

    def _only_there(self, folder: str, entry: Entry, *, ruled: bool = True) -> None:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if name_problem(entry.name, path) is not None:
            return  # not a valid file name
        is_folder = entry.kind == wire.FOLDER
        inside = ("pyvenv.cfg",) if is_folder and entry.size else ()
        rule = self.rules.why_out(path, folder=is_folder, names=inside) if ruled else None
        if rule is not None and (self.delete != "mirror" or LeftOut(path, rule).stays):
            self.target_tree.left_out.append(LeftOut(path, rule))
            return
        self._gone[path] = KINDS[entry.kind], 0 if is_folder else min(entry.held, entry.size)
        if is_folder:
            self._below.append(path)
            if entry.mode & 0o700 != 0o700:
                self.plan.closed.append(item_of(folder, entry))

    def _deletions(self) -> None:
        waiting = 0
        asked: deque[str] = deque()
        while self._below or waiting:
            while self._below and waiting < AHEAD:
                path = self._below.popleft()
                self.target.ask(path)
                asked.append(path)
                waiting += 1
            path, entries, why = self.target.take()
            waiting -= 1
            if why:
                self.target_tree.failed.append((path, why))
            for entry in entries:
                self._only_there(path, entry)
        kept = _Kept(self.source_tree, self.target_tree, mirror=self.delete == "mirror")
        for path in sorted(self._gone, reverse=True):
            if not kept.holds(path):
                kind, size = self._gone[path]
                self.plan.deletions.append(path)
                self.plan.kinds[path] = kind
                self.plan.deleted_bytes += size

    def _contests(self) -> None:
        """Resolve folders that a file is to replace: only if the whole folder is deleted."""
        doomed = set(self.plan.deletions)
        for item, old in self._contested:
            if item.path in doomed:
                self._send(item)
            else:
                self.plan.blocked.append((item.path, f"{WORDS[old.kind]} stands in its place"))


class _Kept:
    """The paths that a deletion must not touch."""

    def __init__(self, source: Tree, target: Tree, *, mirror: bool) -> None:
        out = [o.path for o in source.left_out if not mirror or o.stays]
        self._roots = {*out, *(path for path, _ in source.failed)}
        hidden = {o.path for o in target.left_out} | {path for path, _ in target.failed}
        self._above = {above for path in hidden | self._roots for above in _parents(path)}
        self._hidden = hidden

    def holds(self, path: str) -> bool:
        if "" in self._roots or path in self._above or path in self._roots or path in self._hidden:
            return True
        return any(above in self._roots for above in _parents(path))


def _parents(path: str) -> list[str]:
    result = []
    while "/" in path:
        path = path.rpartition("/")[0]
        result.append(path)
    return result


def _may_be_same_time(source: int, target: int) -> bool:
    """Whether a file system may have rounded the time `source` to `target`, both in ns.

    FAT keeps even seconds, and each system's last and first date is as far as
    it goes: such files are compared by their content, or they would go each time.
    """
    seconds, nanos = divmod(target, 10**9)
    if nanos == 0 and seconds % 2 == 0 and abs(source - target) < 2 * 10**9:
        return True
    return (seconds in _LAST and source > target) or (seconds in _FIRST and source < target)


def _same_time(source: int, target: int) -> bool:
    """Whether two times in ns are equal; whole seconds are compared if the target keeps no more."""
    return source == target or (target % 10**9 == 0 and source // 10**9 == target // 10**9)


def _same_second(source: int, target: int) -> bool:
    """Whether two times in ns are equal in whole seconds, as SFTP tells them: in 32 bits, cut or capped."""
    one, two, most = source // wire.NS, target // wire.NS, 2**32 - 1
    return (one ^ two) & most == 0 or min(max(one, 0), most) == two or one == min(max(two, 0), most)

"""The local side of a sync, listed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from gpunb.sync.plan import Item, LeftOut, Tree, link_stays_inside
from gpunb.sync.rules import PART
from gpunb.units import bytes_text

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.sync.rules import Rules

__all__ = ["scan"]

_LOUD = 10 * 10**6  # bytes
_DATA = {"data", "dataset", "datasets", "checkpoints", "weights"}
_SPECIAL = [
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
]


def scan(root: Path, rules: Rules, *, target: bool = False) -> Tree:
    """List the folder `root`, parents before children, leaving out what `rules` say.

    Links that stay inside are kept as links; others, and special files, are
    left out and named; in a `target` they are items too, for they may stand in
    the way. Folders that can't be read are in `Tree.failed`.
    """
    tree = Tree()
    todo = [""]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(root / folder) as listing:
                entries = sorted(listing, key=lambda e: e.name, reverse=True)
        except OSError as err:
            tree.failed.append((folder, err.strerror or str(err)))
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                if _take(tree, rules, entry, path, target=target):
                    todo.append(path)
            except OSError as err:
                tree.failed.append((path, err.strerror or str(err)))
    tree.items.sort(key=lambda item: item.path)
    return tree


def _take(tree: Tree, rules: Rules, entry: os.DirEntry[str], path: str, *, target: bool) -> bool:
    """Put one entry where it belongs; whether it is a folder to go into."""
    found = entry.stat(follow_symlinks=False)
    folder = stat.S_ISDIR(found.st_mode)
    names = ("pyvenv.cfg",) if folder and os.path.lexists(os.path.join(entry.path, "pyvenv.cfg")) else ()  # noqa: PTH118
    rule = rules.why_out(path, folder=folder, names=names)
    if rule is not None:
        if entry.name.startswith(PART):
            tree.leftovers.append(path)
            return False
        tree.left_out.append(LeftOut(path, rule))
        if rules.is_ignore_rule(rule) and not target:
            _speak_up(tree, entry, path, found.st_size, rule, folder=folder)
        return False
    mode = stat.S_IMODE(found.st_mode) & 0o777
    mtime = found.st_mtime_ns // 10**9
    if folder:
        tree.items.append(Item(path, "dir", 0, mtime, mode))
        return True
    if stat.S_ISREG(found.st_mode):
        tree.items.append(Item(path, "file", found.st_size, mtime, mode))
    elif stat.S_ISLNK(found.st_mode):
        goal = os.readlink(entry.path)  # noqa: PTH115 - a Path would tidy the text
        if target or link_stays_inside(path, goal):
            tree.items.append(Item(path, "link", 0, mtime, mode, goal))
        else:
            tree.left_out.append(LeftOut(path, f"link that leads out of the folder: {goal}"))
    elif target:
        tree.items.append(Item(path, "special"))
    else:
        what = next((text for test, text in _SPECIAL if test(found.st_mode)), "not a file")
        tree.left_out.append(LeftOut(path, f"special file: {what}"))
    return False


def _speak_up(tree: Tree, entry: os.DirEntry[str], path: str, size: int, rule: str, *, folder: bool) -> None:
    """An ignore file is written for git; data that it hides may be wanted on the host."""
    if folder:
        size, more = _measure(entry.path)
    else:
        more = False
    if size > _LOUD or (folder and size and entry.name.lower() in _DATA):
        text = f"{'more than ' if more else ''}{bytes_text(size)}"
        shown = f"{path}/" if folder else path
        tree.notes.append(f"{shown} ({text}) stays here because of {rule}; to send it: --include {shown!r}")


def _measure(folder: str, most: int = 50_000) -> tuple[int, bool]:
    """Bytes below `folder`, and whether that is only a part (more than `most` entries)."""
    size, seen, todo = 0, 0, [folder]
    while todo:
        try:
            with os.scandir(todo.pop()) as listing:
                for entry in listing:
                    seen += 1
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        size += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
        if seen > most:
            return size, True
    return size, False

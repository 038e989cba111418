"""Listing of the local side of a sync."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from gpunb.agent.shared import file_frames as wire
from gpunb.agent.shared import file_listing
from gpunb.sync.planning.plan import LeftOut, Tree, link_stays_inside, why_link_stays
from gpunb.sync.planning.rules import NEVER, PART
from gpunb.sync.planning.side import Entry, item_of
from gpunb.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpunb.sync.planning.rules import Rules

__all__ = ["decoded", "folders", "scan"]

_LOUD = 10 * 10**6  # bytes
_DATA = {"data", "dataset", "datasets", "checkpoints", "weights"}
_SPECIAL = [
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
]


def scan(root: Path, rules: Rules, *, follow: bool = False) -> Tree:
    """List the folder `root`, parents before children, without what `rules` leave out.

    Links that stay inside are kept as links; others, and special files, are
    left out and named. Folders that can't be read are in `Tree.failed`.
    """
    tree = Tree()
    for folder, entries in folders(root, rules, tree, follow=follow):
        tree.items += [item_of(folder, entry) for entry in entries]
    tree.items.sort(key=lambda item: item.path)
    return tree


def decoded(entry: tuple[bytes, int, int, int, int, bytes, int, int]) -> Entry:
    """Decode the names in an entry of `gpunb.agent.shared.file_listing` to text."""
    name, kind, mode, size, mtime, goal, held, inode = entry
    text, leads = name.decode("utf-8", "surrogateescape"), goal.decode("utf-8", "surrogateescape")
    # a million of them: Entry(...) takes three times as long
    return tuple.__new__(Entry, (text, kind, mode, size, mtime, leads, held, inode))


def folders(
    root: Path, rules: Rules, tree: Tree, *, follow: bool = False
) -> Iterator[tuple[str, list[Entry]]]:
    """Yield each folder below `root` that goes and its entries that go; the rest is noted in `tree`."""
    todo = [""]
    top = os.fsencode(root)
    while todo:
        folder = todo.pop()
        try:
            found = file_listing.list_folder(top + b"/" + os.fsencode(folder) if folder else top)
            if follow:
                found = file_listing.followed(top, os.fsencode(folder), found)
        except OSError as err:
            tree.failed.append((folder, err.strerror or str(err)))
            continue
        start = f"{folder}/" if folder else ""
        quiet = rules.quiet_in(folder)
        kept: list[Entry] = []
        for entry in map(decoded, found):
            name, kind = entry.name, entry.kind
            plain = quiet and kind == wire.FILE and name[0] != "." and name not in NEVER
            if plain or _goes(tree, rules, entry, start + name, root):
                kept.append(entry)
        todo += [start + entry.name for entry in reversed(kept) if entry.kind == wire.FOLDER]
        yield folder, kept


def _goes(tree: Tree, rules: Rules, entry: Entry, path: str, root: Path) -> bool:
    """Whether an entry goes; if not, the reason is added to `tree`."""
    name, kind, _, size, _, goal, _, _ = entry
    folder = kind == wire.FOLDER
    rule = rules.why_out(path, folder=folder, names=("pyvenv.cfg",) if folder and size else ())
    if rule is not None:
        if name.startswith(PART):
            return False
        tree.left_out.append(LeftOut(path, rule))
        if rules.is_ignore_rule(rule):
            _speak_up(tree, f"{root}/{path}", path, size, rule, folder=folder)
        return False
    if kind == wire.LINK and not (link_stays_inside(path, goal) or _leads_inside(root, path, goal)):
        tree.left_out.append(LeftOut(path, why_link_stays(goal), cant_go=True))
        return False
    if kind == wire.SPECIAL:
        mode = os.lstat(f"{root}/{path}").st_mode
        what = next((text for test, text in _SPECIAL if test(mode)), "not a file")
        tree.left_out.append(LeftOut(path, f"special file: {what}", cant_go=True))
        return False
    return True


def _leads_inside(root: Path, path: str, goal: str) -> bool:
    """Whether a local link with ``..`` in its path still ends inside `root`; not used for a host's links."""
    if goal.startswith("/"):
        return False
    top = os.path.realpath(root)
    return os.path.realpath(f"{root}/{path}").startswith(top.rstrip("/") + "/")


def _speak_up(tree: Tree, full: str, path: str, size: int, rule: str, *, folder: bool) -> None:
    """Note ignored data that may be wanted on the host: an ignore file is written for git."""
    if folder:
        size, more = _measure(full)
    else:
        more = False
    if size > _LOUD or (folder and size and path.rpartition("/")[2].lower() in _DATA):
        text = f"{'more than ' if more else ''}{bytes_text(size)}"
        shown = f"{path}/" if folder else path
        tree.notes.append(f"{shown} ({text}) stays here because of {rule}; to send it: --include {shown!r}")


def _measure(folder: str, most: int = 50_000) -> tuple[int, bool]:
    """Bytes below `folder`, and whether the count stopped at `most` entries."""
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

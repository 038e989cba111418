"""Listing of folders for a file transfer: the same code at both ends."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from .file_content import extents
from .file_frames import FILE, FOLDER, LINK, SMALL, SPECIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def list_folder(path: bytes) -> list[Any]:
    """List a folder, sorted by the bytes of its names; `OSError` if it can't be read.

    Each is a tuple: name, kind, permission bits, size, mtime in ns, where a
    link leads, bytes of data (less than the size for a file with holes), and
    inode. A folder's size is 1 if it is a virtual environment, else 0.
    """
    result = []
    where = path or b"."
    fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = os.listdir(where)
        names.sort()
        for name in names:
            try:
                facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
                mode = facts.st_mode
                form = stat.S_IFMT(mode)
                size = held = 0
                goal = b""
                if form == stat.S_IFREG:
                    kind, size = FILE, facts.st_size
                    held = size if facts.st_blocks * 512 >= size or size <= SMALL else _held(name, fd, size)
                elif form == stat.S_IFDIR:
                    kind, size = FOLDER, int(_is_there(name + b"/pyvenv.cfg", fd))
                elif form == stat.S_IFLNK:
                    kind, goal = LINK, os.readlink(name, dir_fd=fd)
                else:
                    kind = SPECIAL
                result.append((name, kind, mode & 0o777, size, facts.st_mtime_ns, goal, held, facts.st_ino))
            except FileNotFoundError:
                continue
    finally:
        os.close(fd)
    return result


def _held(name: bytes, fd: int, size: int) -> int:
    """Bytes of data in a file with holes; a disk that packs files has few blocks and no holes."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    except OSError:
        return size
    try:
        return sum(end - start for start, end in extents(file, size))
    finally:
        os.close(file)


def stays_inside(path: Any, goal: Any) -> bool:
    """Whether a link at `path` with the target `goal` can't leave the root; both are text, or bytes.

    Steps up may only come first: ``a/../../x`` can leave through a link `a`.
    If this holds for each link of a tree, no chain of them leads out.
    """
    slash, up, nul = (b"/", b"..", b"\0") if isinstance(goal, bytes) else ("/", "..", "\0")
    if not goal or goal.startswith(slash) or nul in goal:
        return False
    parts = goal.split(slash)
    ups = 0
    while ups < len(parts) and parts[ups] == up:
        ups += 1
    return ups <= path.count(slash) and up not in parts[ups:]


def followed(top: bytes, folder: bytes, entries: list[Any]) -> list[Any]:
    """Replace entries of `folder` below `top` that are links leading out by their targets.

    Links are not followed to a folder that contains them (that would have no
    end), into the system's own (/proc, /sys, /dev), or to nothing.
    """
    result = []
    for entry in entries:
        path = folder + b"/" + entry[0] if folder else entry[0]
        if entry[1] == LINK and not stays_inside(path, entry[5]):
            result.append(_led_to(top, path, entry))
        else:
            result.append(entry)
    return result


def _led_to(top: bytes, path: bytes, entry: Any) -> Any:
    full = top + b"/" + path
    goal = os.path.realpath(full)
    try:
        facts = os.stat(goal)
    except OSError:
        return entry
    if goal.startswith((b"/proc/", b"/sys/", b"/dev/")):
        return entry
    mode, mtime = facts.st_mode, facts.st_mtime_ns
    if stat.S_ISREG(mode):
        size = facts.st_size
        return entry[0], FILE, mode & 0o777, size, mtime, b"", min(size, facts.st_blocks * 512), facts.st_ino
    if not stat.S_ISDIR(mode):
        return entry
    above = full
    while len(above) > len(top):
        above = os.path.dirname(above)
        if (os.path.realpath(above) + b"/").startswith(goal.rstrip(b"/") + b"/"):
            return entry
    venv = int(os.path.lexists(goal + b"/pyvenv.cfg"))
    return entry[0], FOLDER, mode & 0o777, venv, mtime, b"", 0, facts.st_ino


def walk(
    goes: Callable[[bytes, bool], bool], failed: Callable[[bytes, OSError], None], follow: bool = False
) -> Iterator[tuple[bytes, list[Any]]]:
    """Yield the folders below the working directory, parents first, in the order of their names.

    `goes` is called for each folder, with whether it is a virtual environment;
    `failed` for each that can't be read; `follow` as in `followed`.
    """
    todo = [b""]
    while todo:
        path = todo.pop()
        try:
            entries = list_folder(path)
            if follow:
                entries = followed(os.getcwdb(), path, entries)
        except OSError as err:
            failed(path, err)
            continue
        yield path, entries
        start = path + b"/" if path else b""
        todo += [
            start + entry[0]
            for entry in reversed(entries)
            if entry[1] == FOLDER and goes(start + entry[0], entry[3] == 1)
        ]


def _is_there(path: bytes, fd: int) -> bool:
    try:
        os.stat(path, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return False
    return True

"""Writes below a local folder that can never leave it.

Each folder on the way is opened by its descriptor and never through a link,
so neither a link that was there nor one that appears meanwhile leads out.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.agent.shared.file_content import stamp, take_name
from gpunb.agent.shared.file_frames import NS
from gpunb.sync.planning.rules import PART

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.sync.planning.plan import Item

__all__ = ["LocalRoot", "part_name", "umask"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def umask() -> int:
    """Return this process's umask."""
    with contextlib.suppress(OSError, ValueError):  # Linux: without touching it
        about = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(about.partition("\nUmask:")[2].split("\n", 1)[0], 8)
    result = os.umask(0o077)
    os.umask(result)
    return result


def part_name(name: str) -> str:
    """The name of the partial file beside `name`: short, because names may have 255 bytes."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8)
    return PART + digest.hexdigest()


class LocalRoot:
    """The folder that a sync writes into. A context manager."""

    def __init__(self, root: Path) -> None:
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> LocalRoot:  # noqa: PYI034 - final in practice
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @contextlib.contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """Open a descriptor of the folder `path` below the root; `OSError` if a link is in the path."""
        fd = os.dup(self._fd)
        try:
            for name in path.split("/") if path else ():
                deeper = os.open(name, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = deeper
            yield fd
        finally:
            os.close(fd)

    def make_folder(self, item: Item) -> None:
        """Make the folder, writable for now; `set_mode` sets its final mode."""
        above, _, name = item.path.rpartition("/")
        with self.folder(above) as fd, contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=fd)

    def set_mode_and_time(self, item: Item) -> str:
        """Set a file's mode and time, a folder's mode, never through a link; return why it is not kept."""
        return self.set_mode(item, time=item.kind == "file")

    def set_mode(self, item: Item, *, time: bool = False) -> str:
        """Set the mode of a file or folder, never through a link; return why it is not kept, or ""."""
        above, _, name = item.path.rpartition("/")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self.folder(above) as fd:
            target = os.open(name, flags, dir_fd=fd)
            try:
                return stamp(target, item.mode, item.mtime_ns if time else None)
            finally:
                os.close(target)

    def open_part(self, path: str, size: int) -> int:
        """Create the partial file for `path`, open for writing; reserves `size` bytes where possible."""
        above, _, name = path.rpartition("/")
        part = part_name(name)
        with self.folder(above) as fd:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=fd)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(part, flags, 0o600, dir_fd=fd)
        if size > 2**20 and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(handle, 0, size)
            except OSError as err:
                if err.errno == errno.ENOSPC:
                    os.close(handle)
                    self.drop_part(path)
                    raise
        return handle

    def finish(self, item: Item, handle: int) -> str:
        """Set mode and time, then rename the partial file into place, atomically.

        Why the file system does not keep mode or time, if it does not.
        """
        above, _, name = item.path.rpartition("/")
        why = stamp(handle, item.mode, item.mtime * NS)
        with self.folder(above) as fd:
            take_name(part_name(name), name, fd)
        return why

    def link(self, item: Item) -> None:
        """Make the link; the plan has checked its target."""
        above, _, name = item.path.rpartition("/")
        part = part_name(name)
        with self.folder(above) as fd:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=fd)
            os.symlink(item.goal, part, dir_fd=fd)
            try:
                take_name(part, name, fd)
            except OSError:
                os.unlink(part, dir_fd=fd)
                raise

    def drop_part(self, path: str) -> None:
        """Remove the partial file of `path`, if there is one."""
        above, _, name = path.rpartition("/")
        with contextlib.suppress(OSError), self.folder(above) as fd:
            os.unlink(part_name(name), dir_fd=fd)

    def delete(self, path: str, kind: str) -> None:
        """Delete a file, link or empty folder; one that is gone already is no error."""
        above, _, name = path.rpartition("/")
        with contextlib.suppress(FileNotFoundError), self.folder(above) as fd:
            if kind == "dir":
                os.rmdir(name, dir_fd=fd)
            else:
                if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                os.unlink(name, dir_fd=fd)

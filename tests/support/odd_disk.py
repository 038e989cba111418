"""A real mount that refuses what some disks refuse: a folder passed through FUSE.

Run as ``odd_disk.py KIND FOLDER MOUNTPOINT``; tests use `odd_disk`. Kinds:

- ``no-times``: no chmod that changes something and no times, as mounts of object stores
- ``no-modes``: no chmod that changes something
- ``fat``: no modes, no links, times in steps of two seconds
- ``no-replace``: no renaming over what is there
- ``no-rename``: no renaming at all
- ``nfs``: times in whole seconds, owners stay, and a file that is removed while it is open stays as a hidden
  one, so that its folder can't be removed; locks are the kernel's own here
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("no-times", "no-modes", "fat")
NO_RENAME = ("no-replace", "no-rename")
NFS = "nfs"


def usable() -> bool:
    """Whether this system can mount one."""
    try:
        import fuse  # noqa: F401
    except (ImportError, OSError):
        return False
    return shutil.which("fusermount") is not None and os.access("/dev/fuse", os.R_OK | os.W_OK)


@contextlib.contextmanager
def odd_disk(kind: str, root: Path, *, over: Path | None = None) -> Iterator[Path]:
    """A folder on such a disk, below `root`; or the folder `over`, with what is in it."""
    backing, mount = root / f"{kind}-backing", over or root / f"{kind}-disk"
    if over is not None:
        over.rename(backing)
    backing.mkdir(parents=True, exist_ok=True)
    mount.mkdir()
    process = subprocess.Popen([sys.executable, __file__, kind, str(backing), str(mount)])
    try:
        for _ in range(200):
            if os.path.ismount(mount) or process.poll() is not None:
                break
            time.sleep(0.05)
        assert os.path.ismount(mount), "the disk was not mounted"
        yield mount
    finally:
        subprocess.run(["fusermount", "-u", "-z", str(mount)], check=False)
        process.terminate()
        process.wait(10)


def _main(  # noqa: C901 - one class of many small methods
    kind: str, backing: str, mount: str
) -> None:
    from fuse import FUSE, FuseOSError, Operations

    class Disk(Operations):  # type: ignore[misc]  # fusepy has no types
        def _real(self, path: str) -> str:
            return backing + path

        def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
            facts = os.lstat(self._real(path))
            names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_atime", "st_mtime", "st_ctime")
            found = {name: getattr(facts, name) for name in names}
            if kind == "fat":
                found["st_mtime"] = int(facts.st_mtime) // 2 * 2
                found["st_mode"] = (facts.st_mode & ~0o777) | 0o755
            if kind == NFS:
                found |= {name: int(found[name]) for name in ("st_atime", "st_mtime", "st_ctime")}
            return found

        def chown(self, path: str, uid: int, gid: int) -> None:
            now = os.lstat(self._real(path))
            if uid not in {-1, now.st_uid} or gid not in {-1, now.st_gid}:
                raise FuseOSError(errno.EPERM)

        def mknod(self, path: str, mode: int, dev: int) -> None:
            os.mknod(self._real(path), mode, dev)

        def link(self, target: str, source: str) -> None:
            os.link(self._real(source), self._real(target))

        def chmod(self, path: str, mode: int) -> int:
            now = os.lstat(self._real(path)).st_mode
            if kind in {*NO_RENAME, NFS}:
                os.chmod(self._real(path), mode)
            elif kind != "fat" and mode & 0o7777 != now & 0o7777:
                raise FuseOSError(errno.EPERM)
            return 0

        def utimens(self, path: str, times: Any = None) -> None:
            if kind == "no-times":
                raise FuseOSError(errno.ENOSYS)
            os.utime(self._real(path), times)

        def symlink(self, name: str, target: str) -> None:
            if kind == "fat":
                raise FuseOSError(errno.EPERM)
            os.symlink(target, self._real(name))

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *os.listdir(self._real(path))]

        def create(self, path: str, mode: int, fi: Any = None) -> int:
            return os.open(self._real(path), os.O_RDWR | os.O_CREAT, mode)

        def open(self, path: str, flags: int) -> int:
            return os.open(self._real(path), flags & ~os.O_NOFOLLOW)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(fh, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            return os.pwrite(fh, data, offset)

        def truncate(self, path: str, length: int, fh: Any = None) -> None:
            os.truncate(self._real(path), length)

        def release(self, path: str, fh: int) -> None:
            os.close(fh)

        def readlink(self, path: str) -> str:
            return os.readlink(self._real(path))

        def mkdir(self, path: str, mode: int) -> None:
            os.mkdir(self._real(path), mode)

        def rmdir(self, path: str) -> None:
            os.rmdir(self._real(path))

        def unlink(self, path: str) -> None:
            os.unlink(self._real(path))

        def rename(self, old: str, new: str) -> None:
            if kind == "no-rename":
                raise FuseOSError(errno.EPERM)
            if kind == "no-replace" and os.path.lexists(self._real(new)):
                raise FuseOSError(errno.EEXIST)
            os.rename(self._real(old), self._real(new))

        def statfs(self, path: str) -> dict[str, Any]:
            facts = os.statvfs(backing)
            names = (
                "f_bavail",
                "f_bfree",
                "f_blocks",
                "f_bsize",
                "f_favail",
                "f_ffree",
                "f_files",
                "f_frsize",
            )
            return {name: getattr(facts, name) for name in names}

    FUSE(Disk(), mount, foreground=True, nothreads=True, big_writes=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])

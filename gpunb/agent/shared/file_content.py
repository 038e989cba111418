"""Reading, comparing and writing of file content in transfers: the same code at both ends."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

from .file_frames import BLOCK, CHANGED, DIGEST, PIECE, SMALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# errors of disks that can't replace by renaming, or can't rename: some mounted object stores
NO_RENAME = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EEXIST)
_zeros: "dict[int, bytes]" = {}


def blocks(fd: int, size: int) -> Iterator[bytes]:
    """Yield the digest of each block of a file up to `size`; holes are not read."""
    buffer = memoryview(bytearray(4 * BLOCK))
    step = len(buffer)
    found = extents(fd, size)
    number = 0
    for start in range(0, size, step):
        want = min(step, size - start)
        while number < len(found) and found[number][1] <= start:
            number += 1
        if (number == len(found) or found[number][0] >= start + want) and os.fstat(
            fd
        ).st_size >= start + want:
            for at in range(0, want, BLOCK):
                yield zeros(min(BLOCK, want - at))
            continue
        got = 0
        while got < want:
            more = os.preadv(fd, [buffer[got:want]], start + got)
            if more == 0:
                break
            got += more
        for at in range(0, got, BLOCK):
            yield digest(buffer[at : min(at + BLOCK, got)])
        if got < want:
            return


def zeros(size: int) -> bytes:
    """The digest of `size` zero bytes, at most a block."""
    if size not in _zeros:
        _zeros[size] = digest(bytes(size))
    return _zeros[size]


def based(fd: int, copy: int, size: int, take: Callable[[bytes], None]) -> None:
    """Call `take` with the digests of a file's blocks while the file is copied to `copy`.

    Raises
    ------
    OSError
        It can't be read or written, or it changed meanwhile.
    """
    before = os.fstat(fd)
    failed: list[OSError] = []

    def work() -> None:
        try:
            copy_to(fd, copy, size)
        except OSError as err:
            failed.append(err)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for block in blocks(fd, size):
            take(block)
    finally:
        thread.join()
    if failed:
        raise failed[0]
    after = os.fstat(fd)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(errno.EAGAIN, CHANGED)


def copy_to(fd: int, copy: int, size: int) -> None:
    """Copy a file's first `size` bytes and keep its holes; the system may share the blocks."""
    by_system = hasattr(os, "copy_file_range")
    for start, end in extents(fd, size):
        at = start
        while at < end:
            if by_system:
                try:
                    done = os.copy_file_range(fd, copy, min(end - at, 1 << 28), at, at)
                except OSError as err:
                    if err.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                        raise
                    by_system = False
                    continue
            else:
                data = os.pread(fd, min(PIECE, end - at), at)
                write_at(copy, data, at)
                done = len(data)
            if done == 0:
                return
            at += done
    if os.fstat(copy).st_size < size:
        os.ftruncate(copy, size)


def digest(data: Any) -> bytes:
    """Return the digest of `data` that is compared."""
    return hashlib.sha256(data).digest()[:DIGEST]


@contextlib.contextmanager
def late_end(path: bytes | str, folder: int | None = None) -> Iterator[None]:
    """Free a replaced file's blocks in the background: for a GB that takes a while."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        old = os.open(path, flags, dir_fd=folder)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        threading.Thread(target=os.close, args=(old,), daemon=True).start()


def take_name(part: "bytes | str", path: "bytes | str", folder: "int | None" = None) -> None:
    """Rename a partial file into place, atomically where the disk can.

    If the disk can't replace by renaming, the old file is deleted first; if it
    can't rename at all, the content is copied.
    """
    for last in (False, True):
        try:
            return os.replace(part, path, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as err:
            if err.errno not in NO_RENAME:
                raise
            why = err
        if not last:
            with contextlib.suppress(OSError):
                os.unlink(path, dir_fd=folder)
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    source = os.open(part, os.O_RDONLY | flags, dir_fd=folder)
    try:
        facts = os.fstat(source)
        if not stat.S_ISREG(facts.st_mode):
            raise why
        mode = stat.S_IMODE(facts.st_mode)
        copy = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | flags, mode, dir_fd=folder)
        try:
            copy_to(source, copy, facts.st_size)
            stamp(copy, mode, facts.st_mtime_ns)
        except OSError:
            os.unlink(path, dir_fd=folder)
            raise
        finally:
            os.close(copy)
    finally:
        os.close(source)
    with contextlib.suppress(OSError):  # some mounts rename an open file instead of deleting it
        os.unlink(part, dir_fd=folder)
    return None


def whole_digest(fd: int) -> bytes:
    """The digest of a whole file."""
    found = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with open(fd, "rb", buffering=0, closefd=False) as file:
        while True:
            got = file.readinto(buffer)
            if not got:
                return found.digest()[:DIGEST]
            found.update(buffer[:got])


def write_at(fd: int, data: Any, at: int) -> None:
    """Write all of `data` to a file at offset `at`."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view = view[done:]
        at += done


def extents(fd: int, size: int) -> list[tuple[int, int]]:
    """The ranges (start, end) of a file that hold data: the whole file if the system reports no holes."""
    if not hasattr(os, "SEEK_DATA"):
        return [(0, size)] if size else []
    result: list[tuple[int, int]] = []
    at = 0
    try:
        while at < size:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = min(size, os.lseek(fd, start, os.SEEK_HOLE))
            if len(result) > 10000:
                return [(0, size)]
            result.append((start, at))
    except OSError as err:
        if err.errno != errno.ENXIO:  # only a hole up to the end
            return [(0, size)] if size else []
    return result


def as_listed(facts: os.stat_result, size: int, mtime: int, inode: int) -> bool:
    """Whether the first `size` bytes that were read are the file that was listed.

    A log that a job writes grows all the time: its listed part is still valid.
    A file that replaced it is another one (`inode`; 0 is not known).
    """
    if facts.st_size == size:
        return facts.st_mtime_ns == mtime
    return facts.st_size > size and inode in (0, facts.st_ino)


def read_as_listed(fd: int, size: int, mtime: int, inode: int) -> tuple[bytes, int] | None:
    """Read a small file's content and its mtime in ns; None if it keeps changing.

    As it was listed, or if it was rewritten since then, as it is now (then the
    time differs); of a file that only grew, the listed part.
    """
    for _ in range(3):
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return None
        now = before.st_size if before.st_size <= SMALL else size
        data = _read(fd, now)
        after = os.fstat(fd)
        still = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if still and len(data) == now == after.st_size:
            return data, after.st_mtime_ns
        if len(data) >= size and after.st_size >= before.st_size > size and inode in (0, after.st_ino):
            return data[:size], mtime
    return None


def _read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.pread(fd, size - len(data), len(data))
        if not more:
            break
        data += more
    return data


def stamp(target: Any, mode: int | None, mtime: int | None, own: bool = True) -> str:
    """Set a file's mode and time (in ns); return the error if the file system does not keep them.

    A mounted object store, a network volume or a FAT disk may refuse both; the
    content is written all the same. With `own` false, `target` is a path that
    may not exist: that raises.
    """
    why = ""
    for do in ("mode", "time"):
        try:
            if do == "mode" and mode is not None:
                os.chmod(target, mode)
            elif do == "time" and mtime is not None:
                os.utime(target, ns=(mtime, mtime), follow_symlinks=isinstance(target, int))
        except OverflowError:
            why = why or "it has no such date"
        except OSError as err:
            if not own and err.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
                raise
            why = why or err.strerror or str(err)
    return why

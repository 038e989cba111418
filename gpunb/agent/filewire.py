"""Frames, listings and digests of a file transfer: the same code at both ends.

A frame is a u32 length, one byte that says what it is, and so many bytes. The
client asks, the host's `files` answers in the same order:

    J  JSON call -> J JSON answer       L  list one folder -> L
    T  walk a tree -> L ... Z           G  small files -> S
    R  a range of a file -> P ... R     H  digests of a file's blocks -> H ... Z
    W  small files, written             D  a piece of a large file, written
    Q  a number -> Q the same number, when all before it is done

W and D have no answer; what failed of them comes as X before the next Q.
Pieces (P, D) and bundles (S, W) begin with a byte for their compression.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import stat
import struct
import threading
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRAME = struct.Struct(">IB")
ENTRY = struct.Struct(">BHQqHH")  # kind, mode, size, mtime, lengths of name and goal
WANT = struct.Struct(">HQq")  # length of path, size, mtime: a file as it was listed
GIVE = struct.Struct(">HHqI")  # length of path, mode, mtime, size: a file to be written
DATA = struct.Struct(">IQH")  # number, offset, length of path
RANGE = struct.Struct(">QQBHQq")  # offset, length, compress, then WANT
CONTENT = struct.Struct(">BI")  # 0 and the size, or 1 and the length of a reason

FILE, FOLDER, LINK, SPECIAL = 102, 100, 108, 115
SMALL = 1 << 19  # bytes up to which a file goes whole, in a bundle
PIECE = 1 << 20  # bytes of a large file in one frame
BLOCK = 1 << 18  # bytes that are compared by one digest
DIGEST = 16
SHORT = "a listing that ends too early"
CHANGED = "it changed while it was read"

PLAIN, ZLIB, ZSTD = 0, 1, 2


def zstd() -> Any:
    """``(compress, decompress)`` of zstd, or None: Python's own from 3.14 on, else zstandard's."""
    try:
        own: Any = importlib.import_module("compression.zstd")
    except ImportError:
        try:
            zstandard: Any = importlib.import_module("zstandard")
        except ImportError:
            return None

        def inflate(data: bytes, most: int) -> bytes:
            if not 0 <= zstandard.frame_content_size(data) <= most:
                raise ValueError("more than %d bytes" % most)
            found: bytes = zstandard.ZstdDecompressor().decompress(data)
            return found

        return (lambda data: zstandard.compress(data, 1)), inflate
    return (lambda data: own.compress(data, 1)), (
        lambda data, most: own.ZstdDecompressor().decompress(data, most + 1)
    )


def squeeze(data: Any, codec: int) -> bytes:
    """The compression's byte and `data`, compressed if it is worth it (to 5/6 or less)."""
    if codec == ZSTD:
        less: bytes = zstd()[0](bytes(data))
    elif codec == ZLIB:
        less = zlib.compress(data, 1)
    else:
        return b"\0" + bytes(data)
    if len(less) * 6 > len(data) * 5:
        return b"\0" + bytes(data)
    return bytes((codec,)) + less


def unsqueeze(data: Any, most: int) -> Any:
    """What `squeeze` was given; `ValueError` if it is more than `most` bytes, or broken."""
    codec, body = data[0], data[1:]
    if codec == PLAIN:
        out = body
    elif codec == ZLIB:
        opened = zlib.decompressobj()
        try:
            out = opened.decompress(body, most + 1)
        except zlib.error as err:
            raise ValueError("broken compression: %s" % err) from err
    elif codec == ZSTD and zstd() is not None:
        try:
            out = zstd()[1](bytes(body), most)
        except Exception as err:  # each library has a class of its own
            raise ValueError("broken compression: %s" % err) from err
    else:
        raise ValueError("a compression of number %d" % codec)
    if len(out) > most:
        raise ValueError("more than %d bytes" % most)
    return out


def list_folder(path: bytes) -> list[Any]:
    """The entries of a folder, sorted by their names' bytes; `OSError` if it can't be read.

    Each is a tuple: name, kind, permission bits, size, mtime in ns, where a
    link leads. A folder's size is 1 if it is a virtual environment, else 0.
    """
    found = []
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
                if form == stat.S_IFREG:
                    found.append((name, FILE, mode & 0o777, facts.st_size, facts.st_mtime_ns, b""))
                elif form == stat.S_IFDIR:
                    venv = _is_there(name + b"/pyvenv.cfg", fd)
                    found.append((name, FOLDER, mode & 0o777, int(venv), facts.st_mtime_ns, b""))
                elif form == stat.S_IFLNK:
                    goal = os.readlink(name, dir_fd=fd)
                    found.append((name, LINK, mode & 0o777, 0, facts.st_mtime_ns, goal))
                else:
                    found.append((name, SPECIAL, mode & 0o777, 0, facts.st_mtime_ns, b""))
            except FileNotFoundError:
                continue
    finally:
        os.close(fd)
    return found


def pack_entries(entries: list[Any]) -> bytes:
    """A folder's entries for the wire."""
    pack = ENTRY.pack
    return b"".join(
        [
            pack(kind, mode, size, mtime, len(name), len(goal)) + name + goal
            for name, kind, mode, size, mtime, goal in entries
        ]
    )


def unpack_entries(data: bytes) -> list[Any]:
    """What `pack_entries` was given; `ValueError` if it can't be."""
    found = []
    at, end, width = 0, len(data), ENTRY.size
    unpack = ENTRY.unpack_from
    try:
        while at < end:
            kind, mode, size, mtime, named, led = unpack(data, at)
            at += width
            middle = at + named
            last = middle + led
            if last > end:
                raise ValueError(SHORT)
            found.append((data[at:middle], kind, mode & 0o777, size, mtime, data[middle:last]))
            at = last
    except struct.error as err:
        raise ValueError(SHORT) from err
    return found


def _is_there(path: bytes, fd: int) -> bool:
    try:
        os.stat(path, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def walk(
    goes: Callable[[bytes, bool], bool], failed: Callable[[bytes, OSError], None]
) -> Iterator[tuple[bytes, list[Any]]]:
    """The folders below the working directory, parents first, in the order of their names.

    `goes` is asked of each folder, and told whether it is a virtual
    environment; `failed` gets what can't be read.
    """
    todo = [b""]
    while todo:
        path = todo.pop()
        try:
            entries = list_folder(path)
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


def blocks(fd: int, size: int) -> Iterator[bytes]:
    """The digest of each block of a file up to `size`."""
    buffer = memoryview(bytearray(4 * BLOCK))
    for start in range(0, size, len(buffer)):
        want = min(len(buffer), size - start)
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


def based(fd: int, copy: int, size: int, take: Callable[[bytes], None]) -> None:
    """Give `take` the digests of a file's blocks while the file is copied to `copy`.

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
        for one in blocks(fd, size):
            take(one)
    finally:
        thread.join()
    if failed:
        raise failed[0]
    after = os.fstat(fd)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(errno.EAGAIN, CHANGED)


def copy_to(fd: int, copy: int, size: int) -> None:
    """Copy a file's first `size` bytes: by the system, which may share them, else by hand."""
    at = 0
    while at < size and hasattr(os, "copy_file_range"):
        try:
            done = os.copy_file_range(fd, copy, min(size - at, 1 << 28), at, at)
        except OSError as err:
            if err.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            break
        if done == 0:
            return
        at += done
    while at < size:
        data = os.pread(fd, min(PIECE, size - at), at)
        if not data:
            return
        write_at(copy, data, at)
        at += len(data)


def digest(data: Any) -> bytes:
    """What stands for `data` in a comparison."""
    return hashlib.sha256(data).digest()[:DIGEST]


@contextlib.contextmanager
def late_end(path: bytes | str, folder: int | None = None) -> Iterator[None]:
    """Let a file that is replaced meanwhile end behind the caller's back: freeing a GB takes a while."""
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


def whole_digest(fd: int) -> bytes:
    """The digest of all of a file."""
    found = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with open(fd, "rb", buffering=0, closefd=False) as file:
        while True:
            got = file.readinto(buffer)
            if not got:
                return found.digest()[:DIGEST]
            found.update(buffer[:got])


def write_at(fd: int, data: Any, at: int) -> None:
    """All of `data` to a file at `at`."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, at)
        view = view[done:]
        at += done


def extents(fd: int, size: int) -> list[tuple[int, int]]:
    """Where a file has data, from and to: all of it where the system does not tell of holes."""
    if not hasattr(os, "SEEK_DATA"):
        return [(0, size)] if size else []
    found: list[tuple[int, int]] = []
    at = 0
    try:
        while at < size:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = min(size, os.lseek(fd, start, os.SEEK_HOLE))
            if len(found) > 10000:
                return [(0, size)]
            found.append((start, at))
    except OSError as err:
        if err.errno != errno.ENXIO:  # nothing but a hole to the end
            return [(0, size)] if size else []
    return found


def read_as_listed(fd: int, size: int, mtime: int) -> bytes | None:
    """A small file's content, or None if it is not as it was listed."""
    data = os.read(fd, size + 1)
    while len(data) < size:
        more = os.read(fd, size + 1 - len(data))
        if not more:
            return None
        data += more
    facts = os.fstat(fd)
    return data if len(data) == size == facts.st_size and facts.st_mtime_ns == mtime else None

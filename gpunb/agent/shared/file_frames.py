"""Frames, listings and digests of a file transfer: the same code at both ends.

A frame is a u32 length, one byte that says what it is, and so many bytes. The
client asks, the host's `files` answers in the same order:

    J  JSON call -> J JSON answer       L  list one folder -> L
    T  walk a tree -> L ... Z           G  small files -> S
    R  a range of a file -> P ... R     H  digests of a file's blocks -> H ... Z
    W  small files, written             D  a piece of a large file, written
    Q  a number -> Q the same number, when all before it is done

W and D have no answer; what failed of them comes as X before the next Q, and
as K how many files are in place without their mode or time, and why.
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
# times are two numbers, seconds and nanoseconds: in one of 64 bits nothing before 1677 or after 2262 fits
ENTRY = struct.Struct(">BHQqIQQHH")  # kind, mode, size, mtime, bytes of data, inode, lengths of name and goal
WANT = struct.Struct(">HQqIQ")  # length of path, size, mtime, inode: a file as it was listed
GIVE = struct.Struct(">HHqII")  # length of path, mode, mtime, size: a file to be written
DATA = struct.Struct(">IQH")  # number, offset, length of path
RANGE = struct.Struct(">QQBHQqIQ")  # offset, length, compress, then WANT
CONTENT = struct.Struct(
    ">BIqI"
)  # AS_LISTED and the size, REFUSED and the length of a reason, or NEWER with mtime
AS_LISTED, REFUSED, NEWER = 0, 1, 2

FILE, FOLDER, LINK, SPECIAL = 102, 100, 108, 115
SMALL = 1 << 19  # bytes up to which a file goes whole, in a bundle
PIECE = 1 << 20  # bytes of a large file in one frame
BLOCK = 1 << 18  # bytes that are compared by one digest
DIGEST = 16
SHORT = "a listing that ends too early"
CHANGED = "it changed while it was read"

# what a disk says that does not rename over what is there, or not at all: some mounts of stores
NO_RENAME = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EEXIST)
NS = 10**9
_zeros: "dict[int, bytes]" = {}
MOST_NEWER = 8 << 20  # bytes by which a bundle may be longer than it was listed

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
    link leads, bytes of data (less than the size for a file with holes), and
    inode. A folder's size is 1 if it is a virtual environment, else 0.
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
                found.append((name, kind, mode & 0o777, size, facts.st_mtime_ns, goal, held, facts.st_ino))
            except FileNotFoundError:
                continue
    finally:
        os.close(fd)
    return found


def _held(name: bytes, fd: int, size: int) -> int:
    """Bytes of data of a file that may have holes; a disk that packs files has few blocks and no holes."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    except OSError:
        return size
    try:
        return sum(end - start for start, end in extents(file, size))
    finally:
        os.close(file)


def stays_inside(path: Any, goal: Any) -> bool:
    """Whether a link at `path` leading to `goal` can't leave the root; both are text, or bytes.

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
    """The entries of `folder` below `top`, a link that leads out of it standing for what it leads to.

    Not followed is what leads to a folder that it is in, by whatever way (it
    would have no end), into the system's own (/proc, /sys, /dev), or to nothing.
    """
    found = []
    for entry in entries:
        path = folder + b"/" + entry[0] if folder else entry[0]
        if entry[1] == LINK and not stays_inside(path, entry[5]):
            found.append(_led_to(top, path, entry))
        else:
            found.append(entry)
    return found


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


def pack_entries(entries: list[Any]) -> bytes:
    """A folder's entries for the wire."""
    pack = ENTRY.pack
    return b"".join(
        [
            pack(kind, mode, size, mtime // NS, mtime % NS, held, inode, len(name), len(goal)) + name + goal
            for name, kind, mode, size, mtime, goal, held, inode in entries
        ]
    )


def unpack_entries(data: bytes) -> list[Any]:
    """What `pack_entries` was given; `ValueError` if it can't be."""
    found = []
    at, end, width = 0, len(data), ENTRY.size
    unpack = ENTRY.unpack_from
    try:
        while at < end:
            kind, mode, size, seconds, nanos, held, inode, named, led = unpack(data, at)
            at += width
            middle = at + named
            last = middle + led
            if last > end:
                raise ValueError(SHORT)
            mtime = seconds * NS + nanos
            found.append((data[at:middle], kind, mode & 0o777, size, mtime, data[middle:last], held, inode))
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
    goes: Callable[[bytes, bool], bool], failed: Callable[[bytes, OSError], None], follow: bool = False
) -> Iterator[tuple[bytes, list[Any]]]:
    """The folders below the working directory, parents first, in the order of their names.

    `goes` is asked of each folder, and told whether it is a virtual
    environment; `failed` gets what can't be read; `follow` as in `followed`.
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


def blocks(fd: int, size: int) -> Iterator[bytes]:
    """The digest of each block of a file up to `size`; holes are not read."""
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
    """Copy a file's first `size` bytes, holes as holes: by the system, which may share them, or by hand."""
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


def take_name(part: "bytes | str", path: "bytes | str", folder: "int | None" = None) -> None:
    """Let a part take its name: in one step, where the disk can.

    Where it does not rename over what is there, that goes first; where it does
    not rename at all, the content is copied.
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
    with contextlib.suppress(OSError):  # one that is open has to be renamed for it, on some mounts
        os.unlink(part, dir_fd=folder)
    return None


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


def as_listed(facts: os.stat_result, size: int, mtime: int, inode: int) -> bool:
    """Whether the first `size` bytes that were read are the file that was listed.

    A log that a job writes grows all the time: what was listed of it is still
    there. A file that took its place is another one (`inode`; 0 is not known).
    """
    if facts.st_size == size:
        return facts.st_mtime_ns == mtime
    return facts.st_size > size and inode in (0, facts.st_ino)


def read_as_listed(fd: int, size: int, mtime: int, inode: int) -> tuple[bytes, int] | None:
    """A small file's content and its mtime in ns; None if it does not come to rest.

    As it was listed, or if it was written anew since then, as it is now (then
    the time differs); of one that only grew, the part that was listed.
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
    """Give a file its mode and time (in ns); what the file system says where it does not keep them.

    A mount of a store, a network volume or a FAT disk may refuse both, and
    the content is in place all the same. With `own` false, `target` is a path
    whose file may not be there: that is raised.
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

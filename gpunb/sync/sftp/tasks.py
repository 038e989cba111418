"""File operations over one SFTP channel, each a task of `gpunb.sync.sftp.protocol`."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from gpunb.errors import ProtocolError
from gpunb.sync.planning.side import name_problem
from gpunb.sync.sftp import protocol as wire
from gpunb.sync.sftp.host_tree import encode
from gpunb.sync.sftp.protocol import Attrs, Fault, Pump, Request, Stream, Task, string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "APPEND",
    "CREATE",
    "EXCLUSIVE",
    "READ",
    "TRUNCATE",
    "WRITE",
    "attrs_at",
    "closing",
    "fetch_range",
    "listing",
    "open_file",
    "os_error",
    "streamed",
    "take_name",
    "write_range",
]

READ, WRITE, APPEND, CREATE, TRUNCATE, EXCLUSIVE = 1, 2, 4, 8, 16, 32
_MOST_NAMES = 5_000_000


def write_range(pump: Pump, path: str, start: int, end: int, read: Callable[[int, int], bytes]) -> Task:
    """Write the results of ``read(at, size)`` to bytes `start` to `end` of an existing file."""
    handle = yield open_file(path, WRITE)

    def writes() -> Iterator[tuple[int, Request]]:
        for at in range(start, end, pump.write_size):
            piece = read(at, min(pump.write_size, end - at))
            yield at, Request(wire.WRITE, string(handle) + at.to_bytes(8, "big") + string(piece), len(piece))

    yield from closing(handle, streamed(writes()))


def fetch_range(
    pump: Pump,
    path: str,
    start: int,
    end: int,
    *,
    keep: Callable[[int, bytes], None],
    short: Callable[[int], None],
) -> Task:
    """Read bytes `start` to `end` into `keep`; calls `short` with the offset if the file ends earlier."""
    handle = yield open_file(path, READ)
    yield from closing(handle, _Range(handle, keep, short).fetch(start, end, pump.read_size))


class _Range:
    """One range being fetched: the requests that are not answered yet."""

    def __init__(
        self, handle: bytes, keep: Callable[[int, bytes], None], short: Callable[[int], None]
    ) -> None:
        self._handle, self._keep, self._short = handle, keep, short
        self._asked: dict[int, tuple[int, int]] = {}

    def fetch(self, start: int, end: int, step: int) -> Task:
        try:
            yield Stream(self._reads(start, end, step), self._take)
        except Fault as fault:
            if fault.code != wire.EOF:
                raise
            # the file is shorter than requested: read again, one by one, to find its end
            for tag in sorted(self._asked):
                yield from self._slowly(tag)

    def _reads(self, start: int, end: int, step: int) -> Iterator[tuple[int, Request]]:
        for at in range(start, end, step):
            self._asked[at] = at, min(step, end - at)
            yield at, self._read(at)

    def _read(self, tag: int) -> Request:
        at, size = self._asked[tag]
        body = string(self._handle) + at.to_bytes(8, "big") + size.to_bytes(4, "big")
        return Request(wire.READ, body, size)

    def _take(self, tag: int, piece: Any) -> Request | None:
        at, size = self._asked[tag]
        if not isinstance(piece, bytes) or not 0 < len(piece) <= size:
            msg = "the host's SFTP server sent more, or less, than was asked for"
            raise ProtocolError(msg)
        self._keep(at, piece)
        if len(piece) == size:
            del self._asked[tag]
            return None
        self._asked[tag] = at + len(piece), size - len(piece)
        return self._read(tag)

    def _slowly(self, tag: int) -> Task:
        while tag in self._asked:
            try:
                piece = yield self._read(tag)
            except Fault as fault:
                if fault.code != wire.EOF:
                    raise
                self._short(self._asked.pop(tag)[0])
                return
            self._take(tag, piece)


def take_name(pump: Pump, old: str, new: str) -> Task:
    """Rename and replace an existing file, atomically where the server can."""
    pair = string(encode(old)) + string(encode(new))
    if b"posix-rename@openssh.com" in pump.extensions:
        yield Request(wire.EXTENDED, string(b"posix-rename@openssh.com") + pair)
        return
    try:
        yield Request(wire.RENAME, pair)
    except Fault:  # plain SFTP does not replace
        yield Request(wire.REMOVE, string(encode(new)))
        yield Request(wire.RENAME, pair)


def os_error(fault: Fault, path: str = "") -> OSError:
    """Convert SFTP's status to Python's exception."""
    number = {wire.NO_SUCH_FILE: errno.ENOENT, wire.DENIED: errno.EACCES}.get(fault.code)
    if number is not None:
        return OSError(number, os.strerror(number), path or None)
    return OSError(errno.EIO, fault.message, path or None)


def open_file(path: str, flags: int) -> Request:
    """Build the request that opens a file."""
    return Request(wire.OPEN, string(encode(path)) + flags.to_bytes(4, "big") + Attrs(mode=0o644).pack())


def closing(handle: bytes, inner: Task) -> Task:
    """Run `inner`, then close the handle; not when the channel is given up (`GeneratorExit`)."""
    try:
        yield from inner
    except Exception:
        with contextlib.suppress(Fault):
            yield Request(wire.CLOSE, string(handle))
        raise
    yield Request(wire.CLOSE, string(handle))


def attrs_at(kind: int, path: str, keep: Callable[[Attrs], None]) -> Task:
    """Get the attributes of `path` with ``STAT`` or ``LSTAT``."""
    found = yield Request(kind, string(encode(path)))
    if not isinstance(found, Attrs) or found.mode is None:
        msg = f"the host's SFTP server does not say what {path!r} is"
        raise ProtocolError(msg)
    keep(found)


def listing(path: str, out: list[tuple[str, Attrs, Attrs | None]]) -> Task:
    """List a folder: each name with its attributes, and for a link those of its target."""
    handle = yield Request(wire.OPENDIR, string(encode(path)))
    entries: dict[str, Attrs] = {}
    yield from closing(handle, _names(path, handle, entries))
    for name, attrs in entries.items():
        goal = None
        if stat.S_ISLNK(attrs.mode or 0):
            with contextlib.suppress(Fault):
                found = yield Request(wire.STAT, string(encode(f"{path}/{name}")))
                goal = found if isinstance(found, Attrs) else None
        out.append((name, attrs, goal))


def streamed(requests: Iterator[tuple[int, Request]]) -> Task:
    """Send requests whose answers hold nothing but success; the server takes them in this order."""
    yield Stream(requests, _nothing)


def _nothing(_tag: int, _value: Any) -> None:
    return None


def _names(path: str, handle: bytes, entries: dict[str, Attrs]) -> Task:
    ask = Request(wire.READDIR, string(handle))

    def take(_tag: int, batch: Any) -> None:
        if not isinstance(batch, list) or not batch:
            msg = "the host's SFTP server sent an empty listing"
            raise ProtocolError(msg)
        for raw, attrs in batch:
            name = raw.decode("utf-8", "surrogateescape")
            # a hostile host may list ../x to make us write there
            if name not in (".", "..") and name_problem(name, f"{path}/{name}") is None:
                entries[name] = attrs
        if len(entries) > _MOST_NAMES:
            msg = f"the host lists more than {_MOST_NAMES} names in {path!r}"
            raise ProtocolError(msg)

    ahead = 1  # a large folder comes in answers of 100 names
    while True:
        try:
            yield Stream(iter([(0, ask)] * ahead), take)
        except Fault as fault:
            if fault.code != wire.EOF:
                raise
            return
        ahead = min(16, ahead * 4)

"""An SFTP version 3 client that keeps many requests of many files in flight on one channel.

paramiko's own client waits a round trip per request outside of bulk data, and
can't hold names that are not UTF-8. Here a file is a *task*, a generator that
yields requests; one `Pump` runs hundreds of them over one channel in one
thread. Nothing that the server says is trusted: every length is checked.

The protocol: draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL file for
the extensions ``posix-rename``, ``statvfs`` and ``limits``.
"""

from __future__ import annotations

import collections
import struct
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from gpunb.errors import HostError, ProtocolError, Unreachable

if TYPE_CHECKING:
    import threading

    from gpunb.ssh.channel import Channel

__all__ = ["Attrs", "Fault", "Pump", "Request", "Stream", "Task", "string"]

INIT, VERSION, OPEN, CLOSE, READ, WRITE = 1, 2, 3, 4, 5, 6
LSTAT, SETSTAT, FSETSTAT, OPENDIR, READDIR, REMOVE = 7, 9, 10, 11, 12, 13
MKDIR, RMDIR, REALPATH, STAT, RENAME, READLINK, SYMLINK, EXTENDED = 14, 15, 16, 17, 18, 19, 20, 200
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS, _EXT_REPLY = 101, 102, 103, 104, 105, 201

EOF, NO_SUCH_FILE, DENIED, UNSUPPORTED = 1, 2, 3, 8

# sftp-server's longest message is 256 KiB; others may send longer listings
_LONGEST = 4 * 2**20
_STALL_S = 90.0
_BATCH = 2**16
_SHORT = "a packet that ends too early"
_STRAY = "an answer to a request that was not made"

IN_FLIGHT = 8 * 2**20
"""Bytes asked for and not yet there, or sent and not yet confirmed, per channel.

Well below the channel's receive window: the server can then always answer,
so sending without reading in between can't lock both sides up.
"""


class Fault(HostError):
    """The server answered with a status other than OK; `code` is SFTP's."""

    def __init__(self, code: int, text: str) -> None:
        words = {NO_SUCH_FILE: "no such file", DENIED: "permission denied", UNSUPPORTED: "not supported"}
        super().__init__(words.get(code) or text or f"SFTP status {code}")
        self.code = code


@dataclass(slots=True)
class Attrs:
    """The attributes of a file; None where the server does not send them."""

    size: int | None = None
    mode: int | None = None
    mtime: int | None = None
    nanos: int = 0  # these are known through the agent only, not in SFTP
    inode: int = 0

    def pack(self) -> bytes:
        """Encode the attributes for a request."""
        flags, body = 0, b""
        if self.size is not None:
            flags |= 1
            body += struct.pack(">Q", self.size)
        if self.mode is not None:
            flags |= 4
            body += struct.pack(">I", self.mode)
        if self.mtime is not None:
            flags |= 8
            stamp = min(max(self.mtime, 0), 2**32 - 1)
            body += struct.pack(">II", stamp, stamp)
        return struct.pack(">I", flags) + body


@dataclass(slots=True)
class Request:
    """One request; `cost` is the bulk bytes that it moves in either direction."""

    kind: int
    body: bytes
    cost: int = 0


@dataclass(slots=True)
class Stream:
    """Many requests of one task, sent as the window allows, answered in any order.

    `sink` gets each answer, and may return one more request (the rest of a
    short read).
    """

    requests: Iterator[tuple[int, Request]]
    sink: Callable[[int, Any], Request | None]


Task: TypeAlias = Generator[Request | Stream, Any, None]


class _Open:
    """A stream in progress: the task that waits for it, and the number of open requests."""

    __slots__ = ("fault", "pending", "requests", "single", "sink", "task", "value")

    def __init__(self, task: Task, what: Request | Stream) -> None:
        self.task = task
        self.single = isinstance(what, Request)
        self.pending = 0
        self.fault: Exception | None = None
        self.value: Any = None
        self.sink: Callable[[int, Any], Request | None]
        self.requests: Iterator[tuple[int, Request]]
        if isinstance(what, Request):
            self.requests, self.sink = iter([(0, what)]), self._keep
        else:
            self.requests, self.sink = what.requests, what.sink

    def _keep(self, _tag: int, value: Any) -> None:
        self.value = value


class Pump:
    """Runs tasks over one SFTP channel, in the calling thread.

    Parameters
    ----------
    channel
        The ``sftp`` subsystem, just opened; closed by `close`.
    stop
        When set, `run` ends with `Unreachable` at its next iteration.
    """

    def __init__(self, channel: Channel, stop: threading.Event | None = None) -> None:
        self._channel = channel
        self._stop = stop
        self._buffer = bytearray()
        self._out = bytearray()
        self._next = 0
        self._waiting: dict[int, tuple[_Open, int, int]] = {}
        self._ready: collections.deque[_Open] = collections.deque()
        self._in_flight = 0
        self._active = 0
        self.write_size = 2**15
        self.read_size = 2**15
        channel.doing = "while files moved over SFTP"
        channel.settimeout(_STALL_S)
        self._put(struct.pack(">BI", INIT, 3))
        self._flush()
        kind, body = self._packets()[0]
        if kind != VERSION or int.from_bytes(body[:4], "big") != 3:
            msg = f"the host's SFTP server speaks another version (packet {kind})"
            raise ProtocolError(msg)
        self.extensions = self._extensions(body[4:])
        if b"limits@openssh.com" in self.extensions:
            self.one(self._learn_limits())

    def run(self, source: Callable[[], Task | None], *, most: int = 64) -> None:
        """Run tasks from `source` until it returns None and all have ended.

        Parameters
        ----------
        most
            Tasks at once.

        Raises
        ------
        Unreachable
            The channel broke, or was silent for 90 s.
        ProtocolError
            Bytes that are not SFTP.
        """
        try:
            while True:
                while self._active < most and (task := source()) is not None:
                    self._active += 1
                    self._step(task, None, None)
                if not self._active:
                    return
                self._fill()
                self._flush()
                self._receive()
        finally:
            for opened, _, _ in list(self._waiting.values()):
                opened.task.close()
            for opened in self._ready:
                opened.task.close()
            if self._active:  # ended early: late answers would confuse the next run
                self.close()

    def one(self, task: Task) -> None:
        """Run a single task and raise its error, if any."""
        failures: list[Exception] = []

        def guarded() -> Task:
            try:
                yield from task
            except Exception as err:  # noqa: BLE001 - raised again below
                failures.append(err)

        todo = [guarded()]
        self.run(lambda: todo.pop() if todo else None)
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Close the channel. Does nothing twice."""
        self._channel.close()

    # -- the event loop

    def _step(self, task: Task, value: Any, fault: Exception | None) -> None:
        try:
            what = task.throw(fault) if fault is not None else task.send(value)
        except StopIteration:
            self._active -= 1
            return
        self._ready.append(_Open(task, what))

    def _fill(self) -> None:
        while self._ready and (self._in_flight < IN_FLIGHT or not self._waiting):
            opened = self._ready[0]
            try:
                entry = None if opened.fault else next(opened.requests, None)
            except Exception as err:  # noqa: BLE001 - the task's own: a file that can't be read
                opened.fault, entry = err, None
            if entry is None:
                self._ready.popleft()
                self._ended(opened)
            else:
                self._send(opened, *entry)
                if len(self._out) >= _BATCH:
                    self._flush()
                if opened.single:
                    self._ready.popleft()
                else:
                    self._ready.rotate(-1)

    def _ended(self, opened: _Open) -> None:
        """Resume the task of a stream that sends nothing more, once all requests are answered."""
        if opened.pending == 0:
            self._step(opened.task, opened.value, opened.fault)
        else:
            opened.single = True  # the last answer resumes it

    def _send(self, opened: _Open, tag: int, request: Request) -> None:
        self._next = (self._next + 1) & 0xFFFFFFFF
        self._waiting[self._next] = (opened, tag, request.cost)
        opened.pending += 1
        self._in_flight += request.cost
        self._put(struct.pack(">BI", request.kind, self._next) + request.body)

    def _receive(self) -> None:
        if not self._waiting:
            return
        for kind, body in self._packets():
            if len(body) < 4:
                raise _bad(_SHORT)
            entry = self._waiting.pop(int.from_bytes(body[:4], "big"), None)
            if entry is None:
                raise _bad(_STRAY)
            opened, tag, cost = entry
            self._in_flight -= cost
            opened.pending -= 1
            try:
                value = _parse(kind, body[4:])
                more = opened.sink(tag, value)
            except ProtocolError:
                raise
            except Exception as err:  # noqa: BLE001 - the task's own: a status, a full disk
                opened.fault = opened.fault or err
            else:
                if more is not None and opened.fault is None:
                    self._send(opened, tag, more)
            if opened.single and opened.pending == 0:
                self._step(opened.task, opened.value, opened.fault)

    def _packets(self) -> list[tuple[int, bytes]]:
        """Return the packets received so far; waits for at least one."""
        from gpunb.ssh.connection import WINDOW

        buffer, at = self._buffer, 0
        result: list[tuple[int, bytes]] = []
        while not result:
            if self._stop is not None and self._stop.is_set():
                msg = "the transfer was stopped"
                raise Unreachable(msg)
            buffer += self._channel.take(WINDOW)
            while len(buffer) - at >= 4:
                size = int.from_bytes(buffer[at : at + 4], "big")
                if not 1 <= size <= _LONGEST:
                    msg = f"a packet of {size} bytes"
                    raise _bad(msg)
                if len(buffer) - at - 4 < size:
                    break
                end = at + 4 + size
                with memoryview(buffer) as view:
                    result.append((buffer[at + 4], bytes(view[at + 5 : end])))
                at = end
        del buffer[:at]
        return result

    def _put(self, packet: bytes) -> None:
        self._out += len(packet).to_bytes(4, "big")
        self._out += packet

    def _flush(self) -> None:
        if self._out:
            data, self._out = bytes(self._out), bytearray()
            self._channel.sendall(data)

    def _learn_limits(self) -> Task:
        answer = yield Request(EXTENDED, string(b"limits@openssh.com"))
        if isinstance(answer, bytes) and len(answer) >= 24:
            self.read_size = _sane(answer[8:16])
            self.write_size = _sane(answer[16:24])

    @staticmethod
    def _extensions(body: bytes) -> dict[bytes, bytes]:
        result: dict[bytes, bytes] = {}
        reader = _Reader(body)
        while reader.left() and len(result) < 100:
            name = reader.string()
            result[name] = reader.string()
        return result


def _sane(limit: bytes) -> int:
    """The host's limit of one read or write, clamped to ours; 0 means that it has none."""
    return max(2**12, min(2**17, int.from_bytes(limit, "big") or 2**17))


def string(data: bytes) -> bytes:
    """Encode SFTP's string: a length and the bytes."""
    return len(data).to_bytes(4, "big") + data


class _Reader:
    """Reads the fields of a packet; a short one is a `ProtocolError`."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        if size > self.left():
            raise _bad(_SHORT)
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def attrs(self) -> Attrs:
        attrs, flags = Attrs(), self.number()
        if flags & 1:
            attrs.size = self.number(8)
        if flags & 2:
            self.take(8)
        if flags & 4:
            attrs.mode = self.number()
        if flags & 8:
            self.take(4)
            attrs.mtime = self.number()
        if flags & 0x80000000:
            for _ in range(self.number()):
                self.string()
                self.string()
        return attrs


def _parse(kind: int, body: bytes) -> Any:
    """Parse an answer: bytes (handle, data, extension), attributes, names, or None for OK."""
    reader = _Reader(body)
    if kind == _STATUS:
        code = reader.number()
        if code == 0:
            return None
        text = reader.string().decode("utf-8", "replace") if reader.left() else ""
        raise Fault(code, text[:200])
    if kind in (_HANDLE, _DATA):
        return reader.string()
    if kind == _ATTRS:
        return reader.attrs()
    if kind == _EXT_REPLY:
        return body
    if kind == _NAME:
        names = []
        for _ in range(reader.number()):
            name = reader.string()
            reader.string()
            names.append((name, reader.attrs()))
        return names
    msg = f"a packet of kind {kind}"
    raise _bad(msg)


def _bad(what: str) -> ProtocolError:
    msg = f"the host's SFTP server sent {what}"
    return ProtocolError(
        msg, hint="the host's answers can't be trusted; nothing was written outside of the target"
    )

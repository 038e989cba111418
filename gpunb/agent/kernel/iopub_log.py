"""The kernel's IOPub as files: its messages are on disk before they are read.

The kernel's process appends each message to the newest of several files and
notifies the agent through a datagram socket; the agent continues reading where
it was. So neither an agent that is slow, killed or restarted nor a kernel that
is killed loses a sent message, and no memory grows while the agent does not
read. A position is ``[file, offset]`` of the end of a message.
"""

from __future__ import annotations

import collections
import contextlib
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_U32 = struct.Struct(">I")
ROTATE = 64 << 20  # bytes after which a new file is begun
CHUNK = 1 << 20
# topics that are not urgent: "busy", and the cell's own code
QUIET = (b".status", b".execute_input")


def _name(folder: str, number: int) -> str:
    return os.path.join(folder, "out-%06d" % number)


def numbers(folder: str) -> list[int]:
    """List the numbers of the existing files, oldest first."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        found = [
            int(name[4:]) for name in os.listdir(folder) if name.startswith("out-") and name[4:].isdigit()
        ]
    return sorted(found)


def clear(folder: str) -> None:
    """Remove all files of a kernel that has ended."""
    for number in numbers(folder):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_name(folder, number))


class Outlet:
    """The kernel's end, in place of ipykernel's IOPub socket.

    Any thread may send, and be interrupted. A message that the disk has no
    room for is counted, and the count is reported before the next one that fits.
    """

    type = None  # not a ZMQ type, so that ipykernel sets no options on it
    closed = False

    def __init__(self, folder: str, poke: str, context: Any = None) -> None:
        self.context = context  # ipykernel creates its own inner sockets from it
        self._folder = folder
        self._poke_path = poke
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._number = (numbers(folder) or [0])[-1] + 1
        self._lost = 0
        self._writing = threading.Lock()
        self._file = self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        return os.open(_name(self._folder, self._number), flags, 0o600)

    def send_multipart(self, parts: Sequence[Any], *_args: Any, **_more: Any) -> None:
        """Append one message, and notify the agent unless it can be read with the next one.

        At a cell's start the agent should not compete for the processor.
        """
        with self._writing:
            try:
                if self._lost:
                    self._write([b"lost", b"%d" % self._lost])
                    self._lost = 0
                self._write([bytes(part) if not isinstance(part, bytes) else part for part in parts])
            except OSError:
                self._lost += sum(len(memoryview(part)) for part in parts)
        if bytes(parts[0]).endswith(QUIET) and b'"idle"' not in bytes(parts[-1]):
            return
        with contextlib.suppress(OSError):  # no agent, or enough notifications are pending
            self._socket.sendto(b"", self._poke_path)

    def _write(self, parts: Sequence[bytes]) -> None:
        data = b"".join([_U32.pack(len(parts)), *[_U32.pack(len(part)) for part in parts], *parts])
        view = memoryview(_U32.pack(len(data)) + data)
        start = os.lseek(self._file, 0, os.SEEK_END)
        at = 0
        try:
            while at < len(view):
                at += os.write(self._file, view[at:])
        except OSError:
            os.ftruncate(self._file, start)
            raise
        if start + at >= ROTATE:
            previous = self._file
            self._number += 1
            self._file = self._open()
            os.close(previous)

    def close(self, *_args: Any, **_more: Any) -> None:
        """Close file and socket."""
        if not self.closed:
            self.closed = True
            os.close(self._file)
            self._socket.close()


class Inlet:
    """The agent's end: reads messages, oldest first, and deletes files that are done with."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._number = 0
        self._file = -1
        self._offset = 0
        self._ready: collections.deque[tuple[list[int], list[bytes]]] = collections.deque()
        self.turned = False  # some files have been read to their end

    def read(self) -> Iterator[tuple[list[int], list[bytes]]]:
        """Yield ``(position, parts)`` of each whole message there is now.

        May be stopped in the middle: the next call continues there.
        """
        while True:
            while self._ready or self._messages():
                yield self._ready.popleft()
            if not self._next():
                return

    def _messages(self) -> bool:
        """Read the next messages into the queue; False if there are none."""
        if self._file < 0:
            return False
        data = os.pread(self._file, CHUNK, self._offset)
        if len(data) >= 4:
            need = 4 + _U32.unpack_from(data)[0]
            while len(data) < need:  # one message larger than a chunk
                more = os.pread(self._file, need - len(data), self._offset + len(data))
                if not more:
                    break
                data += more
        at = 0
        while len(data) - at >= 4:
            end = at + 4 + _U32.unpack_from(data, at)[0]
            if end > len(data):
                break
            self._ready.append(([self._number, self._offset + end], _split(data, at + 4)))
            at = end
        self._offset += at
        return at > 0

    def _next(self) -> bool:
        """Open the next file; the one before is complete, since the kernel has left it."""
        later = [number for number in numbers(self._folder) if number > self._number]
        if not later:
            return False
        if self._file >= 0:
            if os.fstat(self._file).st_size > self._offset:
                return True  # data was appended since our read
            os.close(self._file)
            self.turned = True
        self._number, self._offset = later[0], 0
        self._file = os.open(_name(self._folder, self._number), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        return True

    def drop_read(self) -> None:
        """Delete the files before the one being read; all their messages are in journals."""
        for number in numbers(self._folder):
            if number < self._number:
                os.unlink(_name(self._folder, number))
        self.turned = False

    def close(self) -> None:
        """Close the file being read."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _split(data: bytes, at: int) -> list[bytes]:
    (count,) = _U32.unpack_from(data, at)
    sizes = [_U32.unpack_from(data, at + 4 * (index + 1))[0] for index in range(count)]
    start = at + 4 * (count + 1)
    parts = []
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    return parts

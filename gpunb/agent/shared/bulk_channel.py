"""The kernel's end of a bulk channel: the descriptors that sshd itself reads and writes.

The process that sshd has started for the channel passes its stdin and stdout
to the kernel over a private socket, and waits until the kernel is done. So no
process copies a variable's bytes between sshd and the kernel.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import mmap
import os
import select
import socket
import stat
from typing import Any

PATIENCE = 60.0  # seconds that the other end may stall
BUFFER = 1 << 20
LARGE = 4 << 20  # bytes from which memory is mapped
F_SETPIPE_SZ = 1031  # Linux; Python names it from 3.10 on


def lend(line: socket.socket) -> None:
    """Pass this process's stdin and stdout to the kernel at the other end of `line`, until it hangs up."""
    rights = array.array("i", [0, 1])
    line.sendmsg([b"+"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights.tobytes())])
    line.recv(1)


class BulkLine:
    """The byte stream of the channel whose process listens at `path`."""

    def __init__(self, path: str) -> None:
        self._ends: list[int] = []
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._line.settimeout(PATIENCE)
            self._line.connect(path)
            _, more, _, _ = self._line.recvmsg(1, socket.CMSG_SPACE(2 * array.array("i").itemsize))
            ends = array.array("i")
            for level, kind, data in more:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    ends.frombytes(data[: len(data) - len(data) % ends.itemsize])
            self._ends = list(ends)
            self._widen()
        except BaseException:
            self.close()
            raise

    def _widen(self) -> None:
        """Enlarge the pipe or socket buffers, for fewer context switches between sshd and this process."""
        if len(self._ends) != 2:
            msg = "the channel's process ended"
            raise EOFError(msg)
        for end in self._ends:
            os.set_blocking(end, False)
            with contextlib.suppress(OSError):
                if stat.S_ISFIFO(os.fstat(end).st_mode):
                    fcntl.fcntl(end, F_SETPIPE_SZ, BUFFER)
                else:
                    with socket.socket(fileno=os.dup(end)) as same:
                        same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)

    def recv_into(self, view: memoryview) -> int:
        """Read into `view`; 0 at the end."""
        while True:
            try:
                return os.readv(self._ends[0], [view])
            except BlockingIOError:
                _wait(self._ends[0], select.POLLIN)

    def sendall(self, data: Any) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._ends[1], view) :]
            except BlockingIOError:
                _wait(self._ends[1], select.POLLOUT)

    def close(self) -> None:
        """Close the channel, which ends its process."""
        for end in self._ends:
            os.close(end)
        self._ends = []
        self._line.close()


def _wait(end: int, what: int) -> None:
    poll = select.poll()
    poll.register(end, what)
    if not poll.poll(PATIENCE * 1000):
        raise TimeoutError("the line stood still for %d s" % PATIENCE)


def room(size: int) -> bytearray | mmap.mmap:
    """Allocate `size` writable bytes; large ones use memory only as filled, as `size` may be false."""
    return bytearray(size) if size < LARGE else mmap.mmap(-1, size)

"""stdout and stderr of the kernel, sent in pieces that fit in memory."""

from __future__ import annotations

import codecs
import os
import select
import threading
from typing import Any

from ipykernel.iostream import OutStream

FOLDER = ""  # the folder of unsent output, for the agent; "" keeps none
PIECE = 1 << 20  # characters
READ = 1 << 16  # bytes of the pipe at once
SMALL = 512  # characters of a write that is not counted: even many of these in 0.2 s are little
_write = OutStream.write


class SteadyStream(OutStream):
    """An OutStream that sends after a megabyte at most, and all of a cell's output with the cell.

    ipykernel collects output for 0.2 s without a limit: a cell that prints a
    gigabyte in that time would make one message of it, in every process involved.
    And output of C code or a child process comes through a pipe that a thread reads
    with a delay, often after the cell has ended: `drain` reads what is there now.

    The last output of a process that crashes (a C++ exception, glibc, faulthandler)
    is on the descriptor, too. It is in the pipe, which the agent holds open, or in
    the file ``unsent-NAME`` until it is sent; the agent reads both when the process
    is gone. Output that was sent just at the end is shown twice rather than never.
    """

    _held = 0
    _keep = -1  # the file's descriptor
    _kept = 0  # bytes in the file
    _buffered = 0  # of these, the bytes in the buffer that is sent next

    def __init__(self, *args: Any, **more: Any) -> None:
        self._reading = threading.Lock()
        self._keeping = threading.Lock()
        self._forked = self._written = False
        os.register_at_fork(after_in_child=self._in_child)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        super().__init__(*args, **more)  # type: ignore[no-untyped-call]

    def write(self, string: Any) -> Any:
        """Write `string`, and wait for the sending of every full megabyte.

        Returns and raises as ipykernel's own method, which differs between its versions.
        """
        self._written = True  # in case it is interrupted
        if type(string) is not str or len(string) < SMALL:
            done = _write(self, string)
        else:
            done = self._write_long(string)
        self._written = True  # in case another thread has flushed before the text was added
        return done

    def _write_long(self, string: str) -> Any:
        size = len(string)
        self._held += size
        if self._held <= PIECE:
            return _write(self, string)
        for at in range(0, size, PIECE):
            _write(self, string[at : at + PIECE])
            self.flush()
        self._held = 0
        return size

    def _in_child(self) -> None:
        self._forked = True

    def _is_master_process(self) -> bool:
        return not self._forked  # called with each write, where getpid() would cost a system call

    def flush(self) -> None:
        """Wait until all written text is sent; the sending thread is woken only if needed."""
        if self._written or self._forked:
            self._written = False
            super().flush()  # type: ignore[no-untyped-call]

    def _setup_stream_redirects(self, name: str) -> None:
        if FOLDER:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
            self._keep = os.open(os.path.join(FOLDER, "unsent-" + name), flags, 0o600)
        super()._setup_stream_redirects(name)  # type: ignore[no-untyped-call]

    def _flush(self) -> None:
        sent = self._buffered
        super()._flush()  # type: ignore[no-untyped-call]
        if not sent or self._forked:
            return
        with self._keeping:
            if self._kept == sent:  # nothing was added since
                os.ftruncate(self._keep, 0)
                self._kept = self._buffered = 0

    def _take(self) -> bytes:
        """Read from the pipe; where possible, the data is in the file before it leaves the pipe."""
        splice: Any = getattr(os, "splice", None)  # Python 3.10, Linux
        if self._keep < 0 or splice is None:
            return os.read(self._fid, READ)  # type: ignore[arg-type,unused-ignore]
        with self._keeping:
            try:
                at = self._kept
                self._kept += splice(
                    self._fid, self._keep, READ, offset_dst=at, flags=getattr(os, "SPLICE_F_NONBLOCK", 2)
                )
                return os.pread(self._keep, self._kept - at, at)
            except BlockingIOError:
                raise
            except OSError:  # disk full, or splice is not supported
                return os.read(self._fid, READ)  # type: ignore[arg-type,unused-ignore]

    def _watch_pipe_fd(self) -> None:
        """Send data written to the descriptor, in a thread."""
        if self._fid is None:
            return
        os.set_blocking(self._fid, False)
        while self._should_watch and select.select([self._fid], [], []):
            with self._reading:
                if not self._pass_on():
                    return

    def _pass_on(self) -> bool:
        """Send the pipe's content; False at its end."""
        while self._should_watch:
            try:
                data = self._take()
            except BlockingIOError:
                return True
            if not data:
                return False
            self.write(self._decoder.decode(data))
            self._buffered = self._kept
        return False

    def drain(self) -> None:
        """Send the data written to the descriptor so far."""
        if getattr(self, "_fid", None) is None or not self._should_watch:
            return
        # a forked child's lock may be held for ever by a thread that it does not have
        if self._reading.acquire(timeout=1.0):
            try:
                self._pass_on()
            finally:
                self._reading.release()

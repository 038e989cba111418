"""Child process behind an SSH channel: pipes or a terminal, moved without blocking the loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from gpunb.providers.local.terminal import own_terminal, resize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gpunb.providers.local.terminal import TerminalSpec

__all__ = ["Child", "Reaper"]

_CHUNK = 256 * 1024
_STDIN_HIGH = 1024 * 1024


class Reaper:
    """Waits for every child of this process, adopted orphans included."""

    def __init__(self) -> None:
        self._waiting: dict[int, Callable[[int], None]] = {}

    def install(self) -> None:
        """Install the handler; call once, in the running loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._collect)

    def watch(self, pid: int, ended: Callable[[int], None]) -> None:
        """Call ``ended(code)`` when `pid` ends; the code is -N for signal N."""
        self._waiting[pid] = ended

    def _collect(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._waiting.pop(pid, None)
            if ended is not None:
                ended(os.waitstatus_to_exitcode(status))


class Child:
    """One child process and our ends of its pipes, or of its terminal.

    Parameters
    ----------
    write
        Takes ``(data, is_stderr)``; may call `pause` from within.
    finished
        Called once, when the process has ended and all its output was
        written; like sshd, without a terminal this waits until no process holds
        the output pipes any more.
    input_full
        Called with True when no more input should come, with False when it may again.
    """

    def __init__(
        self,
        *,
        write: Callable[[bytes, bool], None],
        finished: Callable[[int], None],
        input_full: Callable[[bool], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._write = write
        self._finished = finished
        self._input_full = input_full
        self._process: subprocess.Popen[bytes] | None = None
        self._code: int | None = None
        self._outputs: dict[int, bool] = {}  # descriptor: whether it is stderr
        self._input = -1
        self._pending = bytearray()
        self._input_ends = False
        self._throttled = False
        self._paused = False
        self._terminal = False
        self._done = False

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        reaper: Reaper,
        terminal: TerminalSpec | None = None,
    ) -> None:
        """Start `argv` as the leader of a new session.

        Raises
        ------
        OSError
            It can't be run; nothing is left open.
        """
        ours: list[int] = []
        theirs: list[int] = []
        env = dict(env)
        try:
            if terminal is None:
                for reads in (True, False, False):
                    read, write = os.pipe()
                    theirs.append(read if reads else write)
                    ours.append(write if reads else read)
                streams = theirs
            else:
                master, slave = terminal.open()
                ours.append(master)
                theirs.append(slave)
                streams = [slave, slave, slave]
                env["SSH_TTY"] = os.ttyname(slave)  # as sshd does
            self._process = subprocess.Popen(
                argv,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                cwd=cwd,
                env=env,
                start_new_session=True,
                # the only way to a controlling terminal; this process has no thread that holds a lock
                preexec_fn=own_terminal if terminal else None,  # noqa: PLW1509
            )
        except BaseException:
            for descriptor in ours:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        reaper.watch(self._process.pid, self._ended)
        for descriptor in ours:
            os.set_blocking(descriptor, False)
        self._terminal = terminal is not None
        self._input = ours[0]
        outputs = ours if terminal else ours[1:]
        self._outputs = {descriptor: number == 1 for number, descriptor in enumerate(outputs)}
        self._listen()

    def signal(self, number: int) -> None:
        """Send a signal to the process and its group."""
        if self._process is not None and self._code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def resize(self, size: Sequence[int]) -> None:
        """Set the terminal's size to that of the client's window."""
        if self._terminal and self._input >= 0:
            resize(self._input, size)

    def feed(self, data: bytes) -> None:
        """Write input from the client."""
        if self._input < 0:
            return
        if not self._pending:
            data = data[self._put(data) :]
            if not data or self._input < 0:
                return
            self._loop.add_writer(self._input, self._drain)
        self._pending += data
        if len(self._pending) > _STDIN_HIGH and not self._throttled:
            self._throttled = True
            self._input_full(True)

    def feed_end(self) -> None:
        """End the input; a terminal has no end of file, so none is made up there."""
        self._input_ends = True
        if not self._pending and not self._terminal:
            self._close_input()

    def pause(self) -> None:
        """Stop reading output until `resume`."""
        self._paused = True
        for descriptor in self._outputs:
            self._loop.remove_reader(descriptor)

    def resume(self) -> None:
        """Resume reading output."""
        if self._paused:
            self._paused = False
            self._listen()

    def release(self) -> None:
        """Close all ends when the client is gone; a writing process gets SIGPIPE or SIGHUP, as under sshd."""
        self._done = True
        self._pending.clear()
        self._close_input()
        for descriptor in list(self._outputs):
            self._close_output(descriptor)

    def _listen(self) -> None:
        for descriptor in self._outputs:
            self._loop.add_reader(descriptor, self._read, descriptor)
        if self._terminal and self._code is not None:
            self._loop.call_soon(self._last_words)

    def _read(self, descriptor: int) -> bool:
        """Move one chunk; return False if there is nothing now, or no more."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        except OSError as err:
            # EIO: no process has the terminal open any more
            if err.errno != errno.EIO:
                raise
            data = b""
        if not data:
            self._close_output(descriptor)
            self._maybe_finish()
            return False
        self._write(data, self._outputs[descriptor])
        return True

    def _last_words(self) -> None:
        """Read the rest when the terminal's process has ended; background programs don't delay that."""
        for descriptor in list(self._outputs):
            while not self._paused and descriptor in self._outputs:
                if not self._read(descriptor):
                    break
            if not self._paused and descriptor in self._outputs:
                self._close_output(descriptor)
        self._maybe_finish()

    def _put(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._input, data)
        except BlockingIOError:
            return 0
        except OSError:  # EPIPE, EIO: no process reads it
            self._pending.clear()
            self._close_input()
            return len(data)

    def _drain(self) -> None:
        sent = self._put(self._pending)
        del self._pending[:sent]
        if self._throttled and len(self._pending) < _STDIN_HIGH // 2:
            self._throttled = False
            self._input_full(False)
        if not self._pending and self._input >= 0:
            self._loop.remove_writer(self._input)
            if self._input_ends and not self._terminal:
                self._close_input()

    def _close_input(self) -> None:
        descriptor, self._input = self._input, -1
        if descriptor >= 0:
            self._loop.remove_writer(descriptor)
            if not self._terminal:  # the terminal's master is also the output
                os.close(descriptor)
        if self._throttled:
            self._throttled = False
            self._input_full(False)

    def _close_output(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        if self._outputs.pop(descriptor, None) is not None:
            if self._terminal:
                self._input = -1
            os.close(descriptor)

    def _ended(self, code: int) -> None:
        self._code = code
        if self._process is not None:
            self._process.returncode = code  # it was waited for here, not by Popen
        if self._terminal and not self._done and not self._paused:
            self._last_words()
        self._maybe_finish()

    def _maybe_finish(self) -> None:
        if self._code is not None and not self._outputs and not self._done:
            self._done = True
            self._pending.clear()
            self._close_input()
            self._finished(self._code)

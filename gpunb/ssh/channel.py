"""The streams of one remote command, over paramiko or over the system's ssh.

paramiko raises whatever its parts raise: OSError, EOFError, SSHException, and what a
transport that ends in the middle of a call makes of its own half-closed state. This module
and its neighbours in `gpunb.ssh` alone know that: a `Channel` raises `Unreachable`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from gpunb.errors import GpunbError, HostSilent, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    import paramiko

    from gpunb.ssh.endpoint import Endpoint
    from gpunb.ssh.openssh_channel import Pipe

__all__ = ["BILLED", "Channel", "Guard", "reason"]

BILLED = "the instance may still run and be billed"
_LOG = logging.getLogger(__name__)


class Guard:
    """Context manager that converts the transport's exceptions to gpunb's errors."""

    def __init__(self, broken: Callable[[Exception], GpunbError]) -> None:
        self._broken = broken

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        if isinstance(err, Exception) and not isinstance(err, GpunbError):
            _LOG.debug("the transport raised", exc_info=err)
            raise self._broken(err) from err


class Channel:
    """A command's input and output. Safe for one reader and one writer at a time.

    Parameters
    ----------
    raw
        The transport's channel.
    alive
        Whether the connection below is up, as far as is known.

    Attributes
    ----------
    owned
        Called by `close`, if set: ends a connection that only this channel uses.
    doing, hint
        Added to an error's cause: "while files moved", and what to do next.

    Notes
    -----
    Every method but `close` raises `Unreachable` if the connection is broken, its subclass `HostSilent`
    if nothing moved for as long as `settimeout` allows, and no exception of the transport's.
    """

    def __init__(
        self, raw: paramiko.Channel | Pipe, endpoint: Endpoint, *, alive: Callable[[], bool] = lambda: True
    ) -> None:
        self.endpoint = endpoint
        self.doing = self.hint = ""
        self._raw: Any = raw
        self.owned: Callable[[], None] | None = None
        self._alive = alive
        self._ours = Guard(self._broken)
        self._timeout: float | None = None
        self._view: Callable[[int], memoryview] = getattr(raw, "recv_view", None) or self._fresh

    @property
    def over(self) -> bool:
        """Whether the channel is closed, or the host has sent the end of its output."""
        return bool(self._raw.closed or self._raw.eof_received)

    @property
    def closed_there(self) -> bool:
        """Whether the host closed the channel but the connection is up: its last output can still be read."""
        return self.over and self._alive()

    def settimeout(self, timeout: float | None) -> None:
        """Set the seconds that one send or receive may wait; None for ever."""
        self._timeout = timeout
        with self._ours:
            self._raw.settimeout(timeout)

    def sendall(self, data: Any) -> None:
        """Send all of `data`, any buffer."""
        with self._ours:
            self._raw.sendall(data)

    def shutdown_write(self) -> None:
        """Signal the end of input to the host."""
        with self._ours:
            self._raw.shutdown_write()

    def shutdown(self, how: int, /) -> None:
        """Shut down like a socket, as forwards need it."""
        with self._ours:
            self._raw.shutdown(how)

    def recv(self, most: int, /) -> bytes:
        """Receive at least one byte; none at the end."""
        with self._ours:
            data: bytes = self._raw.recv(most)
            return data

    def recv_stderr(self, most: int) -> bytes:
        """Receive from the command's stderr as `recv`; the system's ssh keeps none."""
        with self._ours:
            data: bytes = self._raw.recv_stderr(most)
            return data

    def take(self, most: int, *, reuse: bool = False) -> memoryview:
        """Receive at least one byte; with `reuse` into a buffer that is valid until the next call.

        Raises
        ------
        Unreachable
            Also at the end: for callers that expect more.
        """
        with self._ours:
            data: memoryview = self._view(most) if reuse else memoryview(self._raw.recv(most))
            if not data:
                msg = "the host closed the channel"
                raise EOFError(msg)
            return data

    def recv_ready(self) -> bool:
        """Whether `recv` would return at once."""
        with self._ours:
            return bool(self._raw.recv_ready())

    def stderr(self, most: int = 4096) -> bytes:
        """Return received stderr output that was not read yet, without waiting."""
        result = b""
        with self._ours:
            while len(result) < most and self._raw.recv_stderr_ready():
                piece = self._raw.recv_stderr(most)
                if not piece:
                    break
                result += piece
        return result

    def exit_code(self, timeout: float | None = None) -> int | None:
        """Return the exit code; -1 if a signal ended the command, None if it has not ended in time.

        Raises
        ------
        Unreachable
            The connection broke before it came.
        """
        with self._ours:
            if not self._raw.status_event.wait(timeout):
                return None
            code = int(self._raw.exit_status)
            # a signal leaves no exit code; so does a connection that breaks
            if code == -1 and not self._alive():
                msg = "the connection broke before the command's exit code came"
                raise EOFError(msg)
            return code

    def close(self) -> None:
        """Close the command's streams. Raises nothing, and does nothing twice."""
        owned, self.owned = self.owned, None
        for end in (self._raw.close, owned):
            if end is not None:
                try:
                    end()
                except Exception:  # noqa: BLE001 - what is closed need not work
                    _LOG.debug("closing a channel to %s", self.endpoint, exc_info=True)

    def broke(self) -> Unreachable:
        """The error for a broken connection, for callers that detect it by themselves."""
        return self._broken(EOFError())

    def _fresh(self, most: int) -> memoryview:
        return memoryview(self._raw.recv(most))

    def _broken(self, err: Exception) -> Unreachable:
        while_ = f" {self.doing}" if self.doing else ""
        if isinstance(err, TimeoutError):
            for_ = f" for {self._timeout:g} s" if self._timeout else ""
            msg = f"{self.endpoint} is silent{for_}{while_}"
            return HostSilent(msg, bill=BILLED, hint=self.hint or None)
        msg = f"the connection to {self.endpoint} broke{while_}: {reason(err)}"
        return Unreachable(msg, bill=BILLED, hint=self.hint or None)


def reason(err: BaseException) -> str:
    """Describe a low-level failure in one line."""
    words = str(getattr(err, "strerror", None) or err)
    closed = "the host closed the connection" if isinstance(err, EOFError) else type(err).__name__
    return " ".join(words.split())[:500] or closed

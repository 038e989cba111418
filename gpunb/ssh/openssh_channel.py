"""A remote command through the system's ssh, with its own TCP connection and CPU core.

Python's SSH costs 3 to 4 s of one core for a GB, whatever the number of
channels; OpenSSH's costs one, in another process. So large transfers use this.
"""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from gpunb.errors import HostError
from gpunb.ssh.channel import Channel
from gpunb.ssh.endpoint import ssh_options

if TYPE_CHECKING:
    from gpunb.ssh.endpoint import Endpoint

__all__ = ["apart", "there"]

# OpenSSH's own first choice is chacha20, which has no hardware acceleration
CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr"
_BUFFER = 2**20
_STEP = 2**18


def there() -> bool:
    """Whether this system has an ssh command."""
    return shutil.which("ssh") is not None


def apart(endpoint: Endpoint, command: str) -> Channel:
    """Start `command` on the host over a connection of its own; raises like `Pipe`."""
    return Channel(Pipe(endpoint, command), endpoint)


class Pipe:
    """The streams of a remote command, with the part of `paramiko.Channel` that file channels need.

    It starts at once and may fail later: then it ends before any output of the
    command. For one thread at a time, except `close`.

    Raises
    ------
    HostError
        There is no ssh here, or it can't be started.
    """

    def __init__(self, endpoint: Endpoint, command: str) -> None:
        self._socket, far = socket.socketpair()
        self.closed = self.eof_received = False
        self._buffer = memoryview(bytearray(_BUFFER))
        try:
            for end in (self._socket, far):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            argv = ["ssh", "-c", CIPHERS, *ssh_options(endpoint), "--", endpoint.host, command]
            self._process = subprocess.Popen(
                argv,
                stdin=far.fileno(),
                stdout=far.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as err:
            self._socket.close()
            msg = f"ssh can't be started here: {err.strerror or err}"
            raise HostError(msg) from err
        finally:
            far.close()
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def settimeout(self, timeout: float | None) -> None:
        """Set the seconds that one send or receive may wait."""
        self._socket.settimeout(timeout)

    def sendall(self, data: Any) -> None:
        """Send all of `data`; the timeout holds for each step, as a slow connection needs many."""
        view = memoryview(data)
        while view:
            view = view[self._socket.send(view) :]

    def recv(self, most: int) -> bytes:
        """Receive at least one byte; none at the end."""
        data = self._socket.recv(min(most, _STEP))
        self.eof_received = not data
        return data

    def recv_view(self, most: int) -> memoryview:
        """Receive as `recv`, into a buffer that the next call uses again."""
        size = self._socket.recv_into(self._buffer[:most])
        self.eof_received = not size
        return self._buffer[:size]

    def recv_ready(self) -> bool:
        """Whether `recv` would return at once."""
        return bool(self._poll.poll(0))

    def recv_stderr_ready(self) -> bool:
        """Return False: stderr is not kept."""
        return False

    def close(self) -> None:
        """End the command and ssh. Does nothing twice."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits in it
        self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()

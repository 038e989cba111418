"""The TCP socket below SSH: tuned, counted, and able to be broken off."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import time
from typing import TYPE_CHECKING

from gpunb.errors import Unreachable

if TYPE_CHECKING:
    from gpunb.ssh.endpoint import Endpoint

__all__ = ["Wire", "connect", "tune"]

_WHY = {
    errno.ECONNREFUSED: "connection refused (the machine is there, its SSH server is not)",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "the network is unreachable (is this machine online?)",
    errno.ETIMEDOUT: "no answer",
    errno.ECONNRESET: "connection reset",
}


class Wire(socket.socket):
    """A TCP socket that knows when it last heard something, and how much."""

    heard: float = 0.0
    sent: int = 0
    received: int = 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As `socket.recv`, counted."""
        data = super().recv(size, flags)
        self.heard = time.monotonic()
        self.received += len(data)
        return data

    def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]
        """As `socket.send`, counted."""
        count = super().send(data, flags)
        self.sent += count
        return count

    def abort(self) -> None:
        """Wake whoever reads or writes, with an end of file."""
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)


def tune(sock: socket.socket) -> None:
    """No Nagle, and TCP's own watch over a peer that vanished.

    With Nagle a short exec costs 45 ms instead of 3 on paramiko.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 60_000}
    options["TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"] = 15
    for name, value in options.items():
        number = getattr(socket, name, None)
        if number is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, number, value)


def connect(endpoint: Endpoint, *, timeout: float) -> Wire:
    """A tuned TCP connection to `endpoint`; `Unreachable` names the cause."""
    try:
        plain = socket.create_connection((endpoint.host, endpoint.port), timeout=timeout)
    except socket.gaierror as err:
        msg = f"{endpoint.host} can't be found: {err.strerror}"
        raise Unreachable(msg, hint="check the network and DNS of this machine") from err
    except TimeoutError as err:
        msg = f"{endpoint} gives no answer within {timeout:.3g} s (off, still booting, or behind a firewall)"
        raise Unreachable(msg) from err
    except OSError as err:
        msg = f"{endpoint} can't be reached: {_WHY.get(err.errno or 0, err.strerror or str(err))}"
        raise Unreachable(msg) from err
    wire = Wire(fileno=plain.detach())
    wire.heard = time.monotonic()
    try:
        tune(wire)
    except OSError as err:  # reset between accept and here
        wire.close()
        msg = f"{endpoint} closed the connection at once: {err.strerror}"
        raise Unreachable(msg) from err
    return wire

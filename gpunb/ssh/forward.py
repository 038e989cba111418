"""TCP forwards through a connection, in both directions.

For small things such as a TensorBoard port. Bulk data belongs in a channel
of its own: inside a forward everything is encrypted twice where the payload
is SSH, and small writes are copied twice anyway.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Protocol

from gpunb.errors import BadInput, HostError
from gpunb.ssh.wire import tune

if TYPE_CHECKING:
    from types import TracebackType

    import paramiko
    from typing_extensions import Self

    from gpunb.ssh.connection import Connection

__all__ = ["Forward", "local", "reverse"]

_MOST = 64  # connections at once through one forward
_CHUNK = 2**16


class _Stream(Protocol):
    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


class Forward:
    """A forward that is up; `port` is where it listens. A context manager."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._slots = threading.BoundedSemaphore(_MOST)
        self._open: set[_Stream] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed, by `close` or with its connection."""
        return self._closed

    def join(self, left: _Stream, right: _Stream) -> None:
        """Pump between two streams until both ends are done (two threads)."""
        with self._lock:
            refused = self._closed or not self._slots.acquire(blocking=False)
            if not refused:
                self._open |= {left, right}
        if refused:
            _close(left, right)
            return
        alive = [left, right]

        def pump(source: _Stream, sink: _Stream) -> None:
            with contextlib.suppress(OSError, EOFError):
                while data := source.recv(_CHUNK):
                    sink.sendall(data)
            with contextlib.suppress(OSError, EOFError):
                sink.shutdown(socket.SHUT_WR)
            with self._lock:
                alive.pop()
                last = not alive
                if last:
                    self._open -= {left, right}
            if last:
                _close(left, right)
                self._slots.release()

        for source, sink in ((left, right), (right, left)):
            threading.Thread(target=pump, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        """Stop listening and break what still flows. Does nothing twice."""
        with self._lock:
            self._closed = True
            streams = list(self._open)
        _close(*streams)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Local(Forward):
    def __init__(self, connection: Connection, host: str, port: int, listener: socket.socket) -> None:
        super().__init__(listener.getsockname()[1])
        self._connection, self._target, self._listener = connection, (host, port), listener
        threading.Thread(target=self._accept, name=f"gpunb-forward-{self.port}", daemon=True).start()

    def _accept(self) -> None:
        import paramiko

        while True:
            try:
                client, origin = self._listener.accept()
            except OSError:
                return
            channel = None
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                tune(client)
                channel = self._connection.transport.open_channel(
                    "direct-tcpip", self._target, (origin[0], origin[1]), timeout=20.0
                )
            if channel is None:  # nothing listens there on the host, or the connection is gone
                client.close()
            else:
                self.join(client, channel)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        super().close()


class _Reverse(Forward):
    def __init__(self, connection: Connection, port: int, target: tuple[str, int], bind: str) -> None:
        super().__init__(port)
        self._connection, self._target, self._bind = connection, target, bind

    def serve(self, channel: paramiko.Channel) -> None:
        """Connect to the target here and pump; called in a thread of its own."""
        try:
            client = socket.create_connection(self._target, timeout=20.0)
            client.settimeout(None)
            tune(client)
        except OSError:
            _close(channel)
            return
        self.join(channel, client)

    def close(self) -> None:
        import paramiko

        self._connection.reverses.pop(self.port, None)
        if self._connection.alive():
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError), self._connection.requests:
                self._connection.transport.global_request(
                    "cancel-tcpip-forward", (self._bind, self.port), wait=True
                )
        super().close()


def local(
    connection: Connection, host: str, port: int, *, bind: str = "127.0.0.1", listen: int = 0
) -> Forward:
    """Listen here and connect each client to `host`:`port` as the remote host sees it.

    Parameters
    ----------
    bind, listen
        Where to listen here; port 0 takes a free one, see `Forward.port`.

    Raises
    ------
    BadInput
        The local port is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bind, listen))
        listener.listen(_MOST)
    except OSError as err:
        listener.close()
        msg = f"port {listen} on {bind} can't be listened on: {err.strerror}"
        raise BadInput(msg, hint="use another port, or 0 for any free one") from err
    forward = _Local(connection, host, port, listener)
    connection.on_close(forward.close)
    return forward


def reverse(
    connection: Connection, host: str, port: int, *, bind: str = "127.0.0.1", listen: int = 0
) -> Forward:
    """Listen on the remote host and connect each client there to `host`:`port` here.

    Raises
    ------
    HostError
        The host refuses to listen (its sshd forbids it, or the port is taken).
    """
    import paramiko

    def arrived(channel: paramiko.Channel, origin: tuple[str, int], server: tuple[str, int]) -> None:
        # runs in the transport's own thread: must not wait here
        del origin
        forward = connection.reverses.get(server[1])
        if forward is None:
            threading.Thread(target=_close, args=(channel,), daemon=True).start()
        else:
            threading.Thread(target=forward.serve, args=(channel,), daemon=True).start()

    try:
        with connection.requests:
            opened = connection.transport.request_port_forward(bind, listen, arrived)
    except (paramiko.SSHException, EOFError, OSError) as err:
        msg = f"{connection.endpoint} refuses to listen on {bind}:{listen}: {err}"
        raise HostError(msg, hint="use another port; the host's sshd may forbid forwards") from err
    forward = _Reverse(connection, opened, (host, port), bind)
    connection.reverses[opened] = forward
    connection.on_close(forward.close)
    return forward


def _close(*streams: _Stream) -> None:
    for stream in streams:
        # shutdown first: a close alone does not wake a thread in recv
        with contextlib.suppress(OSError, EOFError):
            stream.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError, EOFError):
            stream.close()

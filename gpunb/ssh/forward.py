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

from gpunb.errors import BadInput, HostError, Unreachable
from gpunb.ssh.browsers import OwnName
from gpunb.ssh.channel import Channel, reason
from gpunb.ssh.connection import Forbidden
from gpunb.ssh.tcp_socket import tune

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import paramiko
    from typing_extensions import Self

    from gpunb.ssh.connection import Connection

__all__ = ["Forward", "local", "reverse"]

_MOST = 64  # connections at once through one forward
_CHUNK = 2**16
_ANSWER_S = 20.0  # seconds for the host's answer whether it listens


class _Stream(Protocol):
    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


class Forward:
    """An open forward; `port` is where it listens. A context manager."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._slots = threading.BoundedSemaphore(_MOST)
        self._open: set[_Stream] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the forward was closed, by `close` or with its connection."""
        return self._closed

    def join(self, left: _Stream, right: _Stream) -> None:
        """Copy between two streams until both ends are done (two threads)."""
        with self._lock:
            refused = self._closed or not self._slots.acquire(blocking=False)
            if not refused:
                self._open |= {left, right}
        if refused:
            _close(left, right)
            return
        alive = [left, right]

        def pump(source: _Stream, sink: _Stream) -> None:
            with contextlib.suppress(OSError, Unreachable):
                while data := source.recv(_CHUNK):
                    sink.sendall(data)
            with contextlib.suppress(OSError, Unreachable):
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
        """Stop listening and break open streams. Does nothing twice."""
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
    def __init__(
        self, connection: Connection, host: str, port: int, listener: socket.socket, name: str
    ) -> None:
        super().__init__(listener.getsockname()[1])
        self._name = name
        self._connection, self._target, self._listener = connection, (host, port), listener
        threading.Thread(target=self._accept, name=f"gpunb-forward-{self.port}", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, origin = self._listener.accept()
            except OSError:
                return
            channel = None
            with contextlib.suppress(OSError, HostError):
                tune(client)
                channel = self._connection.towards(*self._target, (origin[0], origin[1]))
            if channel is None:  # nothing listens there on the host, or the connection is gone
                client.close()
            else:
                self.join(OwnName(client, self._name) if self._name else client, channel)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        super().close()


class _Reverse(Forward):
    def __init__(self, connection: Connection, port: int, target: tuple[str, int], bind: str) -> None:
        super().__init__(port)
        self._connection, self._target, self._bind = connection, target, bind
        self._serving = threading.BoundedSemaphore(2 * _MOST)

    def start(self, channel: Channel) -> None:
        """Serve a client in its own thread; beyond the limit it is closed at once."""
        if self._serving.acquire(blocking=False):
            threading.Thread(target=self._serve_one, args=(channel,), daemon=True).start()
        else:
            threading.Thread(target=_close, args=(channel,), daemon=True).start()

    def _serve_one(self, channel: Channel) -> None:
        try:
            self.serve(channel)
        finally:
            self._serving.release()

    def serve(self, channel: Channel) -> None:
        """Connect to the local target and copy; called in a thread of its own."""
        try:
            client = socket.create_connection(self._target, timeout=20.0)
            client.settimeout(None)
            tune(client)
        except OSError:
            _close(channel)
            return
        self.join(channel, client)

    def close(self) -> None:
        self._connection.reverses.pop(self.port, None)
        if self._connection.alive():
            with contextlib.suppress(HostError):
                _ask(self._connection, self._cancel)
        super().close()

    def _cancel(self) -> None:
        asked = ("cancel-tcpip-forward", (self._bind, self.port))
        self._connection.transport.global_request(*asked, wait=True)


def local(
    connection: Connection,
    host: str,
    port: int,
    *,
    bind: str = "127.0.0.1",
    listen: int = 0,
    name: str = "",
) -> Forward:
    """Listen here and connect each client to `host`:`port` as seen from the remote host.

    Parameters
    ----------
    bind, listen
        Where to listen here; port 0 takes a free one, see `Forward.port`.
    name
        The only host name by which a browser gets through, see `gpunb.ssh.browsers`.

    Raises
    ------
    BadInput
        The local port is taken or not allowed.
    Forbidden
        The host's sshd forwards nothing, or not to there: every client would be turned away.
    Unreachable
        The connection is broken.
    """
    try:
        connection.towards(host, port, (bind, 1)).close()
    except (Forbidden, Unreachable):
        raise
    except HostError:
        pass  # nothing listens there yet
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
    forward = _Local(connection, host, port, listener, name)
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

    def arrived(raw: paramiko.Channel, origin: tuple[str, int], server: tuple[str, int]) -> None:
        # runs in the transport's own thread: must not wait here
        del origin
        channel = Channel(raw, connection.endpoint)
        forward = connection.reverses.get(server[1])
        if forward is None:
            threading.Thread(target=_close, args=(channel,), daemon=True).start()
        else:
            forward.start(channel)

    opened: list[int] = []
    try:
        _ask(
            connection,
            lambda: opened.append(connection.transport.request_port_forward(bind, listen, arrived)),
        )
    except HostError as err:
        msg = f"{connection.endpoint} refuses to listen on {bind}:{listen}: {err.message}"
        raise HostError(msg, hint="use another port; the host's sshd may forbid forwards") from err
    forward = _Reverse(connection, opened[0], (host, port), bind)
    connection.reverses[opened[0]] = forward
    connection.on_close(forward.close)
    return forward


def _ask(connection: Connection, request: Callable[[], object]) -> None:
    """Send a global request with a timeout, which paramiko itself would not have.

    Raises
    ------
    HostError
        The host says no, or nothing.
    """
    problem: list[str] = []

    def ask() -> None:
        try:
            with connection.requests:
                request()
        except Exception as err:  # noqa: BLE001 - whatever paramiko raises, the host did not say yes
            problem.append(reason(err))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_ANSWER_S)
    if thread.is_alive():
        problem.append(f"no answer within {_ANSWER_S:g} s")
    if problem:
        raise HostError(problem[0])


def _close(*streams: _Stream) -> None:
    for stream in streams:
        # shutdown first: a close alone does not wake a thread in recv
        with contextlib.suppress(OSError, Unreachable):
            stream.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            stream.close()

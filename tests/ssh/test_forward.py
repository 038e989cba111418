from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BadInput
from gpunb.ssh import forward

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.ssh import Connection


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets, in capitals' order untouched."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while data := client.recv(65536):
                client.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def _through(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:

        def send() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send)
        thread.start()
        back = b""
        while piece := client.recv(65536):
            back += piece
        thread.join()
        return back


@pytest.mark.parametrize("way", ["local", "reverse"])
def test_bytes_pass_both_ways_on_many_connections(connection: Connection, echo: int, way: str) -> None:
    data = os.urandom(2**20)
    with getattr(forward, way)(connection, "127.0.0.1", echo) as one:
        for _ in range(3):
            assert _through(one.port, data) == data
        with getattr(forward, way)(connection, "127.0.0.1", echo) as two:
            assert _through(two.port, b"two") == b"two"
        assert _through(one.port, b"one") == b"one"
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the system likes
        _through(one.port, b"x") == b"x" or (_ for _ in ()).throw(OSError("nothing came back"))


def test_nothing_listens_behind_it(connection: Connection) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with forward.local(connection, "127.0.0.1", closed.getsockname()[1]) as one:
            assert _through(one.port, b"") == b""
        assert connection.run("echo up").out == b"up\n"


def test_closing_the_connection_closes_its_forwards(connection: Connection, echo: int) -> None:
    one = forward.local(connection, "127.0.0.1", echo)
    two = forward.reverse(connection, "127.0.0.1", echo)
    client = socket.create_connection(("127.0.0.1", one.port), timeout=20)
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    connection.close()
    assert client.recv(1) == b""
    client.close()
    for port in (one.port, two.port):
        with pytest.raises(OSError):  # noqa: PT011
            socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_taken_port_is_named(connection: Connection, echo: int) -> None:
    with pytest.raises(BadInput, match=f"port {echo} on 127.0.0.1"):
        forward.local(connection, "127.0.0.1", 1, listen=echo)

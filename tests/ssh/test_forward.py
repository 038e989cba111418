from __future__ import annotations

import contextlib
import http.server
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BadInput, HostError
from gpunb.ssh import Connection, forward
from gpunb.ssh.browsers import own_name
from gpunb.ssh.connection import Forbidden
from tests.support.machines.sshd import Sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


@pytest.mark.parametrize("rule", ["AllowTcpForwarding no", "DisableForwarding yes", "PermitOpen 127.0.0.1:9"])
def test_a_host_that_forbids_forwarding_says_so_instead_of_a_dead_link(
    tmp_path: Path, echo: int, rule: str
) -> None:
    server = Sshd(tmp_path / "closed", extra=rule).start()
    try:
        with Connection.open(server.endpoint()) as closed:
            with pytest.raises(Forbidden, match=f"forwards nothing to 127.0.0.1:{echo}") as caught:
                forward.local(closed, "127.0.0.1", echo)
            assert "sshd_config" in str(caught.value.hint)
            if "PermitOpen" not in rule:
                with pytest.raises(HostError, match="refuses to listen"):
                    forward.reverse(closed, "127.0.0.1", echo)
            assert closed.run("echo up").out == b"up\n"
    finally:
        server.stop()


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


@pytest.mark.parametrize(
    ("request_", "passes"),
    [
        (b"GET /x?a=1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nCookie: username-127-0-0-1-8888=login\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: localhost:1\r\nUser-Agent: Mozilla/5.0\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nhost: [::1]:1\r\nsec-fetch-mode: navigate\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nCookie: a=b\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: demo.localhost:1\r\nHost: 127.0.0.1\r\nCookie: a=b\r\n\r\n", False),
        (
            b"GET / HTTP/1.1\r\nHost: demo.localhost.evil.example\r\nOrigin: http://127.0.0.1:8888\r\n\r\n",
            False,
        ),
        (b"GET / HTTP/1.1\r\nHost: demo.localhost:1\r\nCookie: own=1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:1\r\nUser-Agent: curl/8\r\n\r\n", True),
        (b"\x16\x03\x01 no request", True),
        (b"SSH-2.0-x\r\n", True),
    ],
)
@pytest.mark.parametrize("size", [7, 1 << 16])
def test_a_browser_comes_by_the_forwards_own_name(
    connection: Connection, echo: int, request_: bytes, passes: bool, size: int
) -> None:
    with forward.local(connection, "127.0.0.1", echo, name="demo.localhost") as one:
        with socket.create_connection(("127.0.0.1", one.port), timeout=20) as client:
            for at in range(0, len(request_), size):
                client.sendall(request_[at : at + size])
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        if passes:
            assert answer == request_
        else:
            path = request_.split(b" ")[1]
            assert answer.startswith(b"HTTP/1.1 307 ")
            assert b"\r\nLocation: http://demo.localhost:%d%s\r\n" % (one.port, path) in answer
            assert b"login" not in answer


def test_the_names_of_forwards() -> None:
    assert own_name("train_2") == "train-2.localhost"
    assert own_name("ä") == "host.localhost"
    assert own_name("..a/../b") == "a-b.localhost"


@pytest.mark.slow
def test_no_host_gets_the_cookies_of_this_machine(connection: Connection, tmp_path: Path) -> None:
    """In a browser that is logged in at a server on 127.0.0.1, as a Jupyter server's user is."""
    from tests.support.machines.chromium import chromium

    heard: list[tuple[str, str]] = []

    class Host(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/favicon.ico":  # the browser asks for it whenever it likes
                heard.append((self.path, self.headers.get("Cookie", "")))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            if self.path == "/login":
                self.send_header("Set-Cookie", "username-127-0-0-1-8888=login; Path=/; HttpOnly")
                self.send_header("Set-Cookie", "_xsrf=token; Path=/")
            self.end_headers()
            self.wfile.write(b"<script>fetch('/js?' + encodeURIComponent(document.cookie))</script>")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    port = server.server_port
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            forward.local(connection, "127.0.0.1", port) as bare,
            forward.local(connection, "127.0.0.1", port, name="demo.localhost") as named,
        ):
            patch.setenv("XDG_CONFIG_HOME", str(tmp_path))
            patch.setenv("XDG_CACHE_HOME", str(tmp_path))
            with chromium() as browser:
                page = browser.new_page()
                page.set_default_timeout(90_000)
                with page.expect_response(lambda answer: "/js?" in answer.url):  # its script ended, too
                    page.goto(f"http://127.0.0.1:{port}/login")
                for one, where in ((bare, "127.0.0.1"), (named, "demo.localhost")):
                    heard.clear()
                    with page.expect_response(lambda answer: "/js?" in answer.url):
                        page.goto(f"http://127.0.0.1:{one.port}/board?a=1")
                    assert page.evaluate("location.hostname") == where
                    assert heard[0][0] == "/board?a=1"
                    got = " ".join(f"{path} {cookie}" for path, cookie in heard)
                    # the first shows that the browser would have sent them
                    assert ("login" in got, "token" in got) == ((one is bare), (one is bare)), got
    finally:
        server.shutdown()
        server.server_close()

"""A name with several addresses, of which the first goes nowhere."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import Unreachable
from gpunb.ssh import Connection
from gpunb.ssh.tcp_socket import connect
from tests.support.machines.sshd import Sshd, available

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "dual.example"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if not available():
        pytest.skip("needs OpenSSH's sshd and sftp-server")
    server = Sshd(tmp_path_factory.mktemp("wire") / "sshd").start()
    yield server
    server.stop()


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as found:
        yield found


def dead(stack: contextlib.ExitStack, kind: str) -> tuple[str, int]:
    """An IPv6 address that is `kind`."""
    listener = stack.enter_context(socket.socket(socket.AF_INET6))
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("::1", 0))
    where: tuple[str, int] = listener.getsockname()[:2]
    if kind == "refused":
        return where
    listener.listen(0 if kind == "lost" else 8)
    if kind == "lost":  # its queue is full, and what comes is dropped, as on a route that goes nowhere
        for _ in range(4):
            filler = stack.enter_context(socket.socket(socket.AF_INET6))
            filler.setblocking(False)
            filler.connect_ex(where)
        time.sleep(0.1)
    if kind == "closing":

        def close() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()

        threading.Thread(target=close, daemon=True).start()
        stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
    return where


def resolve(monkeypatch: pytest.MonkeyPatch, *ways: tuple[str, int]) -> None:
    """Let NAME have these addresses, in this order."""
    real = socket.getaddrinfo

    def found(host: str, *args: Any, **more: Any) -> Any:
        if host != NAME:
            return real(host, *args, **more)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address, port in ways
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.parametrize("kind", ["lost", "refused", "silent", "closing"])
def test_the_address_that_works_is_found(
    host: Sshd, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    resolve(monkeypatch, dead(stack, kind), ("127.0.0.1", host.port))
    began = time.monotonic()
    with Connection.open(host.endpoint(host=NAME), timeout=9) as found:
        assert found.run("echo in").out == b"in\n"
        assert found.endpoint.host == NAME
        assert found.reached.host == "127.0.0.1"  # where the system's ssh needs not search again
    assert time.monotonic() - began < 8


def test_without_any_that_works_the_reason_is_told_in_time(
    host: Sshd, stack: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = host.endpoint(host=NAME)
    resolve(monkeypatch, dead(stack, "refused"))
    with pytest.raises(Unreachable, match="connection refused"):
        connect(endpoint, timeout=5)
    resolve(monkeypatch, dead(stack, "lost"), dead(stack, "lost"))
    began = time.monotonic()
    with pytest.raises(Unreachable, match="no answer within 1 s"):
        connect(endpoint, timeout=1)
    assert time.monotonic() - began < 3


def test_a_link_local_or_odd_name_is_one_clear_error(host: Sshd, tmp_path: Path) -> None:
    for name in ("a" * 300, "no-such-host.invalid", "x..y"):
        with pytest.raises(Unreachable, match="can't be found"):
            connect(host.endpoint(host=name), timeout=5)

"""Whatever paramiko raises, the layers above see `Unreachable`, or the retry of what was asked."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import paramiko
import pytest

from gpunb.errors import AuthRefused, GpunbError, HostError, HostSilent, Unreachable
from gpunb.ssh import Connection
from gpunb.ssh.channel import Channel
from gpunb.ssh.connection import Forbidden
from gpunb.ssh.openssh_channel import apart
from tests.support.faults import faults
from tests.support.machines.proxy import Proxy
from tests.support.machines.sshd import Sshd, available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FAULTS = list(faults())
CALLS: dict[str, tuple[str, Callable[[Channel], object]]] = {
    "recv": ("recv", lambda channel: channel.recv(10)),
    "take": ("recv", lambda channel: channel.take(10)),
    "take again": ("recv", lambda channel: channel.take(10, reuse=True)),
    "recv_stderr": ("recv_stderr", lambda channel: channel.recv_stderr(10)),
    "stderr": ("recv_stderr_ready", lambda channel: channel.stderr()),
    "recv_ready": ("recv_ready", lambda channel: channel.recv_ready()),
    "sendall": ("sendall", lambda channel: channel.sendall(b"x")),
    "shutdown_write": ("shutdown_write", lambda channel: channel.shutdown_write()),
    "shutdown": ("shutdown", lambda channel: channel.shutdown(socket.SHUT_WR)),
    "settimeout": ("settimeout", lambda channel: channel.settimeout(1)),
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if not available():
        pytest.skip("needs OpenSSH's sshd and sftp-server")
    server = Sshd(tmp_path_factory.mktemp("channel") / "sshd").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def line(host: Sshd) -> Iterator[Connection]:
    with Connection.open(host.endpoint()) as found:
        yield found


def raising(fault: Exception) -> Callable[..., Any]:
    def call(*_args: object, **_more: object) -> object:
        raise fault

    return call


def test_the_list_of_faults_is_not_empty_by_mistake() -> None:
    names = {type(fault).__name__ for fault in FAULTS}
    assert {"SSHException", "ChannelException", "EOFError", "ConnectionResetError", "SSLError"} <= names
    assert {"ProxyCommandFailure", "MessageOrderError", "PipeTimeout", "NeedRekeyException"} <= names
    assert len(FAULTS) > 40


@pytest.mark.parametrize("name", sorted(CALLS))
def test_each_fault_at_each_call_is_unreachable(
    line: Connection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, call = CALLS[name]
    channel = line.channel("cat")
    channel.doing, channel.hint = "while files moved", "run it again"
    for fault in FAULTS:
        with monkeypatch.context() as patch:
            patch.setattr(paramiko.Channel, method, raising(fault))
            with pytest.raises(Unreachable) as caught:
                call(channel)
        assert caught.value.__cause__ is fault
        assert isinstance(caught.value, HostSilent) == isinstance(fault, TimeoutError)
        assert "while files moved" in caught.value.message
        assert caught.value.hint == "run it again"
        assert caught.value.bill
        assert "\n" not in caught.value.message
    channel.close()
    assert line.run("echo still").out == b"still\n"


@pytest.mark.parametrize("method", ["open_session", "exec_command", "invoke_subsystem", "open_channel"])
def test_each_fault_while_a_channel_is_opened(
    line: Connection, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner: type[Any] = paramiko.Transport if method.startswith("open") else paramiko.Channel

    def start() -> object:
        if method == "open_channel":
            return line.towards("127.0.0.1", 1, ("127.0.0.1", 2))
        return line.subsystem("sftp") if method == "invoke_subsystem" else line.channel("true")

    for fault in FAULTS:
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, raising(fault))
            with pytest.raises(HostError) as caught:
                start()
        assert "\n" not in caught.value.message
    assert line.run("echo still").out == b"still\n"


@pytest.mark.parametrize(
    "method", ["start_client", "get_remote_server_key", "auth_publickey", "get_security_options"]
)
def test_each_fault_of_a_login(host: Sshd, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for fault in FAULTS:
        with monkeypatch.context() as patch:
            patch.setattr(paramiko.Transport, method, raising(fault))
            with pytest.raises((Unreachable, AuthRefused)) as caught:
                Connection.open(host.endpoint())
            refused = isinstance(fault, paramiko.AuthenticationException) and method == "auth_publickey"
            assert isinstance(caught.value, AuthRefused) == refused


def test_closing_raises_nothing(line: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    for fault in FAULTS:
        channel = line.channel("cat")
        with monkeypatch.context() as patch:
            patch.setattr(paramiko.Channel, "close", raising(fault))
            channel.close()
        channel.close()


def test_run_ends_with_one_error_whatever_its_threads_meet(
    line: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, fault in enumerate(FAULTS):
        method = ("recv", "recv_stderr", "sendall", "shutdown_write")[number % 4]
        with monkeypatch.context() as patch, contextlib.suppress(GpunbError):
            patch.setattr(paramiko.Channel, method, raising(fault))
            # it may have ended before the fault could matter
            assert line.run("cat", input=b"x", timeout=0.05).code in (0, -1)


def test_a_cut_line_is_told_by_every_call(host: Sshd) -> None:
    with Connection.open(host.endpoint()) as own:
        channel = own.channel("cat")
        own._wire.abort()
        own.transport.join(5)
        for call in (channel.take, lambda _: channel.sendall(b"x"), lambda _: channel.exit_code(5)):
            with pytest.raises(Unreachable):
                call(10)
        channel.close()


def test_an_end_by_a_signal_is_no_broken_line(line: Connection) -> None:
    ended = line.channel("kill -9 $$")
    assert ended.exit_code(20) == -1
    ended.close()
    runs = line.channel("sleep 60")
    assert runs.exit_code(0.1) is None
    runs.close()


def test_the_system_ssh_is_the_same_to_its_caller(host: Sshd, line: Connection) -> None:
    line.run("true")  # pins the key
    channel = apart(host.endpoint(), "cat")
    channel.settimeout(10)
    data = os.urandom(3 * 2**20)
    for at in range(0, len(data), 2**16):  # less than what lies between the two ends
        channel.sendall(data[at : at + 2**16])
        back = b""
        while len(back) < len(data[at : at + 2**16]):
            back += channel.take(2**20, reuse=True)
        assert back == data[at : at + 2**16]
    assert not channel.over
    channel.settimeout(0.1)
    with pytest.raises(HostSilent, match=r"is silent for 0.1 s"):
        channel.recv(1)
    channel.close()
    with pytest.raises(Unreachable):
        channel.sendall(b"x")
    channel.close()
    ended = apart(host.endpoint(), "true")
    ended.settimeout(10)
    with pytest.raises(Unreachable, match="closed"):
        ended.take(1)
    assert ended.over
    ended.close()


@pytest.fixture(params=["MaxSessions 1", "MaxSessions 2"])
def narrow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    server = Sshd(tmp_path / "narrow", extra=request.param).start()
    with Connection.open(server.endpoint()) as found:
        yield found
    server.stop()


def test_a_host_of_one_session_gets_a_connection_for_each(narrow: Connection) -> None:
    kept = [narrow.channel("cat") for _ in range(3)]
    for number, channel in enumerate(kept):
        channel.sendall(b"%d" % number)
    assert [channel.recv(10) for channel in kept] == [b"0", b"1", b"2"]
    assert narrow.run("echo beside").out == b"beside\n"
    with pytest.raises(HostError, match="MaxSessions"):
        narrow.subsystem("sftp", more=False)
    for channel in kept[:2]:
        channel.close()
    assert narrow.run("echo after").out == b"after\n"
    narrow.close()  # and with it what was opened beside it
    with pytest.raises(Unreachable):
        kept[2].take(1)
    assert kept[2].over


def test_channels_that_are_opened_at_once_all_open(narrow: Connection) -> None:
    """Of several that a host refuses at once paramiko tells one the code, and the others nothing."""
    count = 6
    together = threading.Barrier(count)

    def begin(number: int) -> Channel:
        together.wait(20)
        channel = narrow.channel("cat")
        channel.sendall(b"%d" % number)
        return channel

    for _ in range(3):
        with ThreadPoolExecutor(count) as pool:
            kept = list(pool.map(begin, range(count)))
        assert [channel.recv(10) for channel in kept] == [b"%d" % number for number in range(count)]
        for channel in kept:
            channel.close()


def test_a_host_that_forbids_forwarding_says_so(tmp_path: Path, line: Connection) -> None:
    server = Sshd(tmp_path / "closed", extra="AllowTcpForwarding no").start()
    try:
        with Connection.open(server.endpoint()) as own, pytest.raises(Forbidden, match="forbids"):
            own.towards("127.0.0.1", 80, ("127.0.0.1", 1))
    finally:
        server.stop()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(HostError, match=f"127.0.0.1:{port}") as caught:
            line.towards("127.0.0.1", port, ("127.0.0.1", 1))
        assert not isinstance(caught.value, Forbidden)


def test_a_full_house_is_tried_again(host: Sshd) -> None:
    """sshd closes the connections beyond MaxStartups before it says a word."""
    with Proxy(host.port) as proxy:
        proxy.cut()
        room = threading.Timer(0.6, proxy.restore)
        room.start()
        with Connection.open(host.endpoint(port=proxy.port)) as own:
            assert own.run("echo in").out == b"in\n"
        room.join()
        proxy.cut()
        began = time.monotonic()
        with pytest.raises(Unreachable, match="too many connections"):
            Connection.open(host.endpoint(port=proxy.port))
        assert time.monotonic() - began < 12  # a host that goes on so is told soon

from __future__ import annotations

import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

import gpunb.ssh.connection as connection_module
from gpunb.errors import AuthRefused, HostError, HostKeyChanged, Incompatible, Unreachable
from gpunb.ssh import Connection, generate, hostkeys, probe, wait_reachable
from gpunb.sync.sftp.host_tree import Remote
from tests.support.machines.proxy import Proxy
from tests.support.machines.sshd import Sshd

if TYPE_CHECKING:
    from pathlib import Path


def test_runs_and_tells_output_errors_and_exit_code(connection: Connection, sshd: Sshd) -> None:
    done = connection.run("pwd; echo oops >&2; exit 3")
    assert (done.code, done.out, done.err) == (3, f"{sshd.home}\n".encode(), b"oops\n")
    assert connection.run("cat", input=b"\x00\xff" * 10).out == b"\x00\xff" * 10
    assert connection.run("cat").out == b""  # an empty input, not an open one
    assert connection.run("kill -9 $$").code == -1
    assert connection.alive()


def test_names_that_are_not_utf8_arrive(connection: Connection, sshd: Sshd) -> None:
    connection.run("touch " + os.fsdecode(b"caf\xe9"))
    assert os.listdir(os.fsencode(sshd.home)) == [b"caf\xe9"]


def test_large_input_output_and_errors_at_once(connection: Connection) -> None:
    data = os.urandom(24 * 2**20)
    done = connection.run("tee /dev/stderr", input=data, timeout=100)
    assert done.out == data
    assert done.err == data


def test_a_command_that_leaves_its_input_unread(connection: Connection) -> None:
    assert connection.run("echo done", input=bytes(50 * 2**20), timeout=60).out == b"done\n"


def test_a_timeout_is_named_and_the_connection_goes_on(connection: Connection) -> None:
    with pytest.raises(HostError, match=r"`sleep 60` did not end within 0.3 s") as caught:
        connection.run("sleep 60", timeout=0.3)
    assert not isinstance(caught.value, Unreachable)
    assert connection.run("echo still").out == b"still\n"


def test_only_modern_algorithms_are_agreed(connection: Connection) -> None:
    transport = connection.transport
    assert transport.remote_cipher == "aes128-gcm@openssh.com"
    options = transport.get_security_options()
    offered = [*options.ciphers, *options.digests, *options.kex, *options.key_types]
    assert not [
        name for name in offered if any(old in name for old in ("cbc", "3des", "md5", "sha1", "dss", "96"))
    ]
    assert "ssh-rsa" not in options.key_types
    assert list(options.compression) == ["none"]


def test_a_server_with_old_algorithms_only_is_refused(tmp_path: Path) -> None:
    server = Sshd(tmp_path / "old", extra="Ciphers aes128-cbc").start()
    try:
        with pytest.raises(Incompatible, match="outdated SSH algorithms"):
            Connection.open(server.endpoint())
        began = time.monotonic()
        with pytest.raises(Incompatible, match="outdated SSH algorithms"):
            wait_reachable(server.endpoint(), timeout=60)  # at once: it never gets better, and is billed
        assert time.monotonic() - began < 20
    finally:
        server.stop()


def test_first_contact_pins_and_a_changed_key_is_refused(sshd: Sshd) -> None:
    endpoint = sshd.endpoint()
    Connection.open(endpoint).close()
    assert hostkeys.pinned(endpoint.known_hosts, endpoint.alias) == [sshd.host_line]
    assert probe(endpoint) > 0
    old = endpoint.known_hosts.read_bytes()
    sshd.new_host_key()
    for contact in (Connection.open, probe):
        with pytest.raises(HostKeyChanged, match="another key"):
            contact(endpoint)
    with pytest.raises(HostKeyChanged):
        wait_reachable(endpoint, timeout=60)  # at once, not after a minute
    assert endpoint.known_hosts.read_bytes() == old


def test_a_key_known_beforehand_is_held_against_the_first_contact(sshd: Sshd) -> None:
    endpoint = sshd.endpoint()
    hostkeys.pin(endpoint.known_hosts, endpoint.alias, sshd.host_line)
    Connection.open(endpoint).close()
    sshd.new_host_key()
    other = sshd.endpoint(alias="gpunb-other")
    hostkeys.pin(other.known_hosts, other.alias, hostkeys.pinned(endpoint.known_hosts, endpoint.alias)[0])
    with pytest.raises(HostKeyChanged):
        Connection.open(other)


def test_a_refused_login_pins_nothing(sshd: Sshd, tmp_path: Path) -> None:
    endpoint = sshd.endpoint(key=generate(tmp_path / "other", comment="x").private)
    with pytest.raises(AuthRefused, match="does not take the session's key"):
        Connection.open(endpoint)
    assert not endpoint.known_hosts.exists()
    with pytest.raises(AuthRefused, match="is not there"):
        Connection.open(sshd.endpoint(key=tmp_path / "none"))
    (tmp_path / "bad").write_text("x")
    with pytest.raises(AuthRefused, match="can't be read"):
        Connection.open(sshd.endpoint(key=tmp_path / "bad"))


def test_causes_are_told_apart(sshd: Sshd) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="connection refused"):
            Connection.open(sshd.endpoint(port=closed.getsockname()[1]))
    with pytest.raises(Unreachable, match="can't be found"):
        Connection.open(sshd.endpoint(host="no-such-host.invalid"))


@pytest.mark.parametrize(
    ("says", "cause"),
    [
        (None, "does not speak SSH"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak SSH|closed the connection"),
        (b"", "closed the connection"),
        (b"SSH-2.0-x\r\n", "closed the connection"),
    ],
)
def test_what_is_no_ssh_server_is_named(sshd: Sshd, says: bytes | None, cause: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def answer() -> None:
            client, _ = listener.accept()
            if says is None:
                kept.append(client)
                return
            client.sendall(says)
            client.shutdown(socket.SHUT_WR)
            kept.append(client)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unreachable, match=cause):
            Connection.open(sshd.endpoint(port=listener.getsockname()[1]), timeout=1.5)
        thread.join()
        for client in kept:
            client.close()


def test_a_cut_line_is_noticed_and_a_new_one_works(sshd: Sshd) -> None:
    with Proxy(sshd.port) as proxy:
        endpoint = sshd.endpoint(port=proxy.port)
        with Connection.open(endpoint) as one:
            failures: list[BaseException] = []

            def work() -> None:
                try:
                    one.run("sleep 60")
                except Unreachable as err:
                    failures.append(err)

            thread = threading.Thread(target=work)
            thread.start()
            time.sleep(0.3)
            proxy.cut()
            thread.join(20)
            assert "may have run or not" in str(failures[0])
            assert not one.alive()
            with pytest.raises(Unreachable, match="broken"):
                one.channel("true")
        with pytest.raises(Unreachable):
            Connection.open(endpoint, timeout=3)
        proxy.restore()
        with Connection.open(endpoint) as two:
            assert two.run("echo back").out == b"back\n"


@pytest.mark.slow
def test_a_silent_host_is_given_up(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_PULSE_S", 0.2)
    monkeypatch.setattr(connection_module, "_DEAD_S", 1.0)
    with Connection.open(sshd.endpoint()) as one:
        time.sleep(6)
        assert one.alive()  # quiet is not dead: it answers when asked
        sshd.freeze()
        try:
            with pytest.raises(Unreachable):
                one.run("true", timeout=60)
        finally:
            sshd.freeze(on=False)


def test_waits_for_a_port_that_opens_late(tmp_path: Path) -> None:
    server = Sshd(tmp_path / "late")
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        port = probe_socket.getsockname()[1]
    said: list[str] = []

    class Watcher:
        def say(self, message: str) -> None:
            said.append(message)

        def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
            pass

    timer = threading.Timer(1.0, server.start, args=(port,))
    timer.start()
    try:
        wait_reachable(server.endpoint(port=port), timeout=60, progress=Watcher())
    finally:
        timer.join()
        server.stop()
    assert said
    assert "connection refused" in said[0]


def test_waiting_ends_by_time_or_by_word(sshd: Sshd, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = sshd.endpoint(port=closed.getsockname()[1])
        with pytest.raises(
            Unreachable, match=r"no login at .* within 1 s; the last try: .*connection refused"
        ):
            wait_reachable(endpoint, timeout=1)
        calls: list[int] = []

        def give_up() -> None:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            wait_reachable(endpoint, timeout=60, give_up=give_up)
    wrong = sshd.endpoint(key=generate(tmp_path / "other", comment="x").private)
    with pytest.raises(AuthRefused, match="the last try"):
        wait_reachable(wrong, timeout=1)


@pytest.mark.slow
def test_a_key_exchange_in_mid_connection_loses_nothing(connection: Connection) -> None:
    connection.transport.packetizer.REKEY_BYTES = 2**20  # type: ignore[misc]
    data = os.urandom(3 * 2**20)
    for _ in range(25):
        assert connection.run("cat", input=data, timeout=60).out == data


def test_closing_twice_and_sftp(sshd: Sshd) -> None:
    one = Connection.open(sshd.endpoint())
    with Remote(one) as files:
        assert files.real(".") == str(sshd.home)
    sent, received = one.traffic()
    assert sent > 1000
    assert received > 1000
    one.close()
    one.close()
    assert not one.alive()
    with pytest.raises(Unreachable):
        one.subsystem("sftp")


def test_a_host_without_sftp_says_so(tmp_path: Path) -> None:
    server = Sshd(tmp_path / "plain", sftp=False).start()
    try:
        with Connection.open(server.endpoint()) as one, pytest.raises(HostError, match=r"SFTP|sftp"):
            one.subsystem("sftp")
    finally:
        server.stop()

"""The host's SSH server, as OpenSSH's own clients and paramiko see it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import pytest

from tests.support.machines.localhost import LocalHost, key_pair, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

BLOB = random.Random(7).randbytes(5_000_000)


def run(*argv: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, capture_output=True, timeout=timeout, check=False)


@pytest.fixture
def client(local_host: LocalHost) -> Iterator[paramiko.SSHClient]:
    made = paramiko.SSHClient()
    made.set_missing_host_key_policy(paramiko.RejectPolicy())
    name = f"[127.0.0.1]:{local_host.instance.port}"
    kind, data = str(local_host.instance.host_key).split()
    made.get_host_keys().add(name, kind, paramiko.PKey.from_type_string(kind, base64.b64decode(data)))
    made.connect(
        "127.0.0.1",
        port=local_host.instance.port,
        username=local_host.instance.user,
        key_filename=str(local_host.key),
        look_for_keys=False,
        allow_agent=False,
    )
    yield made
    made.close()


# -- commands


def test_binary_in_and_out_and_stderr_apart(local_host: LocalHost) -> None:
    done = local_host.ssh("tee /dev/stderr | cat; exit 41", stdin=BLOB)
    assert done.stdout == BLOB
    assert done.stderr == BLOB
    assert done.returncode == 41


def test_input_that_nobody_reads_does_not_hang(local_host: LocalHost) -> None:
    assert local_host.ssh("head -c 3", stdin=BLOB).stdout == BLOB[:3]
    assert local_host.ssh("exec <&-; sleep 0.2; echo ok", stdin=BLOB).stdout == b"ok\n"


def test_end_of_input_arrives(local_host: LocalHost) -> None:
    assert local_host.ssh("wc -c", stdin=b"12345").stdout.strip() == b"5"
    assert local_host.ssh("cat", stdin=b"").stdout == b""


def test_a_command_starts_in_its_home(local_host: LocalHost) -> None:
    assert local_host.ssh("pwd; cd; pwd").stdout.decode().splitlines() == [str(local_host.home)] * 2


def test_python_of_the_host_has_ipykernel(local_host: LocalHost) -> None:
    done = local_host.ssh("python3 -c 'import ipykernel; print(ipykernel.__name__)'")
    assert done.stdout == b"ipykernel\n", done.stderr


def test_bin_is_first_on_the_path(local_host: LocalHost) -> None:
    tool = local_host.directory / "bin" / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'a GPU'\n")
    tool.chmod(0o755)
    assert local_host.ssh("nvidia-smi").stdout == b"a GPU\n"
    assert b"a GPU" in local_host.ssh(options=("-tt",), stdin=b"nvidia-smi; exit\n").stdout


def test_what_bashrc_prints_comes_first_as_on_a_real_host(local_host: LocalHost) -> None:
    (local_host.home / ".bashrc").write_text("echo WELCOME\n")
    assert local_host.ssh("echo hi").stdout.endswith(b"hi\n")
    if Path("/bin/bash").exists():
        assert local_host.ssh("echo hi").stdout == b"WELCOME\nhi\n"


def test_variables_of_the_client(local_host: LocalHost) -> None:
    options = ("-oSetEnv=COLOUR=blue GPUNB_LOCAL_INSTANCE=other",)
    done = local_host.ssh('printf %s "$COLOUR $GPUNB_LOCAL_INSTANCE"', options=options)
    assert done.stdout.decode() == f"blue {local_host.instance.id}"


def test_a_signal_that_ends_a_command_is_told(client: paramiko.SSHClient) -> None:
    channel = client.get_transport().open_session()  # type: ignore[union-attr]
    channel.exec_command("kill -TERM $$; sleep 5")
    assert channel.recv_exit_status() == -1  # what paramiko makes of an exit-signal


def test_a_signal_of_the_client_reaches_the_group(client: paramiko.SSHClient) -> None:
    channel = client.get_transport().open_session()  # type: ignore[union-attr]
    channel.exec_command("trap 'echo got it; exit 5' USR1; echo ready; while :; do sleep 0.05; done")
    assert channel.recv(6) == b"ready\n"
    message = paramiko.Message()
    message.add_byte(bytes([98]))  # SSH_MSG_CHANNEL_REQUEST, RFC 4254 6.9
    message.add_int(channel.remote_chanid)
    message.add_string("signal")
    message.add_boolean(False)
    message.add_string("USR1")
    channel.transport._send_user_message(message)
    assert channel.makefile().read() == b"got it\n"
    assert channel.recv_exit_status() == 5


def test_many_commands_at_once_on_one_connection(client: paramiko.SSHClient) -> None:
    running = [client.exec_command(f"cat; echo {number} >&2") for number in range(20)]
    for stdin, _, _ in running:
        stdin.write(BLOB[:100_000])
        stdin.channel.shutdown_write()
    for number, (_, stdout, stderr) in enumerate(running):
        assert stdout.read() == BLOB[:100_000]
        assert stderr.read() == f"{number}\n".encode()
        assert stdout.channel.recv_exit_status() == 0


def test_a_detached_process_outlives_the_connection(local_host: LocalHost) -> None:
    done = local_host.ssh("setsid sh -c 'sleep 0.5; echo late > late' </dev/null >/dev/null 2>&1 &")
    assert done.returncode == 0
    until((local_host.home / "late").exists)


def test_a_client_that_goes_away_closes_the_pipes(local_host: LocalHost) -> None:
    """As under sshd: the command is not killed, its next write is."""
    argv = ["ssh", *local_host.ssh_options, "-p", str(local_host.instance.port), local_host.target]
    script = "echo $$ > pid; while echo tick; do sleep 0.02; done; echo ended > ended"
    with subprocess.Popen([*argv, f"trap '' PIPE; {script}"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"tick\n"
        child.kill()
    until((local_host.home / "ended").exists)


def test_a_slow_reader_does_not_fill_the_hosts_memory(
    local_host: LocalHost, client: paramiko.SSHClient
) -> None:
    import psutil

    from gpunb.providers.local import running

    host = running(local_host.directory)
    assert host is not None
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_session(window_size=2**31 - 1)
    before = psutil.Process(host.pid).memory_info().rss
    channel.exec_command("head -c 60000000 /dev/zero")
    total = 0
    most = 0
    while chunk := channel.recv(1 << 20):
        total += len(chunk)
        most = max(most, psutil.Process(host.pid).memory_info().rss - before)
    assert total == 60_000_000
    assert most < 60_000_000


# -- terminals


def test_a_terminal(local_host: LocalHost) -> None:
    done = local_host.ssh("tty; test -t 0 && test -t 1 && echo both; echo $TERM; exit 6", options=("-tt",))
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("/dev/")
    assert lines[1] == "both"
    assert done.returncode == 6
    assert b"\r\n" in done.stdout


def test_a_terminal_resizes_and_interrupts(local_host: LocalHost, client: paramiko.SSHClient) -> None:
    channel = client.invoke_shell(term="xterm-256color", width=91, height=33)
    channel.settimeout(20)
    shown = bytearray()

    def expect(words: bytes) -> None:
        while words not in shown:
            data = channel.recv(65536)
            assert data, bytes(shown)
            shown.extend(data)
        del shown[: shown.index(words) + len(words)]

    channel.sendall(b"stty size; echo $TERM\n")
    expect(b"33 91")
    expect(b"xterm-256color")
    channel.resize_pty(width=120, height=40)
    channel.sendall(b"stty size\n")
    expect(b"40 120")
    loop = "trap 'echo caught; exit 3' INT; echo started; while :; do sleep 0.05; done\n"
    (local_host.home / "loop").write_text(loop)
    channel.sendall(b"sh loop; echo code=$?\n")
    expect(b"started")
    channel.sendall(b"\x03")
    expect(b"caught")
    expect(b"code=3")
    channel.sendall(b"exit 9\n")
    assert channel.recv_exit_status() == 9


def test_a_terminal_that_hangs_up_ends_its_programs(local_host: LocalHost) -> None:
    import psutil

    argv = ["ssh", *local_host.ssh_options, "-tt", "-p", str(local_host.instance.port), local_host.target]
    with subprocess.Popen(
        [*argv, "echo $$ > pid; echo up; sleep 600"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"up"
        pid = int((local_host.home / "pid").read_text())
        assert psutil.pid_exists(pid)
        child.kill()
    until(lambda: not psutil.pid_exists(pid))


def test_all_output_of_a_terminal_comes_before_its_end(local_host: LocalHost) -> None:
    done = local_host.ssh("seq 1 60000", options=("-tt",))
    assert done.stdout.decode().split() == [str(number) for number in range(1, 60001)]


def test_a_terminal_does_not_wait_for_background_programs(local_host: LocalHost) -> None:
    done = local_host.ssh("nohup sleep 30 & echo out", options=("-tt",), timeout=20)
    assert b"out" in done.stdout


# -- who may log in


def test_a_password_is_refused(local_host: LocalHost) -> None:
    for arguments in ((), ("x",), ("",)):
        with paramiko.Transport(("127.0.0.1", local_host.instance.port)) as transport:
            transport.start_client(timeout=20)
            attempt = transport.auth_password if arguments else transport.auth_none
            with pytest.raises(paramiko.BadAuthenticationType) as caught:
                attempt(local_host.instance.user, *arguments)
            assert caught.value.allowed_types == ["publickey"]


def test_another_key_and_another_user_are_refused(local_host: LocalHost, tmp_path: Path) -> None:
    other, line = key_pair(tmp_path, "other")
    good, local_host.key = local_host.key, other
    refused = local_host.ssh("true")
    assert refused.returncode == 255
    assert b"Permission denied (publickey)" in refused.stderr
    # a key that is added later works at once, as clouds attach them
    with (local_host.directory / "authorized_keys").open("a") as keys:
        keys.write(f"not a key\n{line}\n")
    assert local_host.ssh("echo in").stdout == b"in\n"
    local_host.key = good
    stranger = local_host.ssh("true", options=("-l", "nobody"))
    assert stranger.returncode == 255
    assert b"Permission denied (publickey)" in stranger.stderr


# -- files


def test_sftp_paths_start_at_home(client: paramiko.SSHClient, local_host: LocalHost) -> None:
    with client.open_sftp() as sftp:
        assert sftp.normalize(".") == str(local_host.home)
        sftp.mkdir("data")
        with sftp.open("data/blob", "wb") as out:
            out.set_pipelined(True)
            out.write(BLOB)
        assert (local_host.home / "data" / "blob").read_bytes() == BLOB
        with sftp.open("data/blob", "rb") as back:
            back.prefetch()
            assert back.read() == BLOB
        sftp.posix_rename("data/blob", "data/kept")
        assert sftp.listdir("data") == ["kept"]
        with pytest.raises(FileNotFoundError):
            sftp.stat("data/blob")


def test_the_sftp_program(local_host: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(BLOB)
    batch = tmp_path / "batch"
    batch.write_text(f"put {tmp_path / 'in'} there\nget there {tmp_path / 'out'}\npwd\n")
    done = run(
        "sftp", *local_host.ssh_options, "-P", str(local_host.instance.port), "-b", batch, local_host.target
    )
    assert done.returncode == 0, done.stderr
    assert str(local_host.home).encode() in done.stdout
    assert (tmp_path / "out").read_bytes() == BLOB


@pytest.mark.parametrize("flag", ["-s", "-O"], ids=["sftp protocol", "scp protocol"])
def test_scp_both_ways(local_host: LocalHost, tmp_path: Path, flag: str) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "ümlaut file").write_bytes(BLOB)
    options = [*local_host.ssh_options, flag, "-rp", "-P", str(local_host.instance.port)]
    up = run("scp", *options, folder, f"{local_host.target}:")
    assert up.returncode == 0, up.stderr
    assert (local_host.home / "folder" / "sub" / "ümlaut file").read_bytes() == BLOB
    down = run("scp", *options, f"{local_host.target}:folder", tmp_path / "back")
    assert down.returncode == 0, down.stderr
    assert (tmp_path / "back" / "sub" / "ümlaut file").read_bytes() == BLOB


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_rsync_both_ways(local_host: LocalHost, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number}.bin").write_bytes(BLOB[: number * 1000])
    shell = " ".join(["ssh", *local_host.ssh_options, "-p", str(local_host.instance.port)])
    up = run("rsync", "-a", "-e", shell, f"{folder}/", f"{local_host.target}:copy/")
    assert up.returncode == 0, up.stderr
    down = run("rsync", "-a", "-e", shell, f"{local_host.target}:copy/", tmp_path / "back")
    assert down.returncode == 0, down.stderr
    for number in range(50):
        assert (tmp_path / "back" / f"{number}.bin").stat().st_size == number * 1000


# -- forwards


class _Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def tunnel(host: LocalHost, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = ["ssh", *host.ssh_options, "-oExitOnForwardFailure=yes", *options, "-p", str(host.instance.port)]
    with subprocess.Popen(
        [*argv, host.target, "echo up; cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == b"up\n", child.stderr and child.stderr.read()
            yield child
        finally:
            child.terminate()


def echoed(address: tuple[str, int] | str, data: bytes) -> str:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as link:
        link.settimeout(20)
        link.connect(address)
        sender = threading.Thread(target=lambda: (link.sendall(data), link.shutdown(socket.SHUT_WR)))
        sender.start()
        digest, got = hashlib.sha256(), 0
        while got < len(data):
            part = link.recv(65536)
            if not part:
                break
            digest.update(part)
            got += len(part)
        sender.join()
    return digest.hexdigest()


def test_forward_to_the_host(local_host: LocalHost, echo: int) -> None:
    port = free_port()
    with tunnel(local_host, "-L", f"127.0.0.1:{port}:127.0.0.1:{echo}"):
        assert echoed(("127.0.0.1", port), BLOB) == hashlib.sha256(BLOB).hexdigest()


@pytest.mark.parametrize("where", ["", "127.0.0.1:", "localhost:", "*:"])
def test_forward_from_the_host(local_host: LocalHost, echo: int, where: str) -> None:
    import psutil

    port = free_port()
    with tunnel(local_host, "-R", f"{where}{port}:127.0.0.1:{echo}"):
        assert echoed(("127.0.0.1", port), BLOB) == hashlib.sha256(BLOB).hexdigest()
        listening = {
            one.laddr.ip
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port
        }
        assert listening == {"127.0.0.1"}, "nothing listens beyond this machine, whatever was asked"
    until(lambda: not listens(port))


def test_forward_from_another_address_is_refused(local_host: LocalHost, echo: int) -> None:
    done = local_host.ssh(
        "true", options=("-oExitOnForwardFailure=yes", "-R", f"192.0.2.1:{free_port()}:127.0.0.1:{echo}")
    )
    assert done.returncode == 255
    assert b"remote port forwarding failed" in done.stderr or done.stderr


def test_a_port_of_the_hosts_choice(client: paramiko.SSHClient, echo: int) -> None:
    transport = client.get_transport()
    assert transport is not None
    port = transport.request_port_forward("", 0)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        channel = transport.accept(20)
        assert channel is not None
        link.sendall(b"ping")
        assert channel.recv(4) == b"ping"
        channel.sendall(b"pong")
        assert link.recv(4) == b"pong"
        channel.close()
    transport.cancel_port_forward("", port)
    until(lambda: not listens(port))


def test_forward_to_a_unix_socket_of_the_host(local_host: LocalHost, tmp_path: Path) -> None:
    runtime = local_host.ssh('printf %s "$XDG_RUNTIME_DIR"').stdout.decode()
    path = f"{runtime}/echo.sock"
    assert len(path) < 60
    with socketserver.ThreadingUnixStreamServer(path, _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            port = free_port()
            with tunnel(local_host, "-L", f"127.0.0.1:{port}:{path}"):
                assert echoed(("127.0.0.1", port), BLOB) == hashlib.sha256(BLOB).hexdigest()
        finally:
            server.shutdown()
            thread.join()


def test_forward_from_a_unix_socket_of_the_host(local_host: LocalHost, echo: int) -> None:
    runtime = local_host.ssh('printf %s "$XDG_RUNTIME_DIR"').stdout.decode()
    path = f"{runtime}/back.sock"
    with tunnel(local_host, "-R", f"{path}:127.0.0.1:{echo}"):
        assert echoed(path, b"over the socket") == hashlib.sha256(b"over the socket").hexdigest()


def test_what_is_not_there_is_refused(client: paramiko.SSHClient) -> None:
    transport = client.get_transport()
    assert transport is not None
    with pytest.raises(paramiko.ChannelException):
        transport.open_channel("direct-tcpip", ("127.0.0.1", free_port()), ("127.0.0.1", 1), timeout=20)
    assert transport.is_active()
    with pytest.raises(paramiko.SSHException):
        transport.open_session().invoke_subsystem("nosuch")
    assert transport.is_active()


def test_a_stopped_host_process_is_not_taken_for_a_dead_one(local_host: LocalHost) -> None:
    from gpunb.providers.local import running

    host = running(local_host.directory)
    assert host is not None
    os.kill(host.pid, signal.SIGSTOP)
    try:
        assert local_host.provider.get(local_host.instance.id).state.value == "running"
    finally:
        os.kill(host.pid, signal.SIGCONT)
    assert local_host.ssh("echo awake").stdout == b"awake\n"

"""A source's host that tries more than it may with the key to the target's, and one that lies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from gpunb.agent.files import host_to_host as door
from gpunb.agent.files import server as agent_files
from gpunb.agent.shared import file_frames as wire
from gpunb.remote import AgentClient
from gpunb.ssh.keys import generate_host_key
from tests.support.machines import sshd as support
from tests.support.machines.hosts import MB, Two, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


def with_key(sshd: support.Sshd, key: Path, *words: str, stdin: bytes = b"") -> tuple[int, bytes]:
    argv = ["ssh", "-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
    argv += ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    argv += ["-o", "LogLevel=ERROR", "-p", str(sshd.port), "-l", sshd.endpoint().user, *words]
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def opened(hosts: Two, tmp_path: Path) -> Iterator[tuple[Two, AgentClient, str, Path]]:
    """The target's host with a key let in, and the key in a stranger's hand."""
    from gpunb.sync.stream.file_channel import FileChannel

    two = hosts.two()
    private, public = generate_host_key()
    key = tmp_path / "stolen"
    key.touch(mode=0o600)
    key.write_text(private)
    line = FileChannel(two)
    folder = str(line.call("admit", key=public, seconds=60)["folder"])
    yield hosts, two, folder, key
    line.close()
    wait_until(lambda: hosts.b.keys.read_bytes() == hosts.keys)
    wait_until(lambda: not Path(folder).exists())


def test_the_key_runs_nothing_and_opens_nothing(opened: tuple[Two, AgentClient, str, Path]) -> None:
    hosts, _, _, key = opened
    proof = hosts.root / "proof"
    for word in (
        f"touch {proof}",
        f"x; touch {proof}",
        f"$(touch {proof})",
        "../" * 8 + "etc/passwd",
        "a" * 32,
    ):
        code, said = with_key(hosts.b, key, "127.0.0.1", word)
        assert code == 3, said
        assert door.NO in said
    code, said = with_key(hosts.b, key, "127.0.0.1", stdin=f"touch {proof}\n".encode())  # a shell
    assert code == 3, said
    code, said = with_key(hosts.b, key, "-s", "127.0.0.1", "sftp")
    assert door.NO in said
    code, said = with_key(hosts.b, key, "-tt", "127.0.0.1", "sh")
    assert "PTY allocation request failed" in said.decode()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, said = with_key(hosts.b, key, "-W", f"127.0.0.1:{port}", "127.0.0.1")
        assert code != 0
        assert b"forwarding failed" in said
        other.settimeout(0)
        with pytest.raises(BlockingIOError):
            other.accept()
    code, said = with_key(
        hosts.b, key, "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "127.0.0.1", "x"
    )
    assert code == 255
    assert b"forwarding failed" in said
    assert not proof.exists()


def test_the_key_is_let_in_once_for_each_line_and_ends(opened: tuple[Two, AgentClient, str, Path]) -> None:
    from gpunb.sync.stream.file_channel import FileChannel

    hosts, two, folder, key = opened
    taker = FileChannel(two, str(hosts.b.home))
    token = "0123456789abcdef" * 2
    taker.call("listen", folder=folder, token=token)
    asked: list[tuple[int, bytes]] = []
    thread = threading.Thread(target=lambda: asked.append(with_key(hosts.b, key, "127.0.0.1", token)))
    thread.start()
    taker.call("accept")
    code, said = with_key(hosts.b, key, "127.0.0.1", token)
    assert (code, door.NO in said) == (3, True)
    taker.close()
    thread.join(20)
    assert f"{token} ready" in asked[0][1].decode()


def test_a_key_that_nobody_took_away_expires(hosts: Two, tmp_path: Path) -> None:
    """Both ends killed: sshd itself refuses it after its time."""
    from gpunb.sync.stream.file_channel import FileChannel

    two = hosts.two()
    private, public = generate_host_key()
    key = tmp_path / "stolen"
    key.touch(mode=0o600)
    key.write_text(private)
    line = FileChannel(two)
    folder = str(line.call("admit", key=public, seconds=4)["folder"])
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = process.info["cmdline"] or []
        if words[-2:-1] == ["files"] and (process.info["environ"] or {}).get("HOME") == str(hosts.b.home):
            process.kill()
    time.sleep(0.5)
    assert public.encode() in hosts.b.keys.read_bytes()
    assert with_key(hosts.b, key, "127.0.0.1", "x")[0] == 3
    wait_until(lambda: with_key(hosts.b, key, "127.0.0.1", "x")[0] == 255)
    line.close()
    Path(folder).rmdir()  # nobody was left to do it
    # and the next sync takes the line out
    fresh = FileChannel(two)
    fresh.call("admit", key=generate_host_key()[1], seconds=4)
    assert public.encode() not in hosts.b.keys.read_bytes()
    fresh.call("dismiss")
    fresh.close()
    assert hosts.b.keys.read_bytes() == hosts.keys


def frame(kind: bytes, body: bytes) -> bytes:
    return wire.FRAME.pack(len(body), kind[0]) + body


LIES = {
    "more of a file": frame(b"P", b"\0" + b"x" * 101) + frame(b"R", b""),
    "less of a file": frame(b"P", b"\0" + b"x" * 99) + frame(b"R", b""),
    "a frame of 4 GB": wire.FRAME.pack(2**32 - 1, ord("P")),
    "a call": frame(b"J", b'{"op": "delete", "jobs": [["keep", false]]}'),
    "a write": frame(b"W", b"\0\0\0\1\0" + wire.GIVE.pack(4, 0o777, 0, 0, 1) + b"evilx"),
    "a piece elsewhere": frame(b"D", wire.DATA.pack(1, 0, 4) + b"evil\0x"),
    "a bomb": frame(b"P", b"\1" + __import__("zlib").compress(b"x" * (8 * MB))),
    "a compression of its own": frame(b"P", b"\x07x"),
    "nothing": b"",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_source_that_lies_writes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    """What the receiver does with bytes of a stranger: into the part that it was told, or an end."""
    (tmp_path / "keep").write_text("mine")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    (tmp_path / "sub/keep").write_text("mine")
    answers, sink = os.pipe()
    source, asks = os.pipe()
    server = agent_files.Server(source, sink)
    try:
        server.inlet, far = socket.socketpair()
        with far:
            far.sendall(LIES[lie])
            far.shutdown(socket.SHUT_WR)
            path = b"part"
            body = door.TAKE.pack(1, 0, 100, len(path)) + path
            os.write(asks, frame(b"d", body) + frame(b"d", body) + frame(b"Q", b"\0\0\0\1"))
            os.close(asks)
            assert server.serve() == 0
    finally:
        server.end_direct()
        os.umask(server.umask)
        signal.alarm(0)
        os.close(sink)
    with open(answers, "rb") as file:
        said = file.read()
    os.close(source)
    kinds = ""
    while said:
        size, kind = wire.FRAME.unpack_from(said)
        kinds += chr(kind)
        said = said[wire.FRAME.size + size :]
    assert kinds.replace("Y", "") == "BBQ"  # the next one is not taken either
    assert sorted(os.listdir(tmp_path / "sub")) == ["keep", "part"]
    assert (tmp_path / "sub/keep").read_text() == (tmp_path / "keep").read_text() == "mine"
    assert (tmp_path / "sub/part").stat().st_size <= 100


CLIENT = """
import os, sys
from pathlib import Path
from gpunb.remote import AgentClient
from gpunb.ssh import Endpoint
from gpunb.sync.stream import host_to_host as direct
from gpunb.sync.stream.host_tree import HostSide

words = sys.argv[1:]
fields = dict(zip(("host", "port", "user", "key", "known_hosts", "alias"), words))
fields["port"] = int(fields["port"])
for name in ("key", "known_hosts"):
    fields[name] = Path(fields[name])
client = AgentClient.connect(Endpoint(**fields), python=sys.executable)
side = HostSide(client)

def stop(*_):
    print("in", flush=True)
    sys.stdin.read()

direct._check = stop
direct.connect(side, side, 100 * 2**20)
"""


def test_a_client_that_is_killed_leaves_no_key(hosts: Two) -> None:
    two = hosts.two()
    there = two.endpoint
    words = [there.host, str(there.port), there.user, str(there.key), str(there.known_hosts), there.alias]
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CLIENT), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"in\n"
        assert door.MARK.encode() in hosts.b.keys.read_bytes()
        child.kill()
    wait_until(lambda: hosts.b.keys.read_bytes() == hosts.keys)


def test_the_file_of_keys_keeps_what_others_wrote(tmp_path: Path) -> None:
    keys = tmp_path / "authorized_keys"
    keys.write_bytes(b"# mine\nssh-rsa AAAA me\n\xff odd gpunb-direct:x\nssh-ed25519 BBBB last")
    keys.chmod(0o640)
    old = keys.read_bytes()
    gone = b"ssh-ed25519 CCCC gpunb-direct:0011:1\n"
    keys.write_bytes(gone + old)
    mark = f"{door.MARK}aa:{int(time.time()) + 100}"
    door.edit_keys(str(keys), "", f"restrict ssh-ed25519 DDDD {mark}\n")
    assert keys.read_bytes() == old + f"\nrestrict ssh-ed25519 DDDD {mark}\n".encode()
    assert keys.stat().st_mode & 0o777 == 0o640
    door.edit_keys(str(keys), mark, "")
    assert keys.read_bytes() == old + b"\n"
    assert sorted(os.listdir(tmp_path)) == ["authorized_keys"]

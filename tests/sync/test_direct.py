"""From host to host without passing through here: real sshds, and hosts that try more than they may."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from gpunb.agent import direct as door
from gpunb.agent import files as agent_files
from gpunb.agent import filewire as wire
from gpunb.remote import AgentClient
from gpunb.ssh import Endpoint
from gpunb.ssh.keys import generate_host_key
from gpunb.sync import direct
from gpunb.sync.flow import Wish, by_agents
from tests.support import sshd as support
from tests.support.proxy import Proxy
from tests.support.trees import shape
from tests.sync.conftest import agent_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.sync import SyncReport
    from tests.support.localhost import LocalHost

MB = 2**20


class Two:
    """Two hosts and their agents."""

    def __init__(self, root: Path, stack: contextlib.ExitStack, **second: Any) -> None:
        self._stack = stack
        self.root = root
        self.a = support.Sshd(root / "a", plain=True).start()
        stack.callback(self.a.stop)
        self.b = support.Sshd(root / "b", **{"plain": True, **second}).start()
        stack.callback(self.b.stop)
        self.one = stack.enter_context(agent_on(self.a, alias="gpunb-one"))
        self.keys = self.b.keys.read_bytes()

    def two(self, **changes: Any) -> AgentClient:
        return self._stack.enter_context(agent_on(self.b, alias="gpunb-two", **changes))

    def tree(self, size: int = 24 * MB) -> Path:
        """A folder on the source's host, of all kinds of files."""
        top = self.a.home / "out"
        (top / "deep/er").mkdir(parents=True)
        noise = random.Random(6)
        (top / "large").write_bytes(noise.randbytes(size))
        (top / "whole").write_bytes(noise.randbytes(3 * MB))
        (top / "empty").touch()
        with (top / "holes").open("wb") as file:
            file.seek(20 * MB)
            file.write(noise.randbytes(100))
        for number in range(700):
            (top / f"deep/er/{number}").write_bytes(noise.randbytes(number))
        (top / 'deep/it\'s "odd"\n').write_text("x")
        (top / "link").symlink_to("deep/er/7")
        (top / "large").chmod(0o640)
        return top

    def traffic(self, client: AgentClient) -> int:
        return sum(client.connection.traffic())


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as found:
        yield found


@pytest.fixture
def hosts(tmp_path: Path, stack: contextlib.ExitStack) -> Two:
    if not support.available():
        pytest.skip("needs OpenSSH's sshd and sftp-server")
    return Two(tmp_path, stack)


def leftovers() -> set[str]:
    places = [Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp"))]
    return {str(found) for place in places if place.is_dir() for found in place.glob("gpunb-direct-*")}


def dialled(sshd: support.Sshd) -> list[psutil.Process]:
    """The ssh processes that a host started towards another."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.info["name"] == "ssh" and "HostKeyAlias=gpunb-direct" in words and str(sshd.port) in words:
            found.append(process)
    return found


def wait_until(done: Any, seconds: float = 20.0) -> None:
    for _ in range(int(seconds * 20)):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError(done)


def went_straight(report: SyncReport) -> bool:
    report.check()
    return report.way.startswith("straight from host to host")


def test_the_same_tree_straight(hosts: Two) -> None:
    before = leftovers()
    top = hosts.tree(80 * MB)
    two = hosts.two()
    moved = hosts.traffic(two)
    report = by_agents(hosts.one, "out", two, "in", Wish())
    assert went_straight(report), report.way
    assert "6 lines" in report.way
    assert report.data()["way"] == report.why == report.way
    assert shape(hosts.b.home / "in") == shape(top)
    assert (hosts.b.home / "in/holes").stat().st_blocks * 512 < 2 * MB
    assert hosts.traffic(two) - moved < 2 * MB  # the plan passes here, the 83 MB do not

    assert hosts.b.keys.read_bytes() == hosts.keys
    wait_until(lambda: not dialled(hosts.b))
    wait_until(lambda: leftovers() <= before)

    # the next time: nothing, then what changed in a large file
    assert by_agents(hosts.one, "out", two, "in", Wish()).sent_files == 0
    with (top / "large").open("r+b") as file:
        file.seek(30 * MB)
        file.write(b"changed")
    again = by_agents(hosts.one, "out", two, "in", Wish(delete="delete"))
    assert went_straight(again)
    assert 0 < again.moved_bytes < MB
    assert shape(hosts.b.home / "in") == shape(top)
    single = by_agents(hosts.one, "out/large", two, "other/", Wish())
    assert went_straight(single)
    assert (hosts.b.home / "other/large").read_bytes() == (top / "large").read_bytes()


def test_a_dry_run_asks_no_host_for_anything(hosts: Two) -> None:
    hosts.tree()
    two = hosts.two()
    mtime = hosts.b.keys.stat().st_mtime_ns
    report = by_agents(hosts.one, "out", two, "in", Wish(dry_run=True))
    assert report.way == ""
    assert len(report.plan.items) > 700
    assert not (hosts.b.home / "in").exists()
    assert hosts.b.keys.stat().st_mtime_ns == mtime


def test_little_and_unwanted_go_through_here(hosts: Two) -> None:
    hosts.tree(9 * MB)
    two = hosts.two()
    report = by_agents(hosts.one, "out/deep", two, "in", Wish())
    report.check()
    assert report.way == "through this machine: it is too little for a line of its own"
    asked = by_agents(hosts.one, "out", two, "in2", Wish(direct=False))
    asked.check()
    assert asked.way == "through this machine: as asked"
    assert shape(hosts.b.home / "in2") == shape(hosts.a.home / "out")


class Ours(Proxy):
    """Passes only this process on; others meet `answer`: a closed door, or silence."""

    silent = False

    def _serve(self, client: socket.socket) -> None:
        peer = client.getpeername()[1]
        mine = {one.laddr.port for one in psutil.Process().net_connections("tcp")}
        if peer in mine:
            super()._serve(client)
            return
        if self.silent:
            client.recv(1000)  # its greeting
            client.recv(1000)  # until it gives up
        client.close()


@pytest.mark.parametrize("silent", [False, True])
def test_where_the_source_can_not_reach_the_target(hosts: Two, *, silent: bool) -> None:
    top = hosts.tree()
    with Ours(hosts.b.port) as proxy:
        proxy.silent = silent
        two = hosts.two(port=proxy.port)
        report = by_agents(hosts.one, "out", two, "in", Wish())
        report.check()
        assert report.way.startswith("through this machine: the source's host can't reach the target's: ")
        assert len(report.way.partition("target's: ")[2]) > 5
        assert shape(hosts.b.home / "in") == shape(top)
        assert hosts.b.keys.read_bytes() == hosts.keys
    assert not dialled(hosts.b)


def test_a_server_that_runs_what_it_is_asked_gets_no_key_for_strangers(
    tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    """A ForceCommand in sshd's configuration wins over the key's own command."""
    runs = tmp_path / "runs"
    runs.write_text('#!/bin/sh\nexec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
    runs.chmod(0o755)
    hosts = Two(tmp_path, stack, extra=f"ForceCommand {runs}")
    top = hosts.tree()
    report = by_agents(hosts.one, "out", hosts.two(), "in", Wish())
    report.check()
    assert report.way.endswith("would run other commands with a key held to one")
    assert shape(hosts.b.home / "in") == shape(top)
    assert hosts.b.keys.read_bytes() == hosts.keys


def test_a_server_that_does_not_read_that_file(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    hosts = Two(tmp_path, stack, plain=False)
    top = hosts.tree()
    two = hosts.two()
    report = by_agents(hosts.one, "out", two, "in", Wish())
    assert report.way.endswith("takes no key for it: it has no ~/.ssh/authorized_keys")
    (hosts.b.home / ".ssh").mkdir()
    (hosts.b.home / ".ssh/authorized_keys").write_text("# of no use")
    again = by_agents(hosts.one, "out", two, "in2", Wish())
    again.check()
    assert again.way.endswith("takes no key from ~/.ssh/authorized_keys")
    assert (hosts.b.home / ".ssh/authorized_keys").read_text() in ("# of no use", "# of no use\n")
    assert shape(hosts.b.home / "in2") == shape(top)


# -- a source's host that has the key and tries more with it


def with_key(sshd: support.Sshd, key: Path, *words: str, stdin: bytes = b"") -> tuple[int, bytes]:
    argv = ["ssh", "-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
    argv += ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    argv += ["-o", "LogLevel=ERROR", "-p", str(sshd.port), "-l", sshd.endpoint().user, *words]
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def opened(hosts: Two, tmp_path: Path) -> Iterator[tuple[Two, AgentClient, str, Path]]:
    """The target's host with a key let in, and the key in a stranger's hand."""
    from gpunb.sync.line import Line

    two = hosts.two()
    private, public = generate_host_key()
    key = tmp_path / "stolen"
    key.touch(mode=0o600)
    key.write_text(private)
    line = Line(two)
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
    from gpunb.sync.line import Line

    hosts, two, folder, key = opened
    taker = Line(two, str(hosts.b.home))
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
    from gpunb.sync.line import Line

    two = hosts.two()
    private, public = generate_host_key()
    key = tmp_path / "stolen"
    key.touch(mode=0o600)
    key.write_text(private)
    line = Line(two)
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
    fresh = Line(two)
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
    "a write": frame(b"W", b"\0\0\0\1\0" + wire.GIVE.pack(4, 0o777, 0, 1) + b"evilx"),
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


# -- what breaks


class Slow:
    """Pace that lets a test act in the middle."""

    def __init__(self, act: Any, after: int = 1) -> None:
        self.act, self.left = act, after
        self.lock = threading.Lock()

    def wait(self, _size: int) -> None:
        with self.lock:
            self.left -= 1
            if self.left == 0:
                self.act()
            time.sleep(0.05 if self.left > 0 else 0)


def test_a_direct_line_that_breaks_is_left_for_the_way_through_here(hosts: Two) -> None:
    top = hosts.tree(200 * MB)
    two = hosts.two()

    def cut() -> None:
        found = dialled(hosts.b)
        assert found
        for process in found:
            process.kill()

    report = by_agents(hosts.one, "out", two, "in", Wish(pace=Slow(cut, 6)))  # type: ignore[arg-type]
    report.check()
    assert report.way.startswith("through this machine: the line from host to host broke")
    assert report.retries == 1
    assert shape(hosts.b.home / "in") == shape(top)
    assert hosts.b.keys.read_bytes() == hosts.keys


def test_a_file_that_changes_and_one_that_can_not_be_written(hosts: Two) -> None:
    top = hosts.tree()
    two = hosts.two()
    (hosts.b.home / "in/whole").mkdir(parents=True)
    (hosts.b.home / "in/whole/x").touch()

    def change() -> None:
        with (top / "large").open("ab") as file:
            file.write(b"more")
        (top / "deep/er/699").unlink()

    report = by_agents(hosts.one, "out", two, "in", Wish(pace=Slow(change)))  # type: ignore[arg-type]
    assert report.way.startswith("straight")
    failed = dict(report.failed)
    assert failed["large"] == wire.CHANGED
    assert "whole" in failed
    assert not (hosts.b.home / "in/large").exists()
    (top / "whole").unlink()
    again = by_agents(hosts.one, "out", two, "in", Wish(delete="delete"))
    again.check()
    assert shape(hosts.b.home / "in") == shape(top)


def test_an_interrupt_cleans_up(hosts: Two) -> None:
    before = leftovers()
    hosts.tree(200 * MB)
    two = hosts.two()
    main = threading.main_thread().ident
    assert main is not None
    with pytest.raises(KeyboardInterrupt):
        by_agents(
            hosts.one, "out", two, "in",
            Wish(pace=Slow(lambda: signal.pthread_kill(main, signal.SIGINT), 6)),  # type: ignore[arg-type]
        )  # fmt: skip
    assert hosts.b.keys.read_bytes() == hosts.keys
    wait_until(lambda: not dialled(hosts.b))
    wait_until(lambda: leftovers() <= before)


CLIENT = """
import os, sys
from pathlib import Path
from gpunb.remote import AgentClient
from gpunb.ssh import Endpoint
from gpunb.sync import direct
from gpunb.sync.hostside import HostSide

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


def test_too_many_lines_never_stand() -> None:
    """The agent's, the plan's and the direct ones: OpenSSH's ten."""
    assert direct.LINES + 2 <= 10


def test_from_the_local_cloud_straight_and_into_it_through_here(
    hosts: Two, local_host: LocalHost, stack: contextlib.ExitStack
) -> None:
    """Its SSH server is no OpenSSH, and reads its keys elsewhere."""
    top = hosts.tree()
    (local_host.home / ".ssh").mkdir(exist_ok=True)
    (local_host.home / ".ssh/authorized_keys").touch()
    local = stack.enter_context(AgentClient.connect(Endpoint(**local_host.facts), python=sys.executable))
    into = by_agents(hosts.one, "out", local, "in", Wish())
    into.check()
    assert into.way.startswith("through this machine: the target's SSH server ")
    assert (local_host.home / ".ssh/authorized_keys").read_bytes() == b""
    assert shape(local_host.home / "in") == shape(top)
    back = by_agents(local, "in", hosts.two(), "back", Wish())
    assert went_straight(back), back.way
    assert shape(hosts.b.home / "back") == shape(top)

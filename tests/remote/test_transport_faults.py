"""Each way to the host, with each fault of the transport thrown in: what was asked, or one clear error.

The transport is real, and so are the host and its agent; one call of paramiko's, in the middle of
the work, raises. Nothing may hang, and what is said to have arrived must have arrived.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import paramiko
import pytest

import gpunb.commands.running.exec as exec_verb
from gpunb.errors import GpunbError
from gpunb.output import show
from gpunb.remote import AgentClient, get, put
from gpunb.remote.client import new_run_id
from gpunb.ssh import forward
from gpunb.sync import sync
from gpunb.sync.object_store.via_host import HostMover
from gpunb.sync.stream.sync_session import SyncOptions, by_agent
from tests.remote.conftest import Screen, end_host, wait_for
from tests.support.faults import faults
from tests.support.machines import sshd as support

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

FAULTS = list(faults())
CALLS = ("recv", "sendall", "recv_stderr", "shutdown_write", "settimeout", "close", "exec_command")
DATA = random.Random(3).randbytes(300_000)


class Fault:
    """Raises `fault` at the `at`-th call of `method` from now on, once."""

    def __init__(self, patch: pytest.MonkeyPatch, method: str, at: int, fault: Exception) -> None:
        self.left, self.fault, self.lock = at, fault, threading.Lock()
        real = getattr(paramiko.Channel, method)

        def call(channel: paramiko.Channel, *args: Any, **more: Any) -> Any:
            with self.lock:
                self.left -= 1
                hit = self.left == 0
            if hit:
                raise self.fault
            return real(channel, *args, **more)

        patch.setattr(paramiko.Channel, method, call)


@pytest.fixture(scope="module")
def client():
    if not support.available():
        pytest.skip("OpenSSH's sshd is not installed")
    root = Path(tempfile.mkdtemp(prefix="gpunb-t-"))
    server = support.Sshd(root).start()
    with AgentClient.connect(server.endpoint(), python=sys.executable, trust="own", patience=20) as found:
        found.request("ping")
        put(found, {"start": 1})  # the kernel is up
        yield found
    server.stop()
    end_host(server.home)
    shutil.rmtree(root, ignore_errors=True)


def cell(client: AgentClient, _folder: Path) -> None:
    screen = Screen()
    info = show(client.run_cell("for i in range(300):\n    print(i, flush=True)"), screen, interactive=False)
    assert info.state == "ok"
    assert screen.text() == "".join(f"{i}\n" for i in range(300))


def variables(client: AgentClient, _folder: Path) -> None:
    put(client, {"sent": DATA})
    assert get(client, ["sent"])["sent"] == DATA


def stream_sync(client: AgentClient, folder: Path) -> None:
    (folder / "there").mkdir()
    (folder / "there/file").write_bytes(DATA)
    by_agent(client, str(folder / "there"), f"streamed-{folder.name}", "up", SyncOptions()).check()
    by_agent(client, f"streamed-{folder.name}", str(folder / "back"), "down", SyncOptions()).check()
    assert (folder / "back/file").read_bytes() == DATA


def sftp_sync(client: AgentClient, folder: Path) -> None:
    (folder / "file").write_bytes(DATA)
    report = sync(client.connection, str(folder / "file"), f"sftp-{folder.name}", direction="up")
    assert not report.failed
    report = sync(client.connection, f"sftp-{folder.name}", str(folder / "b"), direction="down")
    assert not report.failed
    assert (folder / "b").read_bytes() == DATA or (folder / "b/file").read_bytes() == DATA


def hosted(client: AgentClient, folder: Path) -> None:
    name = f"hashed-{folder.name}"
    client.connection.run(f"printf word > {name}")
    with HostMover(client.connection, lambda _: None) as mover:
        assert mover.ask(op="hash", path=f"{client.info.home}/{name}")["ok"] is True


def exec_(client: AgentClient, _folder: Path) -> None:
    kept: dict[str, list[str]] = {"stdout": [], "stderr": []}
    channel = client.connection.channel("seq 20000; echo done >&2; exit 7")
    try:
        code = exec_verb._stream(channel, kept, exec_verb._Safe("own"), stdin=False)
    finally:
        channel.close()
    assert code == 7
    assert "".join(kept["stdout"]) == "".join(f"{i}\n" for i in range(1, 20001))
    assert "".join(kept["stderr"]) == "done\n"


def connecting(client: AgentClient, _folder: Path) -> None:
    with AgentClient.connect(client.endpoint, python=sys.executable, trust="own", patience=20) as other:
        assert other.info.home == client.info.home


def forwarded(client: AgentClient, _folder: Path) -> None:
    import socket

    port = int(client.endpoint.port)
    with (
        forward.local(client.connection, "127.0.0.1", port) as one,
        socket.create_connection(("127.0.0.1", one.port), timeout=20) as near,
    ):
        said = near.recv(7)
        if said != b"SSH-2.0":  # the forward says no by closing
            assert said in (b"", b"SSH-2.0"[: len(said)])


DOORS = {
    one.__name__: one
    for one in (cell, variables, stream_sync, sftp_sync, hosted, exec_, forwarded, connecting)
}


@pytest.mark.parametrize("door", sorted(DOORS))
def test_a_fault_in_the_middle_is_a_retry_or_one_error(client, door, tmp_path, monkeypatch):
    rng = random.Random(door)
    kinds = rng.sample(FAULTS, 9)
    come = 0
    for number, fault in enumerate(kinds):
        method = CALLS[number % len(CALLS)]
        folder = tmp_path / f"{new_run_id()}"
        folder.mkdir()
        _ = client.connection  # the line is back from the last one
        with monkeypatch.context() as patch:
            Fault(patch, method, rng.randint(1, 6), fault)
            with contextlib.suppress(GpunbError):  # anything else than one of ours fails the test
                DOORS[door](client, folder)
                come += 1
    assert client.alive
    DOORS[door](client, tmp_path)  # and nothing is left broken
    if door == "cell":
        assert come == len(kinds)  # what runs on the host is never lost


def test_whatever_ends_the_reader_ends_its_waiters(client, monkeypatch):
    """Also an error of our own, which nobody thought of."""
    other = AgentClient.connect(client.endpoint, python=sys.executable, trust="own", patience=20)
    run = other.run_cell("import time; time.sleep(30)")
    wait_for(lambda: other.run_info(run.id).state == "running")
    call = other.begin("kernel", type="kernel_info_request", content={}, timeout=60)
    monkeypatch.setattr(other, "_resume", lambda: 1 / 0)
    asked: list[BaseException] = []

    def ask() -> None:
        try:
            while True:
                _ = other.connection
                threading.Event().wait(0.02)
        except GpunbError as err:
            asked.append(err)

    thread = threading.Thread(target=ask)
    thread.start()
    other.connection.close()
    with pytest.raises(GpunbError):
        for _ in run.records(timeout=30):
            pass
    assert call.done.wait(10)
    thread.join(10)
    assert asked
    assert not other.alive
    assert not other.connected
    with pytest.raises(GpunbError):
        other.runs()
    client.cancel(run.id)


def test_a_front_end_that_fails_ends_nobody_else(client):
    """A page that was closed: its callbacks raise in the reading thread."""

    def gone(*_args: object) -> None:
        raise RuntimeError("Event loop is closed")

    end = client.listen(gone)
    client.on_line = gone
    try:
        run = client.run_cell("for i in range(50):\n    print(i, flush=True)")
        run.wake = gone
        screen = Screen()
        client.connection.close()  # a line that breaks is told to `on_line`
        assert show(run, screen, interactive=False).state == "ok"
        assert screen.text() == "".join(f"{i}\n" for i in range(50))
    finally:
        end()
        client.on_line = None

"""From host to host without passing through here: real sshds, the ways there are, and what breaks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from gpunb.agent.shared import file_frames as wire
from gpunb.remote import AgentClient
from gpunb.ssh import Endpoint
from gpunb.sync.stream import host_to_host
from gpunb.sync.stream.sync_session import SyncOptions, by_agents
from tests.support.machines.hosts import MB, Two, dialled, leftovers, wait_until, went_straight
from tests.support.machines.proxy import Proxy
from tests.support.trees import shape

if TYPE_CHECKING:
    from tests.support.machines.localhost import LocalHost

pytestmark = pytest.mark.slow


def test_the_same_tree_straight(hosts: Two) -> None:
    before = leftovers()
    top = hosts.tree(80 * MB)
    two = hosts.two()
    moved = hosts.traffic(two)
    report = by_agents(hosts.one, "out", two, "in", SyncOptions())
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
    assert by_agents(hosts.one, "out", two, "in", SyncOptions()).sent_files == 0
    with (top / "large").open("r+b") as file:
        file.seek(30 * MB)
        file.write(b"changed")
    again = by_agents(hosts.one, "out", two, "in", SyncOptions(delete="delete"))
    assert went_straight(again)
    assert 0 < again.moved_bytes < MB
    assert shape(hosts.b.home / "in") == shape(top)
    single = by_agents(hosts.one, "out/large", two, "other/", SyncOptions())
    assert went_straight(single)
    assert (hosts.b.home / "other/large").read_bytes() == (top / "large").read_bytes()


def test_a_dry_run_asks_no_host_for_anything(hosts: Two) -> None:
    hosts.tree()
    two = hosts.two()
    mtime = hosts.b.keys.stat().st_mtime_ns
    report = by_agents(hosts.one, "out", two, "in", SyncOptions(dry_run=True))
    assert report.way == ""
    assert len(report.plan.items) > 700
    assert not (hosts.b.home / "in").exists()
    assert hosts.b.keys.stat().st_mtime_ns == mtime


def test_little_and_unwanted_go_through_here(hosts: Two) -> None:
    hosts.tree(9 * MB)
    two = hosts.two()
    report = by_agents(hosts.one, "out/deep", two, "in", SyncOptions())
    report.check()
    assert report.way == "through this machine: it is too little for a line of its own"
    asked = by_agents(hosts.one, "out", two, "in2", SyncOptions(direct=False))
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
        report = by_agents(hosts.one, "out", two, "in", SyncOptions())
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
    report = by_agents(hosts.one, "out", hosts.two(), "in", SyncOptions())
    report.check()
    assert report.way.endswith("would run other commands with a key held to one")
    assert shape(hosts.b.home / "in") == shape(top)
    assert hosts.b.keys.read_bytes() == hosts.keys


def test_a_server_that_does_not_read_that_file(tmp_path: Path, stack: contextlib.ExitStack) -> None:
    hosts = Two(tmp_path, stack, plain=False)
    top = hosts.tree()
    two = hosts.two()
    report = by_agents(hosts.one, "out", two, "in", SyncOptions())
    assert report.way.endswith("takes no key for it: it has no ~/.ssh/authorized_keys")
    (hosts.b.home / ".ssh").mkdir()
    (hosts.b.home / ".ssh/authorized_keys").write_text("# of no use")
    again = by_agents(hosts.one, "out", two, "in2", SyncOptions())
    again.check()
    assert again.way.endswith("accepts no key from ~/.ssh/authorized_keys")
    assert (hosts.b.home / ".ssh/authorized_keys").read_text() in ("# of no use", "# of no use\n")
    assert shape(hosts.b.home / "in2") == shape(top)


# -- what breaks


class Slow:
    """Pace that lets a test act in the middle."""

    def __init__(self, act: Any, after: int = 1) -> None:
        self.act, self.left = act, after
        self.lock = threading.Lock()

    def wait(self, _size: int, _over: threading.Event) -> None:
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

    report = by_agents(hosts.one, "out", two, "in", SyncOptions(pace=Slow(cut, 6)))  # type: ignore[arg-type]
    report.check()
    assert report.way.startswith("through this machine: the connection from host to host broke")
    assert report.retries == 1
    assert shape(hosts.b.home / "in") == shape(top)
    assert hosts.b.keys.read_bytes() == hosts.keys


def test_a_file_that_changes_and_one_that_can_not_be_written(hosts: Two) -> None:
    top = hosts.tree()
    two = hosts.two()
    (hosts.b.home / "in/whole").mkdir(parents=True)
    (hosts.b.home / "in/whole/x").touch()

    def change() -> None:
        os.truncate(top / "large", 10 * MB)
        with (top / "holes").open("ab") as file:
            file.write(b"more")
        (top / "deep/er/699").unlink()

    report = by_agents(hosts.one, "out", two, "in", SyncOptions(pace=Slow(change)))  # type: ignore[arg-type]
    assert report.way.startswith("straight")
    failed = dict(report.failed)
    assert failed["large"] == wire.CHANGED
    assert "whole" in failed
    assert not (hosts.b.home / "in/large").exists()
    assert (hosts.b.home / "in/holes").read_bytes() + b"more" == (top / "holes").read_bytes()
    (top / "whole").unlink()
    again = by_agents(hosts.one, "out", two, "in", SyncOptions(delete="delete"))
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
            SyncOptions(pace=Slow(lambda: signal.pthread_kill(main, signal.SIGINT), 6)),  # type: ignore[arg-type]
        )  # fmt: skip
    assert hosts.b.keys.read_bytes() == hosts.keys
    wait_until(lambda: not dialled(hosts.b))
    wait_until(lambda: leftovers() <= before)


def test_too_many_lines_never_stand() -> None:
    """The agent's, the plan's and the direct ones: OpenSSH's ten."""
    assert host_to_host.LINES + 2 <= 10


def test_from_the_local_cloud_straight_and_into_it_through_here(
    hosts: Two, local_host: LocalHost, stack: contextlib.ExitStack
) -> None:
    """Its SSH server is no OpenSSH, and reads its keys elsewhere."""
    top = hosts.tree()
    (local_host.home / ".ssh").mkdir(exist_ok=True)
    (local_host.home / ".ssh/authorized_keys").touch()
    local = stack.enter_context(AgentClient.connect(Endpoint(**local_host.facts), python=sys.executable))
    into = by_agents(hosts.one, "out", local, "in", SyncOptions())
    into.check()
    assert into.way.startswith("through this machine: the target's SSH server ")
    assert (local_host.home / ".ssh/authorized_keys").read_bytes() == b""
    assert shape(local_host.home / "in") == shape(top)
    back = by_agents(local, "in", hosts.two(), "back", SyncOptions())
    assert went_straight(back), back.way
    assert shape(hosts.b.home / "back") == shape(top)

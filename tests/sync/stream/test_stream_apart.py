"""The stream engine with connections of its own: lines by the system's ssh."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from gpunb.errors import Unreachable
from gpunb.sync.planning import estimate
from gpunb.sync.stream import stream_flow, sync_session
from tests.support.impatient import Impatient
from tests.support.machines.hosts import agent_on
from tests.support.machines.proxy import Proxy
from tests.support.streams import MB, go, ways
from tests.support.trees import more_oddities, nanos, shape

if TYPE_CHECKING:
    from gpunb.remote import AgentClient
    from tests.support.machines.sshd import Sshd


@pytest.mark.slow
class TestConnectionsOfTheirOwn:
    """Lines by the system's ssh, as for much data; here for all."""

    @pytest.fixture(autouse=True)
    def always(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(estimate, "APART", 0)
        monkeypatch.setattr(estimate, "APART_RTT", 60.0)
        monkeypatch.setattr(estimate, "APART_UP", True)

    def test_equal_trees_both_ways(
        self, agent: AgentClient, sshd: Sshd, source: Path, tmp_path: Path
    ) -> None:
        more_oddities(source)
        report = go(agent, source, "target", "up")
        report.check()
        assert "with connections of their own" in report.why
        assert shape(sshd.home / "target") == shape(source)
        go(agent, "target", tmp_path / "back", "down").check()
        assert shape(tmp_path / "back") == shape(source)
        assert nanos(tmp_path / "back") == nanos(source)

    def test_all_bytes_leave_python_to_ssh(self, agent: AgentClient, source: Path, tmp_path: Path) -> None:
        (source / "much").write_bytes(os.urandom(30 * MB))
        before = sum(agent.connection.traffic())
        go(agent, source, "t", "up").check()
        go(agent, "t", tmp_path / "b", "down").check()
        assert sum(agent.connection.traffic()) - before < 2 * MB

    def test_where_they_break_again_and_again_lines_share_one(
        self, agent: AgentClient, sshd: Sshd, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Something between lets them in and cuts them off."""
        real = stream_flow.FileChannel.receive

        def cut(self: stream_flow.FileChannel) -> Any:
            if self._shared is None:
                self.close()
            return real(self)

        (source / "much").write_bytes(os.urandom(30 * MB))
        monkeypatch.setattr(stream_flow.FileChannel, "receive", cut)
        monkeypatch.setattr(sync_session, "_broken", lambda err, _clients: isinstance(err, Unreachable))
        report = go(agent, source, "t", "up")
        report.check()
        assert report.retries == sync_session.APART_TRIES
        assert "own" not in report.why
        assert shape(sshd.home / "t") == shape(source)

    @ways
    def test_where_ssh_does_not_work_there_are_channels(
        self,
        agent: AgentClient,
        sshd: Sshd,
        source: Path,
        tmp_path: Path,
        direction: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        bad = tmp_path / "bin"
        bad.mkdir()
        (bad / "ssh").write_text("#!/bin/sh\necho 'no such cipher' >&2\nexit 255\n")
        (bad / "ssh").chmod(0o755)
        go(agent, source, "t", "up").check()
        monkeypatch.setenv("PATH", str(bad), prepend=":")
        target = "u" if direction == "up" else tmp_path / "u"
        go(agent, source if direction == "up" else "t", target, direction).check()
        assert shape(sshd.home / "u" if direction == "up" else tmp_path / "u") == shape(source)

    def test_without_an_ssh_it_is_not_tried(
        self, agent: AgentClient, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gpunb.ssh.openssh_channel.there", lambda: False)
        report = go(agent, source, "t", "up")
        report.check()
        assert "own" not in report.why

    @ways
    def test_ctrl_c_leaves_no_ssh_behind(
        self, agent: AgentClient, sshd: Sshd, tmp_path: Path, direction: str
    ) -> None:
        (tmp_path / "s").mkdir()
        for number in range(8):
            (tmp_path / f"s/f{number}").write_bytes(os.urandom(9 * MB))
        ends = (tmp_path / "s", "t")
        if direction == "down":
            go(agent, *ends, "up").check()
            ends = ("t", tmp_path / "b")

        with pytest.raises(KeyboardInterrupt):
            go(agent, *ends, direction, progress=Impatient(), limit_rate=20e6)
            time.sleep(60)  # the interrupt may be on its way
        for _ in range(600):
            left = [one for one in psutil.Process().children() if one.name() == "ssh"]
            if not left:
                break
            time.sleep(0.1)
        assert not left
        go(agent, *ends, direction).check()

    @ways
    def test_a_cut_is_waited_for(self, sshd: Sshd, tmp_path: Path, direction: str) -> None:
        here, there = tmp_path / "here", sshd.home / "there"
        here.mkdir()
        there.mkdir()
        one, two = (here, there) if direction == "up" else (there, here)
        (one / "large").write_bytes(os.urandom(60 * MB))
        ends = (here, "there") if direction == "up" else ("there", here)
        with Proxy(sshd.port, rtt=0.02) as proxy, agent_on(sshd, port=proxy.port) as agent:
            counted = (lambda: proxy.up) if direction == "up" else (lambda: proxy.down)
            before = counted()

            def cut() -> None:
                for _ in range(12000):
                    if counted() - before > 20 * MB:
                        break
                    time.sleep(0.005)
                proxy.drop()

            cutter = threading.Thread(target=cut)
            cutter.start()
            report = go(agent, *ends, direction, limit_rate=60e6)
            cutter.join()
        report.check()
        assert (two / "large").read_bytes() == (one / "large").read_bytes()
        assert report.retries >= 1
        assert report.matched_bytes > 0  # how much had arrived by then is luck

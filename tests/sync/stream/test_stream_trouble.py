"""The stream engine where something goes wrong: lines that break, files that change, disks that fill."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import GpunbError, NotEnoughSpace, SyncError, Unreachable
from gpunb.sync.planning import locations, planner
from gpunb.sync.stream import file_channel, sync_session
from tests.support.impatient import Impatient
from tests.support.machines.hosts import agent_on
from tests.support.machines.proxy import Proxy
from tests.support.streams import MB, go, ways
from tests.support.trees import shape

if TYPE_CHECKING:
    from gpunb.remote import AgentClient
    from tests.support.machines.sshd import Sshd

pytestmark = pytest.mark.slow


@pytest.mark.slow
@ways
def test_a_cut_is_waited_for_and_the_rest_goes(sshd: Sshd, tmp_path: Path, direction: str) -> None:
    here, there = tmp_path / "here", sshd.home / "there"
    here.mkdir()
    there.mkdir()
    one, two = (here, there) if direction == "up" else (there, here)
    size = 80 * MB
    (one / "large").write_bytes(os.urandom(size))
    (two / "large").write_bytes(b"old")
    ends = (here, "there") if direction == "up" else ("there", here)
    with Proxy(sshd.port, rtt=0.02) as proxy, agent_on(sshd, port=proxy.port) as agent:
        counted = (lambda: proxy.up) if direction == "up" else (lambda: proxy.down)
        before = counted()
        states: list[bytes] = []

        def cut() -> None:
            for _ in range(4000):
                if counted() - before > size // 2:
                    break
                time.sleep(0.005)
            proxy.drop()
            states.append((two / "large").read_bytes()[:3])

        cutter = threading.Thread(target=cut)
        cutter.start()
        report = go(agent, *ends, direction)
        cutter.join()
        moved = counted() - before
    report.check()
    assert (two / "large").read_bytes() == (one / "large").read_bytes()
    assert states == [b"old"]
    assert report.retries >= 1
    assert report.matched_bytes > 10 * MB  # it went on, and did not begin anew
    assert moved < 1.5 * size
    assert not list(two.glob(".gpunb-part-*"))


def test_a_line_that_stays_broken_is_given_up(
    sshd: Sshd, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_session, "TRIES", 3)
    with Proxy(sshd.port) as proxy, agent_on(sshd, port=proxy.port) as agent:
        agent.patience = 1.0
        go(agent, source, "t", "up").check()
        proxy.cut()
        with pytest.raises(Unreachable):
            go(agent, source, "u", "up")
    assert not (sshd.home / "u").exists()


@ways
def test_vanished_and_changed_files_are_named(
    agent: AgentClient,
    sshd: Sshd,
    source: Path,
    tmp_path: Path,
    direction: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (source / "segments").write_bytes(os.urandom(20 * MB))
    (source / "shorter").write_bytes(bytes(MB))
    (source / "shorter-segments").write_bytes(bytes(10 * MB))
    (source / "another").write_bytes(bytes(2 * MB))
    go(agent, source, "first", "up").check()
    root = source if direction == "up" else sshd.home / "first"
    real = planner.Merge.run

    def late(self: Any, entries: Any) -> Any:
        plan = real(self, entries)
        (root / "sub/plain.txt").unlink()
        for name in ("large", "segments", "fplain.txt"):
            with (root / name).open("ab") as file:
                file.write(b"more")
        for name in ("shorter", "shorter-segments", "another"):
            os.truncate(root / name, 600_000)
        (root / "beside").write_bytes(bytes(3 * MB))
        (root / "beside").rename(root / "another")
        return plan

    monkeypatch.setattr(planner.Merge, "run", late)
    target = "t" if direction == "up" else tmp_path / "t"
    report = go(agent, root if direction == "up" else "first", target, direction)
    failed = {path: why.lower() for path, why in report.failed}
    assert "no such file" in failed.pop("sub/plain.txt")
    changed = ("shorter", "shorter-segments", "another")
    assert failed == dict.fromkeys(changed, "it changed while it was read")
    place = sshd.home / "t" if direction == "up" else tmp_path / "t"
    for name in ("large", "segments"):  # of what only grew, what was listed
        assert (place / name).read_bytes() + b"more" == (root / name).read_bytes()
    assert (place / "fplain.txt").read_bytes() == (root / "fplain.txt").read_bytes()
    for name in changed:
        assert not (place / name).exists()
    assert not list(place.rglob(".gpunb-part-*"))
    monkeypatch.undo()
    go(agent, root if direction == "up" else "first", target, direction).check()
    want = shape(root)
    assert {path: facts for path, facts in shape(place).items() if path in want} == want


@ways
def test_no_room_is_known_before(
    agent: AgentClient,
    sshd: Sshd,
    source: Path,
    tmp_path: Path,
    direction: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if direction == "down":
        go(agent, source, "t", "up").check()
        monkeypatch.setattr(locations, "free_here", lambda _path: 1000)
    else:
        real = sync_session.HostSide.look

        def tight(self: Any, path: str) -> None:
            real(self, path)
            self.free = 1000

        monkeypatch.setattr(sync_session.HostSide, "look", tight)
    ends = (source, "t") if direction == "up" else ("t", tmp_path / "b")
    with pytest.raises(NotEnoughSpace, match="free, the plan needs"):
        go(agent, *ends, direction)
    assert not (tmp_path / "b").exists()
    assert direction == "down" or not (sshd.home / "t").exists()


@ways
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")
def test_a_disk_that_is_full_or_read_only_after_all(
    agent: AgentClient, sshd: Sshd, tmp_path: Path, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", sshd.home / "there"
    here.mkdir()
    there.mkdir()
    one, two = (here, there) if direction == "up" else (there, here)
    (one / "large").write_bytes(os.urandom(9 * MB))
    (one / "small").write_bytes(b"fits")
    ends = (here, "there") if direction == "up" else ("there", here)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", two], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setattr(locations, "need_room", lambda *_: None)
        report = go(agent, *ends, direction)
        # "small" may come while the part of "large" still fills the disk
        assert {"large"} <= {path for path, _ in report.failed} <= {"large", "small"}
        assert all("No space left" in why for _, why in report.failed)
        assert not list(two.glob(".gpunb-part-*"))
        go(agent, *ends, direction, exclude=["large"]).check()
        assert [p.name for p in two.iterdir()] == ["small"]
        subprocess.run(["mount", "-o", "remount,ro", two], check=True)
        (one / "small").write_bytes(b"changed")
        report = go(agent, *ends, direction)
        assert {path for path, _ in report.failed} == {"large", "small"}
        assert all("Read-only" in why for _, why in report.failed)
        with pytest.raises(SyncError, match="did not go"):
            report.check()
    finally:
        subprocess.run(["umount", "-l", two], check=False)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("chattr") is None, reason="needs root and chattr")
def test_permission_denied_in_mid_tree(agent: AgentClient, sshd: Sshd, source: Path) -> None:
    closed = sshd.home / "t/sub"
    closed.mkdir(parents=True)
    if subprocess.run(["chattr", "+i", closed], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable flag")
    try:
        report = go(agent, source, "t", "up")
    finally:
        subprocess.run(["chattr", "-i", closed], check=True)
    assert report.failed
    assert all(path.startswith("sub") for path, _ in report.failed)
    assert (sshd.home / "t/large").read_bytes() == (source / "large").read_bytes()


def test_leftovers_are_cleared_and_never_fetched(
    agent: AgentClient, sshd: Sshd, source: Path, tmp_path: Path
) -> None:
    (sshd.home / "t").mkdir()
    (sshd.home / "t/.gpunb-part-0000000000000000").write_text("half")
    report = go(agent, "t", tmp_path / "b", "down")
    assert (report.sent_files, list((tmp_path / "b").iterdir())) == (0, [])
    go(agent, source, "t", "up").check()
    assert shape(sshd.home / "t") == shape(source)


def test_a_stale_part_is_never_believed(agent: AgentClient, sshd: Sshd, tmp_path: Path) -> None:
    from gpunb.sync.local.safe_root import part_name

    (tmp_path / "s").mkdir()
    data = os.urandom(12 * MB)
    (tmp_path / "s/f").write_bytes(data)
    (sshd.home / "t").mkdir()
    (sshd.home / "t" / part_name("f")).write_bytes(
        os.urandom(6 * MB) + data[6 * MB : 9 * MB] + os.urandom(9 * MB)
    )
    report = go(agent, tmp_path / "s", "t", "up")
    report.check()
    assert (sshd.home / "t/f").read_bytes() == data
    assert report.matched_bytes == 3 * MB
    assert [p.name for p in (sshd.home / "t").iterdir()] == ["f"]


def test_two_into_one_place_at_once(agent: AgentClient, sshd: Sshd, source: Path) -> None:
    ends = locations.Endpoints(source, str(sshd.home / "t"))
    with locations.lock(agent.endpoint, ends, "up"):
        with pytest.raises(SyncError, match=r"another sync into .* is running"):
            go(agent, source, "t", "up")
        go(agent, source, "u", "up").check()
    go(agent, source, "t", "up").check()


def test_the_line_is_kept_for_the_next_sync_and_mended(agent: AgentClient, sshd: Sshd, source: Path) -> None:
    go(agent, source, "t", "up").check()
    kept = file_channel._kept[agent]
    go(agent, source, "t", "up").check()
    assert file_channel._kept[agent] is kept
    kept.channel.close()
    go(agent, source, "t", "up").check()
    assert file_channel._kept[agent] is not kept


def test_ctrl_c_stops_all_lines(agent: AgentClient, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for number in range(20):
        (tmp_path / f"s/f{number}").write_bytes(os.urandom(3 * MB))

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        go(agent, tmp_path / "s", "t", "up", progress=Impatient(), limit_rate=20e6)
        time.sleep(5)  # the interrupt may be on its way
    for _ in range(600):
        if threading.active_count() <= before:
            break
        time.sleep(0.1)
    assert threading.active_count() <= before
    go(agent, tmp_path / "s", "t", "up").check()
    assert shape(sshd.home / "t") == shape(tmp_path / "s")


def test_errors_are_gpunbs(agent: AgentClient, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose agent lacks the verb (an older one) is answered with its own words."""
    monkeypatch.setattr(file_channel, "STALL_S", 5.0)
    monkeypatch.setattr("gpunb.remote.bootstrap.agent_version", lambda: "0" * 16)
    with pytest.raises(GpunbError):
        go(agent, source, "t", "up")

"""The stream engine through a real agent on a real sshd: the same trees as of the other engines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from gpunb.errors import BadInput, GpunbError, NotEnoughSpace, SyncError, Unreachable
from gpunb.sync import choose, flow, line, merge, places, sync
from gpunb.sync.flow import Wish, by_agents
from tests.support import sshd as support
from tests.support.impatient import Impatient
from tests.support.proxy import Proxy
from tests.support.trees import odd_tree, shape
from tests.sync.conftest import agent_on

if TYPE_CHECKING:
    from gpunb.remote import AgentClient
    from gpunb.sync import SyncReport
    from tests.support.sshd import Sshd

MB = 2**20
ways = pytest.mark.parametrize("direction", ["up", "down"])


def go(agent: AgentClient, source: object, target: object, direction: Any, **options: Any) -> SyncReport:
    return sync(agent.connection, str(source), str(target), direction=direction, agent=agent, **options)


def nanos(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


def more_oddities(root: Path) -> None:
    """What only some engines are asked about elsewhere."""
    (root / "empty").write_bytes(b"")
    (root / "one").write_bytes(b"twice")
    os.link(root / "one", root / "another")
    with (root / "sparse").open("wb") as file:
        file.truncate(40 * MB)
        file.seek(20 * MB)
        file.write(b"island")
    (root / "whole").write_bytes(os.urandom(2 * MB))
    (root / "segments").write_bytes(os.urandom(20 * MB + 17))
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o600)
    (root / "none").write_text("x")
    (root / "none").chmod(0)


def test_up_and_down_leave_equal_trees(agent: AgentClient, sshd: Sshd, source: Path, tmp_path: Path) -> None:
    more_oddities(source)
    report = go(agent, source, "target", "up")
    report.check()
    assert report.engine == "stream"
    assert "near" in report.why
    assert shape(sshd.home / "target") == shape(source)
    assert nanos(sshd.home / "target") == nanos(source)
    files = [p for p in source.rglob("*") if p.is_symlink() or p.is_file()]
    assert report.sent_files == len(files)
    assert report.sent_bytes == sum(p.lstat().st_size for p in files if not p.is_symlink())

    back = tmp_path / "back"
    report = go(agent, "target", back, "down")
    report.check()
    assert shape(back) == shape(source)
    assert nanos(back) == nanos(source)
    assert (back / "one").stat().st_nlink == 1  # of each name a file of its own, with every engine
    for place in (back, sshd.home / "target"):
        held = (place / "sparse").stat().st_blocks * 512
        assert held < 4 * MB or (source / "sparse").stat().st_blocks * 512 >= 4 * MB

    for again in (go(agent, source, "target/", "up"), go(agent, "target/", back, "down")):
        assert (again.sent_files, again.moved_bytes, again.plan.items, again.failed) == (0, 0, [], [])
        assert len(again.plan.unchanged) == len(files)


def test_what_another_engine_brought_is_there_already(
    agent: AgentClient, sshd: Sshd, source: Path, tmp_path: Path
) -> None:
    sync(agent.connection, str(source), "t", direction="up", engine="sftp").check()
    assert go(agent, source, "t", "up").sent_files == 0  # whole seconds are believed
    go(agent, "t", tmp_path / "b", "down").check()
    assert sync(agent.connection, "t", str(tmp_path / "b"), direction="down").sent_files == 0


@ways
def test_changes_modes_and_deletions_follow(
    agent: AgentClient, sshd: Sshd, tmp_path: Path, direction: str
) -> None:
    here, there = tmp_path / "here", sshd.home / "there"
    here.mkdir()
    there.mkdir()
    one, two = (here, there) if direction == "up" else (there, here)
    odd_tree(one, 1)
    odd_tree(two, 2)
    (two / "extra/deep").mkdir(parents=True)
    (two / "extra/deep/file").write_text("x")
    (two / "extra/__pycache__").mkdir()
    (two / "extra/__pycache__/kept").write_text("x")
    (two / "gone/deep").mkdir(parents=True)
    (two / "gone/file").write_text("x")
    ends = (here, "there") if direction == "up" else ("there", here)

    before = shape(two)
    plan = go(agent, *ends, direction, delete=True, dry_run=True).plan
    assert shape(two) == before
    doomed = {"extra/deep", "extra/deep/file", "gone", "gone/deep", "gone/file"}
    assert set(plan.deletions) == doomed
    go(agent, *ends, direction).check()
    assert (two / "gone/file").exists()
    report = go(agent, *ends, direction, delete=True)
    report.check()
    assert set(report.deleted) == doomed
    after = shape(two)
    for kept in (b"extra", b"extra/__pycache__", b"extra/__pycache__/kept"):
        assert after.pop(kept)
    assert after == shape(one)

    (one / "large").chmod(0o700)
    report = go(agent, *ends, direction)
    assert ([i.path for i in report.plan.modes], report.sent_files) == (["large"], 0)
    assert (two / "large").stat().st_mode & 0o777 == 0o700


@ways
def test_something_of_another_kind_in_the_way(
    agent: AgentClient, sshd: Sshd, tmp_path: Path, direction: str
) -> None:
    here, there = tmp_path / "here", sshd.home / "there"
    one, two = (here, there) if direction == "up" else (there, here)
    for path in ("folder/file", "was-folder", "hides", "free"):
        (one / path).parent.mkdir(parents=True, exist_ok=True)
        (one / path).write_text("new")
    for path in ("was-folder/old", "hides/__pycache__/x", "folder"):
        (two / path).parent.mkdir(parents=True, exist_ok=True)
        (two / path).write_text("old")
    ends = (here, "there") if direction == "up" else ("there", here)
    report = go(agent, *ends, direction)
    assert dict(report.failed) == {
        "folder": "a file stands in its place",
        "folder/file": "its folder can't be made",
        "was-folder": "a folder stands in its place",
        "hides": "a folder stands in its place",
    }
    assert (two / "free").read_text() == "new"
    assert go(agent, *ends, direction, dry_run=True, delete=True).plan.blocked == [
        ("hides", "a folder stands in its place")
    ]
    report = go(agent, *ends, direction, delete=True)
    assert dict(report.failed) == {"hides": "a folder stands in its place"}
    assert (two / "was-folder").read_text() == (two / "folder/file").read_text() == "new"
    assert (two / "hides/__pycache__/x").exists()


def test_mirror_also_takes_what_a_rule_hides_but_no_environment(
    agent: AgentClient, sshd: Sshd, tmp_path: Path
) -> None:
    source = tmp_path / "s"
    source.mkdir()
    (source / ".gitignore").write_text("*.log\n")
    (source / "a").write_text("a")
    there = sshd.home / "t"
    (there / "venv").mkdir(parents=True)
    (there / "venv/pyvenv.cfg").write_text("")
    (there / ".git").mkdir()
    (there / "old.log").write_text("")
    assert go(agent, source, "t", "up", delete=True).deleted == []
    assert go(agent, source, "t", "up", mirror=True).deleted == ["old.log"]
    assert {p.name for p in there.iterdir()} == {".gitignore", "a", "venv", ".git"}
    with pytest.raises(BadInput, match="mirror"):
        sync(agent.connection, str(source), "t", direction="up", mirror=True)


@ways
def test_by_content_sends_only_what_differs(
    agent: AgentClient, sshd: Sshd, source: Path, tmp_path: Path, direction: str
) -> None:
    go(agent, source, "t", "up").check()
    go(agent, "t", tmp_path / "b", "down").check()
    two = sshd.home / "t" if direction == "up" else tmp_path / "b"
    ends = (source, "t") if direction == "up" else ("t", two)
    victim = two / "large"
    stamp = victim.stat().st_mtime_ns
    victim.write_bytes(b"\0" * victim.stat().st_size)
    os.utime(victim, ns=(stamp, stamp))
    os.utime(two / "sub/plain.txt", (5, 5))
    assert go(agent, *ends, direction).sent_files == 1  # the one of another time
    os.utime(two / "sub/plain.txt", (5, 5))
    report = go(agent, *ends, direction, checksum=True)
    report.check()
    assert report.sent_files == 1
    assert [i.path for i in report.plan.items] == ["large"]
    assert shape(two) == shape(source)


@ways
def test_of_a_large_file_only_the_blocks_that_differ_go(
    agent: AgentClient, sshd: Sshd, tmp_path: Path, direction: str
) -> None:
    here, there = tmp_path / "here", sshd.home / "there"
    here.mkdir()
    there.mkdir()
    one, two = (here, there) if direction == "up" else (there, here)
    ends = (here, "there") if direction == "up" else ("there", here)
    (one / "f").write_bytes(os.urandom(30 * MB))
    go(agent, *ends, direction).check()
    with (one / "f").open("r+b") as file:
        file.seek(15 * MB + 100)
        file.write(b"changed")
        file.seek(0, 2)
        file.write(os.urandom(MB))
    report = go(agent, *ends, direction)
    report.check()
    assert (two / "f").read_bytes() == (one / "f").read_bytes()
    assert report.moved_bytes <= 2 * MB
    assert report.matched_bytes >= 29 * MB
    os.truncate(one / "f", 12 * MB)
    report = go(agent, *ends, direction)
    report.check()
    assert ((two / "f").read_bytes(), report.moved_bytes) == ((one / "f").read_bytes(), 0)


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
    monkeypatch.setattr(flow, "TRIES", 3)
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
    go(agent, source, "first", "up").check()
    root = source if direction == "up" else sshd.home / "first"
    real = merge.Merge.run

    def late(self: Any, entries: Any) -> Any:
        plan = real(self, entries)
        (root / "sub/plain.txt").unlink()
        for name in ("large", "segments", "fplain.txt"):
            with (root / name).open("ab") as file:
                file.write(b"more")
        return plan

    monkeypatch.setattr(merge.Merge, "run", late)
    target = "t" if direction == "up" else tmp_path / "t"
    report = go(agent, root if direction == "up" else "first", target, direction)
    failed = {path: why.lower() for path, why in report.failed}
    assert "no such file" in failed.pop("sub/plain.txt")
    assert failed == dict.fromkeys(("large", "segments", "fplain.txt"), "it changed while it was read")
    place = sshd.home / "t" if direction == "up" else tmp_path / "t"
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
        monkeypatch.setattr(places, "free_here", lambda _path: 1000)
    else:
        real = flow.HostSide.look

        def tight(self: Any, path: str) -> None:
            real(self, path)
            self.free = 1000

        monkeypatch.setattr(flow.HostSide, "look", tight)
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
        monkeypatch.setattr(places, "need_room", lambda *_: None)
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


class TestWhereThingsLand:
    def test_a_file(self, agent: AgentClient, sshd: Sshd, tmp_path: Path) -> None:
        file = tmp_path / "file.txt"
        file.write_text("hello")
        (tmp_path / "alias").symlink_to("file.txt")
        (sshd.home / "there").mkdir()
        for target, lands in [
            ("new.txt", "new.txt"), ("there", "there/file.txt"), ("made/", "made/file.txt"),
            ("deep/er/name", "deep/er/name"), ("", "file.txt"), ("~/x/", "x/file.txt"),
            (str(sshd.home / "abs"), "abs"),
        ]:  # fmt: skip
            go(agent, file, target, "up").check()
            assert (sshd.home / lands).read_text() == "hello", target
        go(agent, tmp_path / "alias", "followed", "up").check()
        assert not (sshd.home / "followed").is_symlink()
        back = tmp_path / "back"
        for target, lands in [(f"{back}/", "file.txt"), (str(back), "file.txt"), (str(back / "n"), "n")]:
            go(agent, "there/file.txt", target, "down").check()
            assert (back / lands).read_text() == "hello", target
        assert go(agent, "there/file.txt", back / "n", "down").sent_files == 0

    def test_a_large_file_under_another_name(self, agent: AgentClient, sshd: Sshd, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(os.urandom(20 * MB))
        go(agent, tmp_path / "a", "b", "up").check()
        go(agent, "b", tmp_path / "c", "down").check()
        assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()

    def test_refusals_are_those_of_every_engine(self, agent: AgentClient, sshd: Sshd, tmp_path: Path) -> None:
        (tmp_path / "s").mkdir()
        (sshd.home / "slash").symlink_to("/")
        for target in ("/", "//", "/root", "/root/.", "slash"):
            with pytest.raises(BadInput, match="never put straight into"):
                go(agent, tmp_path / "s", target, "up", dry_run=True)
        for target in ("", "~", "/etc"):
            with pytest.raises(BadInput, match="--delete"):
                go(agent, tmp_path / "s", target, "up", delete=True, dry_run=True)
        with pytest.raises(BadInput, match=r"source '.*nothing': No such file"):
            go(agent, tmp_path / "nothing", "t", "up")
        with pytest.raises(BadInput, match="source :nothing is not there"):
            go(agent, "nothing", tmp_path / "t", "down")
        (sshd.home / "file").write_text("mine")
        with pytest.raises(SyncError, match="is not a folder"):
            go(agent, tmp_path / "s", "file", "up")
        with pytest.raises(BadInput, match="engine 'stream'"):
            sync(agent.connection, "a", "b", direction="up", engine="stream")


def test_names_that_the_target_takes_for_one_are_reported(
    agent: AgentClient, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sshd.home / "t").mkdir()
    for name in ("Makefile", "makefile", "e\u0301", "\u00e9", "other"):
        (sshd.home / "t" / name).write_text(name)
    monkeypatch.setattr(places, "folds_here", lambda _path: True)
    report = go(agent, "t", tmp_path / "b", "down")
    assert len(report.failed) == 2
    assert dict(report.failed)["makefile"] == "its name and 'Makefile' are the same in the target"
    assert (tmp_path / "b/other").exists()


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
    from gpunb.sync.safe import part_name

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
    ends = places.Ends(source, str(sshd.home / "t"))
    with places.lock(agent.endpoint, ends, "up"):
        with pytest.raises(SyncError, match=r"another sync into .* is running"):
            go(agent, source, "t", "up")
        go(agent, source, "u", "up").check()
    go(agent, source, "t", "up").check()


def test_includes_and_excludes_on_the_way_down(agent: AgentClient, sshd: Sshd, tmp_path: Path) -> None:
    for path in ("a.log", "keep/a.txt", "big/x", "big/y", ".git/config", "env/pyvenv.cfg", "env/lib/x"):
        (sshd.home / "t" / path).parent.mkdir(parents=True, exist_ok=True)
        (sshd.home / "t" / path).write_text("x")
    report = go(agent, "t", tmp_path / "b", "down", exclude=["*.log", "big"])
    assert {i.path for i in report.plan.items} == {"keep/a.txt"}
    assert {o.path for o in report.plan.left_out} == {"a.log", "big", ".git", "env"}
    report = go(agent, "t", tmp_path / "c", "down", exclude=["*.log"], include=["/.git/config"])
    assert {i.path for i in report.plan.items} == {"keep/a.txt", "big/x", "big/y", ".git/config"}


def test_the_plan_tells_time_and_cost(agent: AgentClient, source: Path) -> None:
    from gpunb.sync.choose import Rates

    report = go(agent, source, "t", "up", dry_run=True, rates=Rates(mb_s=1.0, usd_per_gb=10.0))
    assert report.estimate_s == pytest.approx(report.plan.total_bytes / 1e6, rel=0.3)
    assert report.estimate_usd == pytest.approx(report.plan.total_bytes / 1e8)
    assert "where it pays" in report.why
    assert report.data()["estimate_s"] == report.estimate_s
    go(agent, source, "t", "up", rates=Rates(mb_s=1.0)).check()  # compressed, and the same tree
    assert go(agent, source, "t", "up").sent_files == 0


def test_compressed_both_ways(agent: AgentClient, sshd: Sshd, tmp_path: Path) -> None:
    from gpunb.sync.choose import Rates

    (tmp_path / "s").mkdir()
    (tmp_path / "s/text").write_bytes(b"all work and no play makes \n" * 500_000)
    (tmp_path / "s/noise").write_bytes(os.urandom(MB))
    for number in range(300):
        (tmp_path / f"s/{number}").write_bytes(b"some words " * number)
    before = agent.connection.traffic()
    go(agent, tmp_path / "s", "t", "up", rates=Rates(mb_s=2.0)).check()
    go(agent, "t", tmp_path / "b", "down", rates=Rates(mb_s=2.0)).check()
    sent, received = (b - a for a, b in zip(before, agent.connection.traffic(), strict=True))
    assert shape(tmp_path / "b") == shape(tmp_path / "s") == shape(sshd.home / "t")
    assert sent < 3 * MB
    assert received < 3 * MB


def test_between_two_hosts(agent: AgentClient, sshd: Sshd, source: Path, tmp_path: Path) -> None:
    more_oddities(source)
    go(agent, source, "a", "up").check()
    other = support.Sshd(tmp_path / "other").start()
    try:
        with agent_on(other, alias="gpunb-test2", known_hosts=tmp_path / "other/known") as second:
            report = by_agents(agent, "a", second, "b", Wish())
            report.check()
            assert shape(other.home / "b") == shape(source)
            assert by_agents(agent, "a", second, "b", Wish()).sent_files == 0
            (other.home / "b/extra").write_text("x")
            assert by_agents(agent, "a", second, "b", Wish(delete="delete")).deleted == ["extra"]
            by_agents(agent, "a/segments", second, "c/", Wish()).check()
            assert (other.home / "c/segments").read_bytes() == (source / "segments").read_bytes()
            with pytest.raises(BadInput, match="not there on its host"):
                by_agents(agent, "nothing", second, "b", Wish())
            with pytest.raises(BadInput, match="never put straight into"):
                by_agents(agent, "a", second, "/", Wish())
    finally:
        other.stop()


def test_progress_counts_up_to_the_whole(agent: AgentClient, source: Path) -> None:
    class Watcher:
        def __init__(self) -> None:
            self.said: list[str] = []
            self.seen: list[tuple[float, float | None, str]] = []

        def say(self, message: str) -> None:
            self.said.append(message)

        def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
            self.seen.append((done, total, unit))

    watcher = Watcher()
    report = go(agent, source, "t", "up", progress=watcher)
    assert watcher.said[0] == "listing files"
    assert watcher.seen[-1] == (report.plan.total_bytes, report.plan.total_bytes, "B")


def test_the_line_is_kept_for_the_next_sync_and_mended(agent: AgentClient, sshd: Sshd, source: Path) -> None:
    go(agent, source, "t", "up").check()
    kept = line._kept[agent]
    go(agent, source, "t", "up").check()
    assert line._kept[agent] is kept
    kept.channel.close()
    go(agent, source, "t", "up").check()
    assert line._kept[agent] is not kept


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


MILLION = """
import sys
from gpunb.agent import filewire as wire
from gpunb.sync.merge import Merge
from gpunb.sync.plan import Tree
from gpunb.sync.rules import Rules
from gpunb.sync.stream import _Tasks

class Target:
    local = True
    def __init__(self): self.asked = []
    def ask(self, path): self.asked.append(path)
    def take(self): path = self.asked.pop(0); return path, entries(path), ""

def entries(path):
    if not path:
        return [(f"folder-{n:04}", wire.FOLDER, 0o755, 0, 5, "") for n in range(1000)]
    return [(f"a-file-with-a-name-{n:04}.json", wire.FILE, 0o644, 1000, 5, "") for n in range(1000)]

def source():
    yield "", entries("")
    for n in range(1000):
        yield f"folder-{n:04}", entries("x")

there = sys.argv[1] == "there"
merge = Merge(Rules(None), Tree(), Target(), exists=there)
plan = merge.run(source())
assert len(plan.unchanged if there else plan.items) == 1_000_000
tasks = _Tasks(iter(plan.items))
count = 0
while (task := tasks.get(wait=True)) is not None:
    count += len(task.items)
assert count == (0 if there else 1_000_000)
assert plan.data()["counts"]["items"] == count
# not getrusage: its peak begins with the parent's
print([int(x.split()[1]) // 1024 for x in open('/proc/self/status') if x.startswith('VmHWM')][0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("case", ["new", "there"])
def test_a_million_files_fit_into_a_plan(case: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MILLION, case], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150  # MB, interpreter included


@pytest.mark.slow
class TestConnectionsOfTheirOwn:
    """Lines by the system's ssh, as for much data; here for all."""

    @pytest.fixture(autouse=True)
    def always(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(choose, "APART", 0)
        monkeypatch.setattr(choose, "APART_RTT", 60.0)
        monkeypatch.setattr(choose, "APART_UP", True)

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
        real = flow.Line.receive

        def cut(self: flow.Line) -> Any:
            if self._shared is None:
                self.close()
            return real(self)

        (source / "much").write_bytes(os.urandom(30 * MB))
        monkeypatch.setattr(flow.Line, "receive", cut)
        monkeypatch.setattr(flow, "_broken", lambda err, _clients: isinstance(err, Unreachable))
        report = go(agent, source, "t", "up")
        report.check()
        assert report.retries == flow.APART_TRIES
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
        monkeypatch.setattr("gpunb.ssh.pipe.there", lambda: False)
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


def test_errors_are_gpunbs(agent: AgentClient, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose agent lacks the verb (an older one) is answered with its own words."""
    monkeypatch.setattr(line, "STALL_S", 5.0)
    monkeypatch.setattr("gpunb.remote.bootstrap.agent_version", lambda: "0" * 16)
    with pytest.raises(GpunbError):
        go(agent, source, "t", "up")

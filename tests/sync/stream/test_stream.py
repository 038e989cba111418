"""The stream engine through a real agent on a real sshd: the same trees as of the other engines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BadInput, SyncError
from gpunb.sync import sync
from gpunb.sync.planning import locations
from gpunb.sync.stream.sync_session import SyncOptions, by_agents
from tests.support.machines import sshd as support
from tests.support.machines.hosts import agent_on
from tests.support.streams import MB, go, ways
from tests.support.trees import more_oddities, nanos, odd_tree, shape

if TYPE_CHECKING:
    from gpunb.remote import AgentClient
    from tests.support.machines.sshd import Sshd

pytestmark = pytest.mark.slow


def test_up_and_down_leave_equal_trees(agent: AgentClient, sshd: Sshd, source: Path, tmp_path: Path) -> None:
    more_oddities(source)
    report = go(agent, source, "target", "up")
    report.check()
    assert report.engine == "stream"
    assert report.why.startswith("the agent is there, ")  # how near it is depends on who else is busy
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
    (there / "old.log").write_text("")
    without = sync(agent.connection, str(source), "t", direction="up", mirror=True)
    assert without.deleted == ["old.log"], "the same without an agent"
    assert {p.name for p in there.iterdir()} == {".gitignore", "a", "venv", ".git"}


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
        with pytest.raises(BadInput, match="source :nothing is not found on the host"):
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
    monkeypatch.setattr(locations, "folds_here", lambda _path: True)
    report = go(agent, "t", tmp_path / "b", "down")
    assert len(report.failed) == 2
    assert dict(report.failed)["makefile"] == "its name and 'Makefile' are the same in the target"
    assert (tmp_path / "b/other").exists()


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
    from gpunb.sync.planning.estimate import Rates

    report = go(agent, source, "t", "up", dry_run=True, rates=Rates(mb_s=1.0, usd_per_gb=10.0))
    assert report.estimate_s == pytest.approx(report.plan.total_bytes / 1e6, rel=0.3)
    assert report.estimate_usd == pytest.approx(report.plan.total_bytes / 1e8)
    assert "where it pays" in report.why
    assert report.data()["estimate_s"] == report.estimate_s
    go(agent, source, "t", "up", rates=Rates(mb_s=1.0)).check()  # compressed, and the same tree
    assert go(agent, source, "t", "up").sent_files == 0


def test_compressed_both_ways(agent: AgentClient, sshd: Sshd, tmp_path: Path) -> None:
    from gpunb.sync.planning.estimate import Rates

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
            report = by_agents(agent, "a", second, "b", SyncOptions())
            report.check()
            assert shape(other.home / "b") == shape(source)
            assert by_agents(agent, "a", second, "b", SyncOptions()).sent_files == 0
            (other.home / "b/extra").write_text("x")
            assert by_agents(agent, "a", second, "b", SyncOptions(delete="delete")).deleted == ["extra"]
            by_agents(agent, "a/segments", second, "c/", SyncOptions()).check()
            assert (other.home / "c/segments").read_bytes() == (source / "segments").read_bytes()
            with pytest.raises(BadInput, match="source :nothing is not found on the host"):
                by_agents(agent, "nothing", second, "b", SyncOptions())
            with pytest.raises(BadInput, match="never put straight into"):
                by_agents(agent, "a", second, "/", SyncOptions())
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

"""What --delete may take, and when: by each engine, in each direction."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import NotEnoughSpace
from gpunb.sync import sync
from gpunb.sync.planning import locations
from gpunb.sync.planning.deletions import WouldEmpty
from gpunb.sync.sftp.sftp_flow import SftpFlow
from gpunb.sync.stream.stream_flow import StreamFlow
from gpunb.sync.stream.sync_session import SyncOptions, by_agents
from tests.support.machines import sshd as support
from tests.support.machines.hosts import Two, agent_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpunb.sync import SyncReport
    from tests.support.bench import Bench

pytestmark = pytest.mark.slow


def one_host(engine: str, direction: Any) -> Callable[..., SyncReport]:
    def go(bench: Bench, source: Path, target: Path, **options: Any) -> SyncReport:
        agent = bench.one if engine == "stream" else None
        ends = str(source), str(target)
        return sync(
            bench.one.connection,
            *ends,
            direction=direction,
            engine=engine,
            agent=agent,
            delete=True,
            **options,  # type: ignore[arg-type]
        )

    return go


def two_hosts(bench: Bench, source: Path, target: Path, **options: Any) -> SyncReport:
    return by_agents(bench.one, str(source), bench.two, str(target), SyncOptions(delete="delete", **options))


WAYS: dict[str, Callable[..., SyncReport]] = {
    **{f"{e} {d}": one_host(e, d) for e in ("stream", "sftp") for d in ("up", "down")},
    "host to host": two_hosts,
}
ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def ends(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (target / "deep").mkdir(parents=True)
    for number in range(30):
        (target / f"deep/old{number}").write_text("old")
    return source, target


def count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


@ways
@pytest.mark.parametrize("holds", ["nothing", "empty folders", "other files"])
def test_a_target_of_which_nothing_would_stay_is_asked_about(
    bench: Bench,
    ends: tuple[Path, Path],
    way: str,
    holds: str,
) -> None:
    source, target = ends
    if holds == "empty folders":
        (source / "deep/er").mkdir(parents=True)
    elif holds == "other files":
        (source / "other").write_text("x")
    with pytest.raises(WouldEmpty, match="--delete would remove") as caught:
        WAYS[way](bench, source, target)
    assert "--yes" in str(caught.value.hint)
    assert count(target) == 30
    plan = WAYS[way](bench, source, target, dry_run=True).plan
    assert len(plan.deletions) >= 30
    assert any("--delete would remove" in note for note in plan.notes)
    WAYS[way](bench, source, target, yes=True).check()
    assert count(target) == (holds == "other files")


@ways
def test_only_what_the_dry_run_showed_is_deleted(bench: Bench, ends: tuple[Path, Path], way: str) -> None:
    source, target = ends
    (source / "deep").mkdir()
    (source / "deep/old1").write_text("old")
    WAYS[way](bench, source, target, dry_run=True)
    (target / "deep/late").write_text("a job's result")
    (target / "later").mkdir()
    (target / "later/too").write_text("x")
    report = WAYS[way](bench, source, target)
    report.check()
    assert {p.name for p in target.rglob("*") if p.is_file()} == {"old1", "late", "too"}
    assert any("after the dry run" in note for note in report.plan.notes)
    WAYS[way](bench, source, target).check()  # it was shown by now
    assert {p.name for p in target.rglob("*") if p.is_file()} == {"old1"}


@ways
def test_deletions_come_after_the_sending(
    bench: Bench,
    ends: tuple[Path, Path],
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line that breaks while files move leaves the old ones; what stands in the way goes first."""
    source, target = ends
    (source / "new").write_bytes(os.urandom(1000))
    (source / "deep").mkdir()
    (source / "deep/old1").write_text("old")
    (source / "was-folder").write_text("now a file")
    (target / "was-folder").mkdir()
    (target / "was-folder/x").write_text("x")

    def breaks(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StreamFlow, "move", breaks)
        patch.setattr(SftpFlow, "move", breaks)
        with pytest.raises(KeyboardInterrupt):
            WAYS[way](bench, source, target)
    assert count(target / "deep") == 30
    WAYS[way](bench, source, target).check()
    assert {p.name for p in target.rglob("*") if p.is_file()} == {"new", "old1", "was-folder"}


@ways
def test_deletions_that_make_the_room_come_first(
    bench: Bench,
    ends: tuple[Path, Path],
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = ends
    (source / "deep").mkdir()
    (source / "deep/old1").write_text("old")
    (source / "new").write_bytes(os.urandom(500_000))
    (target / "large").write_bytes(bytes(400_000))
    real = locations.need_room
    for free, fits in ((50_000, False), (200_000, True)):
        monkeypatch.setattr(locations, "need_room", lambda plan, _, where, free=free: real(plan, free, where))
        if fits:
            WAYS[way](bench, source, target).check()
        else:
            with pytest.raises(NotEnoughSpace):
                WAYS[way](bench, source, target)
            assert count(target) == 31
    assert {p.name for p in target.rglob("*") if p.is_file()} == {"new", "old1"}


@ways
def test_a_name_that_changed_its_case_is_not_deleted_after_it_came(
    bench: Bench,
    ends: tuple[Path, Path],
    way: str,
) -> None:
    """Where case does not count, deleting the old name last would take the new file."""
    source, target = ends
    (source / "deep").mkdir()
    (source / "deep/OLD1").write_text("new")
    (source / "deep/old2").write_text("old")
    report = WAYS[way](bench, source, target)
    report.check()
    assert report.deleted.index("deep/old1") == 0
    assert json.loads(json.dumps(report.data()))["deleted"]


@pytest.mark.parametrize("way", ["stream up", "stream down", "host to host"])
def test_a_mirror_keeps_what_could_not_go(bench: Bench, tmp_path: Path, way: str) -> None:
    """What a rule hides goes; where a link leads out, or a pipe stands, the target's own stays."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "sub").mkdir(parents=True)
    (source / "data").symlink_to("/usr/share")
    os.mkfifo(source / "pipe")
    (source / "hidden.log").write_text("x")
    for name in ("data/set", "pipe", "node_modules"):
        (target / name).mkdir(parents=True)
        (target / name / "mine").write_text("downloaded for hours")
    (target / "hidden.log").write_text("x")
    (target / "old").write_text("x")
    options: dict[str, Any] = {"exclude": ["*.log"]}
    if way == "host to host":
        by_agents(
            bench.one, str(source), bench.two, str(target), SyncOptions(delete="mirror", yes=True, **options)
        )
    else:
        direction: Any = way.split()[1]
        ends = str(source), str(target)
        sync(
            bench.one.connection,
            *ends,
            direction=direction,
            agent=bench.one,
            mirror=True,
            yes=True,
            **options,
        )
    found = {str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()}
    assert found == {"data/set/mine", "pipe/mine", "node_modules/mine"}


@pytest.mark.parametrize("way", ["stream up", "host to host"])
def test_folders_that_are_closed_to_their_owner_are_opened_and_closed_again(
    tmp_path: Path, stack: contextlib.ExitStack, way: str
) -> None:
    """Mode 0555, as packages of conda, Go and Nix have it; not as root, who may write anyway."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    hosts = Two(tmp_path / "hosts", stack)
    away = "setpriv --bounding-set -dac_override,-dac_read_search,-fowner"
    weak = support.Sshd(tmp_path / "weak")
    weak.start()
    stack.callback(weak.stop)
    enter = weak.root / "enter"
    enter.write_text(enter.read_text().replace("exec /bin/sh", f"exec {away} /bin/sh"))
    agent = stack.enter_context(agent_on(weak))
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "pkg/sub").mkdir(parents=True)
    target.mkdir()
    (source / "pkg/a").write_text("a")
    (source / "pkg/old").write_text("a")
    for folder in ("pkg/sub", "pkg"):
        (source / folder).chmod(0o555)

    def go() -> SyncReport:
        if way == "stream up":
            ends = str(source), str(target)
            return sync(agent.connection, *ends, direction="up", agent=agent, delete=True)
        return by_agents(hosts.one, str(source), agent, str(target), SyncOptions(delete="delete"))

    go().check()
    (source / "pkg/b").write_text("b")
    (source / "pkg/a").write_text("changed")
    (source / "pkg/old").unlink()
    (source / "pkg/sub/c").write_text("c")
    go().check()
    assert {p.name for p in target.rglob("*") if p.is_file()} == {"a", "b", "c"}
    assert (target / "pkg/a").read_text() == "changed"
    for folder in ("pkg", "pkg/sub"):
        assert (target / folder).stat().st_mode & 0o777 == 0o555
        (source / folder).chmod(0o755)
    for name in ("pkg/sub/c", "pkg/sub", "pkg/a", "pkg/b"):
        path = source / name
        path.rmdir() if path.is_dir() else path.unlink()
    (source / "pkg/last").write_text("x")
    (source / "pkg").chmod(0o555)
    go().check()
    assert {p.name for p in target.rglob("*")} == {"pkg", "last"}

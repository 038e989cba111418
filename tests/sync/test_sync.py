"""Both engines, both ways, on a real sshd."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

import pytest

from gpunb.errors import BadInput, GpunbError, NotEnoughSpace, SyncError, Unreachable
from gpunb.ssh import Connection
from gpunb.sync import rsync, sync
from gpunb.sync.planning import locations, planner
from gpunb.sync.sftp.host_tree import Remote
from tests.support.impatient import Impatient
from tests.support.machines.proxy import Proxy
from tests.support.trees import odd_tree, shape

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.sync import SyncReport
    from tests.support.machines.sshd import Sshd

Engine = Literal["rsync", "sftp"]
needs_rsync = pytest.mark.skipif((rsync.local_version() or (0,)) < (3, 4), reason="needs rsync 3.4")
both = pytest.mark.parametrize("engine", [pytest.param("rsync", marks=needs_rsync), "sftp"])


@both
def test_up_and_down_leave_equal_trees(
    connection: Connection, sshd: Sshd, source: Path, tmp_path: Path, engine: Engine
) -> None:
    report = sync(connection, str(source), "target", direction="up", engine=engine)
    report.check()
    assert report.engine == engine
    assert shape(sshd.home / "target") == shape(source)
    files = [p for p in source.rglob("*") if p.is_symlink() or p.is_file()]
    assert report.sent_files == len(files)
    assert report.sent_bytes == sum(p.lstat().st_size for p in files if not p.is_symlink())

    back = sync(connection, "target", str(tmp_path / "back"), direction="down", engine=engine)
    back.check()
    assert shape(tmp_path / "back") == shape(source)
    assert (back.sent_files, back.sent_bytes) == (report.sent_files, report.sent_bytes)

    for again in (
        sync(connection, str(source), "target/", direction="up", engine=engine),
        sync(connection, "target/", str(tmp_path / "back"), direction="down", engine=engine),
    ):
        assert (again.sent_files, again.sent_bytes, again.plan.items, again.failed) == (0, 0, [], [])


@both
@pytest.mark.parametrize("direction", ["up", "down"])
def test_changes_modes_and_deletions_follow(
    connection: Connection, sshd: Sshd, tmp_path: Path, engine: Engine, direction: Literal["up", "down"]
) -> None:
    here, there = tmp_path / "here", sshd.home / "there"
    here.mkdir()
    there.mkdir()
    one, two = (here, there) if direction == "up" else (there, here)
    odd_tree(one, 1)
    odd_tree(two, 2)
    (two / "extra").mkdir()
    (two / "extra/file").write_text("x")
    (two / "__pycache__").mkdir()
    (two / "__pycache__/kept").write_text("x")
    ends = (str(here), "there") if direction == "up" else ("there", str(here))

    before = shape(two)
    plan = sync(connection, *ends, direction=direction, delete=True, dry_run=True).plan
    assert shape(two) == before
    assert set(plan.deletions) == {"extra", "extra/file"}

    report = sync(connection, *ends, direction=direction, engine=engine)
    report.check()
    assert (two / "extra/file").exists()
    report = sync(connection, *ends, direction=direction, delete=True, engine=engine)
    report.check()
    assert set(report.deleted) == {"extra", "extra/file"}
    after = shape(two)
    assert after.pop(b"__pycache__")
    assert after.pop(b"__pycache__/kept")
    assert after == shape(one)


def test_only_a_changed_mode_is_set_without_sending(connection: Connection, sshd: Sshd, source: Path) -> None:
    sync(connection, str(source), "t", direction="up").check()
    (source / "large").chmod(0o700)
    report = sync(connection, str(source), "t", direction="up")
    assert ([i.path for i in report.plan.modes], report.sent_files) == (["large"], 0)
    assert shape(sshd.home / "t") == shape(source)


@both
def test_by_content_finds_what_size_and_time_hide(
    connection: Connection, sshd: Sshd, source: Path, engine: Engine
) -> None:
    sync(connection, str(source), "t", direction="up").check()
    victim = sshd.home / "t/large"
    stamp = victim.stat().st_mtime
    victim.write_bytes(b"\0" * victim.stat().st_size)
    os.utime(victim, (stamp, stamp))
    assert sync(connection, str(source), "t", direction="up", engine=engine).sent_files == 0
    report = sync(connection, str(source), "t", direction="up", checksum=True, engine=engine)
    report.check()
    assert shape(sshd.home / "t") == shape(source)
    if engine == "rsync":
        assert report.sent_files == 1


class TestWhereThingsLand:
    def test_a_file(self, connection: Connection, sshd: Sshd, tmp_path: Path) -> None:
        file = tmp_path / "file.txt"
        file.write_text("hello")
        (sshd.home / "there").mkdir()
        for target, lands in [
            ("new.txt", "new.txt"),
            ("there", "there/file.txt"),
            ("made/", "made/file.txt"),
            ("deep/er/name", "deep/er/name"),
            ("", "file.txt"),
            (".", "file.txt"),
            ("~/x/", "x/file.txt"),
            (str(sshd.home / "abs"), "abs"),
        ]:
            report = sync(connection, str(file), target, direction="up")
            report.check()
            assert (sshd.home / lands).read_text() == "hello", target
        back = tmp_path / "back"
        for target, lands in [(f"{back}/", "file.txt"), (str(back), "file.txt"), (str(back / "n"), "n")]:
            report = sync(connection, "there/file.txt", target, direction="down")
            report.check()
            assert (back / lands).read_text() == "hello", target
            assert report.plan.items == [] or report.sent_files == 1
        assert sync(connection, "there/file.txt", str(back / "n"), direction="down").sent_files == 0

    @pytest.mark.slow
    def test_a_large_file_by_itself(self, connection: Connection, sshd: Sshd, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(os.urandom(70 * 2**20))
        sync(connection, str(tmp_path / "a"), "b", direction="up").check()
        sync(connection, "b", str(tmp_path / "c"), direction="down").check()
        assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()

    def test_a_folder_never_nests(self, connection: Connection, sshd: Sshd, tmp_path: Path) -> None:
        (tmp_path / "data/sub").mkdir(parents=True)
        for source, target in [("data", "data"), ("data/", "data"), ("data", "data/")]:
            sync(connection, f"{tmp_path}/{source}", target, direction="up").check()
        assert [p.name for p in (sshd.home / "data").rglob("*")] == ["sub"]

    def test_an_empty_folder(self, connection: Connection, sshd: Sshd, tmp_path: Path) -> None:
        (tmp_path / "e").mkdir()
        sync(connection, str(tmp_path / "e"), "deep/e", direction="up").check()
        assert (sshd.home / "deep/e").is_dir()
        sync(connection, "deep/e", str(tmp_path / "x/y"), direction="down").check()
        assert (tmp_path / "x/y").is_dir()


class TestRefusals:
    @pytest.mark.parametrize("target", ["/", "//", "/.", "/../", "/root", "/root/", "/root/."])
    def test_targets_that_are_never_written(
        self, connection: Connection, tmp_path: Path, target: str
    ) -> None:
        (tmp_path / "s").mkdir()
        with pytest.raises(BadInput, match="never put straight into"):
            sync(connection, str(tmp_path / "s"), target, direction="up", dry_run=True)

    def test_a_link_to_one_of_them(self, connection: Connection, sshd: Sshd, tmp_path: Path) -> None:
        (tmp_path / "s").mkdir()
        (sshd.home / "slash").symlink_to("/")
        with pytest.raises(BadInput, match="never put straight into / "):
            sync(connection, str(tmp_path / "s"), "slash", direction="up", dry_run=True)

    @pytest.mark.parametrize("target", ["", "~", "/etc", "/home", "/usr"])
    def test_deleting_where_it_is_not_ours(self, connection: Connection, tmp_path: Path, target: str) -> None:
        (tmp_path / "s").mkdir()
        with pytest.raises(BadInput, match="--delete"):
            sync(connection, str(tmp_path / "s"), target, direction="up", delete=True, dry_run=True)

    def test_local_ones(
        self, connection: Connection, sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (sshd.home / "out").mkdir()
        with pytest.raises(BadInput, match="is refused"):
            sync(connection, "out", "/", direction="down", dry_run=True)
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(BadInput, match="is refused"):
            sync(connection, "out", "~", direction="down", delete=True, dry_run=True)
        with pytest.raises(BadInput, match="whole of a host"):
            sync(connection, "/", str(tmp_path / "x"), direction="down")

    def test_what_is_not_there_or_not_a_path(self, connection: Connection, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=r"source '.*nothing': No such file"):
            sync(connection, str(tmp_path / "nothing"), "t", direction="up")
        with pytest.raises(BadInput, match="source :nothing is not found on the host"):
            sync(connection, "nothing", str(tmp_path / "t"), direction="down")
        assert not (tmp_path / "t").exists()
        for bad in ("a\0b", "~other/x"):
            with pytest.raises(BadInput, match="path "):
                sync(connection, bad, str(tmp_path / "t"), direction="down")
        with pytest.raises(BadInput, match="direction"):
            sync(connection, "a", "b", direction="sideways")  # type: ignore[arg-type]
        (tmp_path / "f").write_text("")
        with pytest.raises(BadInput, match="single file"):
            sync(connection, str(tmp_path / "f"), "t", direction="up", delete=True)


@both
def test_a_file_where_the_target_folder_should_be(
    connection: Connection, sshd: Sshd, source: Path, tmp_path: Path, engine: Engine
) -> None:
    (sshd.home / "t").write_text("mine")
    with pytest.raises(SyncError, match="is not a folder"):
        sync(connection, str(source), "t", direction="up", engine=engine)
    (sshd.home / "u").mkdir()
    (tmp_path / "f").write_text("mine")
    with pytest.raises(SyncError, match="can't be made"):
        sync(connection, "u", str(tmp_path / "f"), direction="down", engine=engine)
    assert (sshd.home / "t").read_text() == (tmp_path / "f").read_text() == "mine"


@both
def test_failures_are_collected_and_the_rest_arrives(
    connection: Connection, sshd: Sshd, source: Path, tmp_path: Path, engine: Engine
) -> None:
    (sshd.home / "t/sub/plain.txt").mkdir(parents=True)  # a folder in the place of a file
    (sshd.home / "t/-leading-dash").write_text("")  # a file in the place of a folder
    report = sync(connection, str(source), "t", direction="up", engine=engine)
    failed = dict(report.failed)
    assert failed["sub/plain.txt"] == "a folder stands in its place"
    assert failed["-leading-dash"] == "a file stands in its place"
    assert all(p in ("sub/plain.txt", "-leading-dash") or p.startswith("-leading-dash/") for p in failed)
    with pytest.raises(SyncError, match="of the files did not go"):
        report.check()
    want = {p: f for p, f in shape(source).items() if os.fsdecode(p) not in failed}
    got = shape(sshd.home / "t")
    assert {p: got[p] for p in want} == want
    assert report.data()["failed"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_permission_denied_in_mid_tree(connection: Connection, sshd: Sshd, source: Path) -> None:
    (source / "sub").chmod(0)
    try:
        report = sync(connection, str(source), "t", direction="up", delete=True)
    finally:
        (source / "sub").chmod(0o755)
    assert dict(report.failed) == {"sub": "Permission denied"}
    assert (sshd.home / "t/large").exists()


@both
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("chattr") is None, reason="needs root and chattr")
def test_a_target_that_can_not_be_written(
    connection: Connection, sshd: Sshd, source: Path, engine: Engine
) -> None:
    closed = sshd.home / "t/sub"
    closed.mkdir(parents=True)
    if subprocess.run(["chattr", "+i", closed], capture_output=True, check=False).returncode != 0:
        pytest.skip("this file system has no immutable flag")
    try:
        report = sync(connection, str(source), "t", direction="up", engine=engine)
    finally:
        subprocess.run(["chattr", "-i", closed], check=True)
    assert report.failed
    assert all(path.startswith("sub") for path, _ in report.failed)
    assert (sshd.home / "t/large").read_bytes() == (source / "large").read_bytes()


def test_vanished_and_changed_files_are_named(
    connection: Connection, sshd: Sshd, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = planner.Merge.run

    def late(*args: Any) -> Any:
        plan = real(*args)
        (source / "sub/plain.txt").unlink()
        os.truncate(source / "shrinks", 400_000)
        with (source / "large").open("ab") as file:
            file.write(b"more")
        return plan

    monkeypatch.setattr(planner.Merge, "run", late)
    (source / "shrinks").write_bytes(bytes(500_000))
    listed = (source / "large").read_bytes()
    report = sync(connection, str(source), "t", direction="up", engine="sftp")
    assert dict(report.failed) == {
        "sub/plain.txt": "No such file or directory",
        "shrinks": "it changed while it was read",
    }
    assert (sshd.home / "t/large").read_bytes() == listed  # it only grew
    assert not list((sshd.home / "t").rglob(".gpunb-part-*"))


@pytest.mark.parametrize("direction", ["up", "down"])
def test_no_room_is_known_before(
    connection: Connection,
    sshd: Sshd,
    source: Path,
    tmp_path: Path,
    direction: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = (str(source), "t")
    if direction == "down":
        sync(connection, *ends, direction="up").check()
        ends = ("t", str(tmp_path / "back"))
        monkeypatch.setattr(locations, "free_here", lambda _path: 1000)
    else:
        monkeypatch.setattr(Remote, "free_bytes", lambda _self, _path: 1000)
    with pytest.raises(NotEnoughSpace, match="free, the plan needs") as caught:
        sync(connection, *ends, direction=direction)
    assert "large (3" in str(caught.value)
    assert not (sshd.home / "t").exists() or direction == "down"
    assert not (tmp_path / "back").exists()


def test_the_host_tells_its_free_room(connection: Connection, sshd: Sshd) -> None:
    with Remote(connection) as remote:
        free = remote.free_bytes(str(sshd.home))
        assert free is not None
        assert abs(free - shutil.disk_usage(sshd.home).free) < 2**30
        remote.pump.extensions.clear()
        with_df = remote.free_bytes(str(sshd.home))
        assert with_df is not None
        assert abs(with_df - free) < 2**30


@pytest.mark.slow
@both
@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_cut_leaves_each_file_old_or_new_and_the_next_try_finishes(
    sshd: Sshd, tmp_path: Path, engine: Engine, direction: Any
) -> None:
    here, there = tmp_path / "here", sshd.home / "there"
    here.mkdir()
    there.mkdir()
    one, two = (here, there) if direction == "up" else (there, here)
    old, new = os.urandom(2**20), os.urandom(2**20)
    for number in range(40):
        (one / f"f{number}").write_bytes(new)
        (two / f"f{number}").write_bytes(old)
        os.utime(two / f"f{number}", (1, 1))
    (one / "large").write_bytes(new * 60)
    (two / "large").write_bytes(old)
    ends = (str(here), "there") if direction == "up" else ("there", str(here))
    with Proxy(sshd.port) as proxy:
        with Connection.open(sshd.endpoint(port=proxy.port)) as line:
            counted = (lambda: proxy.up) if direction == "up" else (lambda: proxy.down)

            def cut_midway() -> None:
                for _ in range(2000):
                    if counted() > 30 * 2**20:
                        break
                    time.sleep(0.005)
                proxy.cut()

            cutter = threading.Thread(target=cut_midway)
            cutter.start()
            with pytest.raises(GpunbError) as caught:
                sync(line, *ends, direction=direction, engine=engine).check()
            assert isinstance(caught.value, Unreachable | SyncError)
            cutter.join()
        states = {(two / f"f{number}").read_bytes() for number in range(40)} | {(two / "large").read_bytes()}
        assert states <= {old, new, new * 60}
        assert old in states or (two / "large").read_bytes() == old
        proxy.restore()
        with Connection.open(sshd.endpoint(port=proxy.port)) as line:
            # the far side may need a moment to notice that it is alone
            for _ in range(20):
                report = sync(line, *ends, direction=direction, engine=engine)
                if not report.failed:
                    break
                time.sleep(0.2)
            report.check()
    assert shape(two) == shape(one)


def test_ctrl_c_stops_all_channels(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for number in range(30):
        (tmp_path / f"s/f{number}").write_bytes(os.urandom(2**21))

    before = threading.active_count()
    with Connection.open(sshd.endpoint()) as line, pytest.raises(KeyboardInterrupt):
        sync(line, str(tmp_path / "s"), "t", direction="up", engine="sftp", progress=Impatient())
        time.sleep(5)  # the interrupt may be on its way
    # it may have cut a packet, which ends the connection: the next command opens another, and so do we
    with Connection.open(sshd.endpoint()) as line:
        sync(line, str(tmp_path / "s"), "t", direction="up", engine="sftp").check()
        assert shape(sshd.home / "t") == shape(tmp_path / "s")
    for _ in range(100):
        if threading.active_count() <= before:
            break
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_two_into_one_place_at_once(connection: Connection, sshd: Sshd, source: Path) -> None:
    ends = locations.Endpoints(source, str(sshd.home / "t"))
    with locations.lock(connection.endpoint, ends, "up"):
        with pytest.raises(SyncError, match=r"another sync into .* is running"):
            sync(connection, str(source), "t", direction="up")
        sync(connection, str(source), "u", direction="up").check()
    sync(connection, str(source), "t", direction="up").check()


def test_leftovers_of_a_cut_are_cleared_and_never_fetched(
    connection: Connection, sshd: Sshd, source: Path, tmp_path: Path
) -> None:
    (sshd.home / "t").mkdir()
    (sshd.home / "t/.gpunb-part-0000000000000000").write_text("half")
    report = sync(connection, "t", str(tmp_path / "b"), direction="down")
    assert (report.sent_files, list((tmp_path / "b").iterdir())) == (0, [])
    sync(connection, str(source), "t", direction="up").check()
    assert shape(sshd.home / "t") == shape(source)


def test_progress_counts_up_to_the_whole(connection: Connection, source: Path, tmp_path: Path) -> None:
    class Watcher:
        def __init__(self) -> None:
            self.said: list[str] = []
            self.seen: list[tuple[float, float | None, str]] = []

        def say(self, message: str) -> None:
            self.said.append(message)

        def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
            self.seen.append((done, total, unit))

    for engine in ("sftp", "rsync") if shutil.which("rsync") else ("sftp",):
        watcher = Watcher()
        report: SyncReport = sync(
            connection, str(source), f"t-{engine}", direction="up", engine=engine, progress=watcher
        )
        assert watcher.said[0] == "listing files"
        assert watcher.seen[-1] == (report.plan.total_bytes, report.plan.total_bytes, "B")
        assert watcher.seen == sorted(watcher.seen)


@needs_rsync
def test_auto_takes_rsync_up_for_much_and_sftp_else(
    connection: Connection, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sync(connection, str(source), "t", direction="up").engine == "rsync"
    assert sync(connection, "t", str(tmp_path / "b"), direction="down").engine == "sftp"
    (source / "one").write_text("x")
    assert sync(connection, str(source), "t", direction="up").engine == "sftp"
    monkeypatch.setattr(rsync, "local_version", lambda: None)
    assert sync(connection, str(source), "u", direction="up").engine == "sftp"
    with pytest.raises(BadInput, match="engine 'rsync'"):
        sync(connection, str(source), "v", direction="up", engine="rsync")


@needs_rsync
@pytest.mark.parametrize("where", ["here", "there", "openrsync", "gone there"])
def test_an_rsync_that_is_too_old_is_not_used(
    sshd: Sshd, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    said = (
        "openrsync: protocol version 29"
        if where == "openrsync"
        else "rsync  version 2.6.9  protocol version 29"
    )
    old = tmp_path / "old"
    old.mkdir()
    (old / "rsync").write_text(f"#!/bin/sh\necho '{said}'\nexit {127 * (where == 'gone there')}\n")
    (old / "rsync").chmod(0o755)
    if where in ("here", "openrsync"):
        monkeypatch.setenv("PATH", str(old), prepend=":")
    else:
        if where == "gone there":
            (old / "rsync").write_text("#!/bin/sh\necho 'rsync: not found' >&2\nexit 127\n")
        enter = sshd.root / "enter"
        enter.write_text(enter.read_text().replace("exec /bin/sh -c", f"PATH={old}:$PATH exec /bin/sh -c"))
    with Connection.open(sshd.endpoint()) as connection:
        report = sync(connection, str(source), "t", direction="up")
        report.check()
        assert report.engine == "sftp"
        assert shape(sshd.home / "t") == shape(source)


@needs_rsync
def test_a_noisy_login_shell_breaks_rsync_and_not_the_sync(sshd: Sshd, source: Path) -> None:
    enter = sshd.root / "enter"
    text = enter.read_text()
    noisy = text.replace(
        "exec /bin/sh -c", 'case "$SSH_ORIGINAL_COMMAND" in rsync*) echo Welcome;; esac\nexec /bin/sh -c'
    )
    assert noisy != text
    enter.write_text(noisy)
    with Connection.open(sshd.endpoint()) as line:
        report = sync(line, str(source), "t", direction="up")
        report.check()
    assert report.engine == "sftp"
    assert shape(sshd.home / "t") == shape(source)


@pytest.mark.slow
def test_many_small_files(connection: Connection, sshd: Sshd, tmp_path: Path) -> None:
    count = 3000
    for number in range(count):
        path = tmp_path / f"many/d{number % 50}/f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(number).encode() * 3)
    report = sync(connection, str(tmp_path / "many"), "many", direction="up")
    report.check()
    assert report.sent_files == count
    sync(connection, "many", str(tmp_path / "back"), direction="down").check()
    assert shape(tmp_path / "back") == shape(tmp_path / "many") == shape(sshd.home / "many")

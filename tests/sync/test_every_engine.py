"""Each odd tree through each engine, in both directions: compared by the system's own tools.

A tree is a line in `TREES`, an engine a line in `ENGINES`: all pairs run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.sync import rsync, sync
from gpunb.sync.throttle import Pace
from tests.support.bench import Bench
from tests.support.odd_disk import KINDS, NO_RENAME, odd_disk, usable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


pytestmark = pytest.mark.slow


SPARSE = 2**37
RSYNC = (rsync.local_version() or (0,)) >= (3, 4)
ENGINES: dict[str, Callable[[Bench, Path, Path], list[str]]] = {
    "stream up": lambda b, *ends: b.sync("stream", "up", *ends),
    "stream down": lambda b, *ends: b.sync("stream", "down", *ends),
    "rsync up": lambda b, *ends: b.sync("rsync", "up", *ends),
    "rsync down": lambda b, *ends: b.sync("rsync", "down", *ends),
    "sftp up": lambda b, *ends: b.sync("sftp", "up", *ends),
    "sftp down": lambda b, *ends: b.sync("sftp", "down", *ends),
    "host to host": Bench.between,
    "gpu:// put": Bench.put,
    "gpu:// get": Bench.get,
}
STREAM = ("stream up", "stream down", "host to host")
engines = pytest.mark.parametrize(
    "engine",
    [
        pytest.param(name, marks=pytest.mark.skipif("rsync" in name and not RSYNC, reason="needs rsync 3.4"))
        for name in ENGINES
    ],
)


def dated(when: int, root: Path) -> None:
    for name, size in (("small", 10), ("large", 1_000_000)):
        (root / name).write_bytes(os.urandom(size))
        os.utime(root / name, (when, when))
    (root / "beside").write_text("as ever")


def with_holes(size: int, root: Path) -> None:
    with (root / "data.mdb").open("wb") as file:
        file.truncate(size)
        file.write(os.urandom(300_000))
        file.seek(size // 2)
        file.write(os.urandom(300_000))
    (root / "code.py").write_text("code")


def with_odd_entries(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to("nowhere")
    (root / "sub").mkdir()
    (root / "sub/file").write_text("x")


def sizes(root: Path) -> None:
    for size in (0, 1, 2**18, 2**18 + 1, 2**19, 2**19 + 1, 2**20, 9 * 2**20 + 5):
        (root / f"f{size}").write_bytes(os.urandom(size))


TREES: dict[str, Callable[[Path], None]] = {
    "sizes": sizes,
    "dated 2300": partial(dated, 10_413_792_000),
    "dated 2262 and a day": partial(dated, 9_223_459_200),
    "dated 1901": partial(dated, -2_147_400_000),
    "holes": partial(with_holes, 40 * 2**20),
    "odd entries": with_odd_entries,
}


def contents_differ(source: Path, target: Path) -> str:
    """What ``diff`` says of the two trees' files and links; of pipes that did not go, nothing."""
    argv = ["diff", "-r", "--no-dereference", "-x", "pipe", "-x", "dangling", str(source), str(target)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60).stdout


def times(root: Path) -> str:
    argv = ["find", str(root), "-type", "f", "-printf", "%P %m %T@\n"]
    return "\n".join(
        sorted(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("\n"))
    )


def warned(words: str, due: bool) -> Any:
    return pytest.warns(UserWarning, match=words) if due else contextlib.nullcontext()


@pytest.mark.sample
@engines
@pytest.mark.parametrize("tree", TREES)
def test_a_tree_arrives(bench: Bench, tmp_path: Path, tree: str, engine: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    TREES[tree](source)
    with warned("left out", tree == "odd entries" and "gpu" in engine):
        ENGINES[engine](bench, source, target)
    assert contents_differ(source, target) == ""
    assert not list(target.rglob(".gpunb-*"))
    if engine in STREAM:
        assert times(source) == times(target)


@pytest.mark.parametrize("engine", ["stream up", "stream down", "sftp up", "sftp down"])
def test_ctrl_c_ends_a_slow_transfer_at_once(
    bench: Bench, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 1 kB/s a piece waits for minutes before it may go: an interrupt wakes whoever waits."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(3 * 2**20))
    main, wait, began = threading.main_thread().ident, Pace.wait, threading.Event()
    assert main is not None

    def waits(self: Pace, size: int, over: threading.Event) -> None:
        if not began.is_set():
            began.set()
            threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()
        wait(self, size, over)

    monkeypatch.setattr(Pace, "wait", waits)
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        bench.sync(*engine.split(), source, target, limit_rate=1000.0)
    waiting = [one for one in threading.enumerate() if one not in before and "work" in one.name]
    for one in waiting:
        one.join(20.0)  # they have a thousand seconds to wait
    assert not any(one.is_alive() for one in waiting)


@pytest.mark.parametrize("engine", STREAM)
def test_a_file_with_holes_larger_than_the_disk(bench: Bench, tmp_path: Path, engine: str) -> None:
    """Also once it has changed: its holes are neither sent, nor filled, nor counted as room."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    with_holes(SPARSE, source)
    for _ in range(2):
        ENGINES[engine](bench, source, target)
        held = (target / "data.mdb").stat().st_blocks * 512
        assert held <= (source / "data.mdb").stat().st_blocks * 512 < 2**21
        assert (target / "data.mdb").stat().st_size == SPARSE
        with (source / "data.mdb").open("rb") as one, (target / "data.mdb").open("rb") as two:
            for at in (0, SPARSE // 2):
                one.seek(at)
                two.seek(at)
                assert one.read(2**20) == two.read(2**20)
        with (source / "data.mdb").open("r+b") as file:
            file.seek(100)
            file.write(b"changed")


@pytest.mark.parametrize("engine", [name for name in ENGINES if "gpu" not in name])
def test_links_that_lead_out_are_named_and_followed_if_asked(
    bench: Bench, tmp_path: Path, engine: str
) -> None:
    """To files and folders, through each other, and never without end."""
    if "rsync" in engine and not RSYNC:
        pytest.skip("needs rsync 3.4")
    source, ssd, other = tmp_path / "source", tmp_path / "ssd", tmp_path / "other"
    for folder in (source / "sub", ssd / "set", other):
        folder.mkdir(parents=True)
    (ssd / "set/train.bin").write_bytes(os.urandom(700_000))
    (other / "x").write_text("x")
    (source / "code.py").write_text("code")
    links = {
        "data": ssd,
        "sub/file": ssd / "set/train.bin",
        "inside": "sub",
        "nothing": tmp_path / "nowhere",
        "root": "/",
        "proc": "/proc/self",
        "above": "..",
    }
    for name, goal in links.items():
        (source / name).symlink_to(goal)
    (ssd / "other").symlink_to(other)
    (other / "back").symlink_to(ssd)  # two that lead to each other
    (other / "home").symlink_to(source)

    def go(target: str, **options: Any) -> tuple[set[str], list[str]]:
        kind, _, direction = engine.partition(" ")
        ends = source, tmp_path / target
        if engine == "host to host":
            notes = bench.between(*ends, **options)
        else:
            notes = bench.sync(kind, direction, *ends, **options)
        said = subprocess.run(
            ["find", str(ends[1]), "-not", "-type", "d", "-printf", "%P\n"], capture_output=True, check=True
        )
        return set(said.stdout.decode().split()), notes

    files, notes = go("plain")
    assert files == {"code.py", "inside"}
    (note,) = (one for one in notes if "--follow-links" in one)
    assert f"data -> {ssd}" in note
    files, _ = go("followed", follow=True)
    assert files == {"code.py", "inside", "data/set/train.bin", "data/other/x", "sub/file"}
    assert (tmp_path / "followed/data/set/train.bin").read_bytes() == (ssd / "set/train.bin").read_bytes()
    assert (tmp_path / "followed/sub/file").read_bytes() == (ssd / "set/train.bin").read_bytes()
    assert go("followed", follow=True)[0] == files


@pytest.mark.sample
@engines
@pytest.mark.parametrize("step", [40, 60_000])
def test_a_log_that_grows_arrives_as_far_as_it_had_come(
    bench: Bench, tmp_path: Path, engine: str, step: int
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "calm").write_text("calm")
    names = ("small.log", "large.jsonl")
    (source / "small.log").write_bytes(b"start")
    (source / "large.jsonl").write_bytes(os.urandom(12_000_000))
    stop = threading.Event()

    def job() -> None:
        while not stop.is_set():
            for name in names:
                with (source / name).open("ab") as file:
                    file.write(os.urandom(step))
            time.sleep(0.003)

    writer = threading.Thread(target=job)
    writer.start()
    try:
        time.sleep(0.05)
        before = {name: (source / name).stat().st_size for name in names}
        ENGINES[engine](bench, source, target)
    finally:
        stop.set()
        writer.join()
    for name in names:
        there = (target / name).read_bytes()
        assert len(there) >= before[name]
        assert (source / name).read_bytes().startswith(there)
    assert (target / "calm").read_text() == "calm"


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    if not usable():
        pytest.skip("needs FUSE (fusermount, /dev/fuse, fusepy)")
    with odd_disk(request.param, tmp_path) as found:
        yield request.param, found


def on_disk_differ(source: Path, target: Path) -> str:
    """As `contents_differ`, when FUSE hides no file any more that was removed while it was open."""
    for _ in range(100):
        if not list(target.rglob(".fuse_hidden*")):
            break
        time.sleep(0.05)
    return contents_differ(source, target)


def test_a_disk_without_modes_or_times_takes_the_content(
    bench: Bench, tmp_path: Path, disk: tuple[str, Path]
) -> None:
    """By every engine, and a second time; it is said once, and no failure."""
    kind, mount = disk
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    sizes(source)
    (source / "sub/s").write_text("s")
    for path in source.rglob("*"):
        path.chmod(0o750 if path.is_dir() else 0o640)
        os.utime(path, (1_700_000_001, 1_700_000_001))
    for name, engine in ENGINES.items():
        if "rsync" in name and not RSYNC:
            continue
        target = mount / name.replace("/", "").replace(":", "")
        bench.fs._told.clear()
        with warned("keeps no", name == "gpu:// put" and kind != "fat"):
            notes = engine(bench, source, target)
        assert on_disk_differ(source, target) == "", name
        if kind != "fat" and "gpu" not in name:
            assert sum("keeps no permissions or times" in note for note in notes) == 1, name
        if name == "stream up" and kind == "fat":
            again = sync(bench.one.connection, str(source), str(target), direction="up", agent=bench.one)
            assert again.sent_files == 0  # FAT's steps of two seconds are no change
        engine(bench, source, target)
        assert on_disk_differ(source, target) == "", name


@pytest.mark.parametrize("kind", NO_RENAME)
def test_a_disk_that_does_not_rename_takes_the_content(bench: Bench, tmp_path: Path, kind: str) -> None:
    """New, and once more over what is there; nothing of ours stays beside it."""
    if not usable():
        pytest.skip("needs FUSE (fusermount, /dev/fuse, fusepy)")
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    sizes(source)
    (source / "sub/s").write_text("s")
    with odd_disk(kind, tmp_path) as mount:
        for turn in range(2):
            (source / "sub/s").write_text("s" * turn)
            (source / f"f{2**20}").write_bytes(os.urandom(2**20 + turn))
            for name in STREAM:
                target = mount / name.replace(" ", "")
                ENGINES[name](bench, source, target)
                assert on_disk_differ(source, target) == "", name
                assert not list(target.rglob(".gpunb*")), name

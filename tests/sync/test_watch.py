from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gpunb.errors import BadInput
from gpunb.sync import throttle, watch


class Following:
    """A watch in a thread of its own."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.stop = threading.Event()
        self.woken: list[watch.Wake] = []
        self.failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._follow, args=(root,), kwargs=options, daemon=True)

    def _follow(self, root: Path, **options: Any) -> None:
        try:
            for wake in watch.changes(root, stop=self.stop, **options):
                self.woken.append(wake)
        except Exception as err:  # noqa: BLE001 - looked at by the test
            self.failed.append(err)

    def __enter__(self) -> Following:  # noqa: PYI034 - final in practice
        self._thread.start()
        self.comes(1)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def comes(self, count: int) -> None:
        for _ in range(400):
            if len(self.woken) >= count or self.failed:
                return
            time.sleep(0.05)
        raise AssertionError(self.woken)

    def rests(self) -> int:
        time.sleep(1.2)
        return len(self.woken)


@pytest.mark.slow
def test_changes_wake_once_they_rest_and_ignored_ones_do_not(tmp_path: Path) -> None:
    root = tmp_path / "s"
    (root / "sub").mkdir(parents=True)
    (root / ".gitignore").write_text("*.log\n")
    with Following(root, exclude=["*.tmp"]) as watching:
        assert watching.woken == [watch.Wake(0)]
        (root / "sub/a").write_text("x")  # right behind the beginning
        watching.comes(2)
        told = watching.rests()
        for name in ("x.log", "x.tmp", "sub/y.log", ".gpunb-part-1"):
            (root / name).write_text("x")
        (root / "__pycache__").mkdir()
        (root / "__pycache__/z").write_text("x")
        assert watching.rests() == told
        shutil.rmtree(root / "sub")
        (root / "sub").mkdir()  # another one under its name
        (root / "new/deep/er").mkdir(parents=True)
        watching.comes(told + 1)
        told = watching.rests()
        (root / "sub/c").write_text("x")
        watching.comes(told + 1)
        told = watching.rests()
        (root / "new/deep/er/b").write_text("x")  # in a folder that came since
        watching.comes(told + 1)


@pytest.mark.slow
def test_what_does_not_go_takes_no_watch(tmp_path: Path) -> None:
    root = tmp_path / "s"
    for number in range(300):
        (root / f"node_modules/p{number}/lib").mkdir(parents=True)
        (root / f"data/{number}").mkdir(parents=True)
        (root / f".git/objects/{number}").mkdir(parents=True)
    (root / "src/pkg").mkdir(parents=True)
    (root / ".gitignore").write_text("/data/\n")
    with Following(root) as watching:
        count = 0
        for path in Path("/proc/self/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                count += path.read_text().count("inotify wd:")
        assert 3 <= count <= 10
        (root / ".gitignore").write_text("# nothing\n")
        watching.comes(2)
        told = watching.rests()
        (root / "data/7/x").write_text("x")
        watching.comes(told + 1)


@pytest.mark.slow
def test_a_source_that_is_moved_away_and_made_again_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "s"
    (root / "sub").mkdir(parents=True)
    with Following(root) as watching:
        root.rename(tmp_path / "gone")
        told = watching.rests()
        (tmp_path / "gone/x").write_text("x")
        assert watching.rests() == told
        (root / "sub").mkdir(parents=True)
        watching.comes(told + 1)
        assert "moved away" in watching.woken[-1].note
        told = watching.rests()
        (root / "sub/y").write_text("x")
        watching.comes(told + 1)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a limit of its own takes a user namespace")
def test_the_systems_limit_is_named(tmp_path: Path) -> None:
    """In a user namespace, whose limit counts for it alone."""
    for number in range(40):
        (tmp_path / f"s/{number}").mkdir(parents=True)
    code = f"""
import pathlib
from gpunb.errors import SyncError
from gpunb.sync import watch
pathlib.Path("/proc/sys/user/max_inotify_watches").write_text("10")
try:
    next(watch.changes(pathlib.Path({str(tmp_path / "s")!r})))
except SyncError as err:
    print(err.message, "|", err.hint)
"""
    argv = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if "unshare" in done.stderr or "Permission denied" in done.stderr or "No such file" in done.stderr:
        pytest.skip(f"no user namespace here: {done.stderr[-200:]}")
    assert "41 folders" in done.stdout, done.stderr
    assert "fs.inotify.max_user_watches" in done.stdout


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10M", 10e6), ("500k", 5e5), ("1.5 MiB/s", 1.5 * 2**20), ("2000", 2000.0), ("1G", 1e9)],
)
def test_rates(text: str, rate: float) -> None:
    assert throttle.parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "fast", "-3M", "10", "10M/h", "1e6"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match=f"limit-rate {text!r}"):
        throttle.parse_rate(text)


def test_a_limit_is_held_over_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: clock[0])

    class Never(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            clock[0] += timeout or 0.0
            return False

    limited = throttle.Pace(1e6)
    for _ in range(100):
        limited.wait(100_000, Never())
    assert 9.8 <= clock[0] - 100.0 <= 10.1
    clock[0] += 1000.0  # a pause gives no credit
    limited.wait(10**6, Never())
    assert clock[0] - 1110.0 >= 0.8
    throttle.Pace(None).wait(10**12, Never())

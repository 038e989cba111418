from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BadInput
from gpunb.sync import pace, watch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_changes_wake_once_they_rest_and_ignored_ones_do_not(tmp_path: Path) -> None:
    root = tmp_path / "s"
    (root / "sub").mkdir(parents=True)
    (root / ".gitignore").write_text("*.log\n")
    stop = threading.Event()
    woken: list[int] = []
    first, more = threading.Event(), threading.Event()

    def follow() -> None:
        for count in watch.changes(root, exclude=["*.tmp"], stop=stop):
            woken.append(count)
            (more if first.is_set() else first).set()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        for turn in range(100):  # until the watch has begun
            (root / "sub/a").write_text(str(turn))
            if first.wait(0.2):
                break
        assert first.is_set()
        for _ in range(50):  # and what was written meanwhile is told
            count = len(woken)
            if not threading.Event().wait(2.0) and len(woken) == count:
                break
        told = len(woken)
        for name in ("x.log", "x.tmp", "sub/y.log", ".gpunb-part-1"):
            (root / name).write_text("x")
        (root / "__pycache__").mkdir()
        (root / "__pycache__/z").write_text("x")
        threading.Event().wait(1.5)
        assert len(woken) == told
        more.clear()
        (root / "b").write_text("x")
        assert more.wait(20)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10M", 10e6), ("500k", 5e5), ("1.5 MiB/s", 1.5 * 2**20), ("2000", 2000.0), ("1G", 1e9)],
)
def test_rates(text: str, rate: float) -> None:
    assert pace.parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "fast", "-3M", "10", "10M/h", "1e6"])
def test_rates_that_are_none(text: str) -> None:
    with pytest.raises(BadInput, match=f"limit-rate {text!r}"):
        pace.parse_rate(text)


def test_a_limit_is_held_over_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(pace.time, "sleep", lambda s: clock.__setitem__(0, clock[0] + s))
    limited = pace.Pace(1e6)
    for _ in range(100):
        limited.wait(100_000)
    assert 9.8 <= clock[0] - 100.0 <= 10.1
    clock[0] += 1000.0  # a pause gives no credit
    limited.wait(10**6)
    assert clock[0] - 1110.0 >= 0.8
    pace.Pace(None).wait(10**12)

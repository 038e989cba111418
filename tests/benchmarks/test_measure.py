from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks._measure import cpu_seconds, interleave, peak_of, process, seconds


def test_a_process_is_measured_alone() -> None:
    code = "import sys; b = bytearray(200_000_000); b[::4096] = b'x' * len(b[::4096]); print('done')"
    big = process([sys.executable, "-c", code])
    small = process([sys.executable, "-c", "print('done')"])
    assert big.out == small.out == "done\n"
    assert big.peak_bytes > 190e6
    assert small.peak_bytes < 100e6  # not the maximum over all children so far


def test_a_process_that_fails_shows_its_end() -> None:
    with pytest.raises(RuntimeError, match="exited with 3:\nwhy"):
        process([sys.executable, "-c", "import sys; print('why'); sys.exit(3)"])


def test_a_process_that_hangs_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        process([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.3)


def test_interleave_turns_the_order_round_and_drops_the_warm_up() -> None:
    seen: list[str] = []

    def sampler(name: str) -> float:
        seen.append(name)
        return float(len(seen))

    found = interleave({"a": lambda: sampler("a"), "b": lambda: sampler("b")}, 2, warm_up=1)
    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [4.0, 5.0], "b": [3.0, 6.0]}
    with pytest.raises(ValueError, match="rounds: 0"):
        interleave({}, 0)


def test_clocks_run_while_there_is_work() -> None:
    def work() -> int:
        return sum(range(200_000))

    assert cpu_seconds(work) > 0
    assert seconds(work) > 0


def test_peak_counts_what_was_freed_again() -> None:
    result, peak = peak_of(lambda: len(bytearray(30_000_000)))
    assert result == 30_000_000
    assert peak >= 30_000_000

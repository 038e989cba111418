"""Clocks and memory: processes measured from outside, functions from inside."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Finished", "cpu_seconds", "interleave", "peak_of", "process", "seconds"]

T = TypeVar("T")
# ru_maxrss counts kilobytes on Linux and bytes on macOS (getrusage(2) of both)
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A process that ended well: wall seconds, its own peak memory in bytes, and what it printed."""

    seconds: float
    peak_bytes: int
    out: str


def process(argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 60.0) -> Finished:
    """Run a process and measure it from its start until it has been reaped.

    Raises
    ------
    RuntimeError
        It exits with another status than 0; its last output is in the message.
    subprocess.TimeoutExpired
        It runs longer than `timeout` seconds, and was killed.
    """
    with tempfile.TemporaryFile() as out:
        begin = time.perf_counter()
        child = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        code, peak = _reap(child, timeout)
        took = time.perf_counter() - begin
        out.seek(0)
        text = out.read().decode("utf-8", "replace")
    if code != 0:
        msg = f"{' '.join(argv)} exited with {code}:\n{text[-2000:]}"
        raise RuntimeError(msg)
    return Finished(seconds=took, peak_bytes=peak, out=text)


def _reap(child: subprocess.Popen[bytes], timeout: float) -> tuple[int, int]:
    # wait4 is the one call that tells the memory of this child alone; a timer keeps it bounded
    import threading

    expired = threading.Event()

    def kill() -> None:
        expired.set()
        child.kill()

    timer = threading.Timer(timeout, kill)
    timer.start()
    try:
        _, status, usage = os.wait4(child.pid, 0)
    finally:
        timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
    if expired.is_set():
        raise subprocess.TimeoutExpired(child.args, timeout)
    return child.returncode, usage.ru_maxrss * _MAXRSS_UNIT


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call, with the garbage collector held back."""
    return _timed(work, time.perf_counter)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process (all threads) during one call."""
    return _timed(work, time.process_time)


def _timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    gc.collect()
    held = gc.isenabled()
    gc.disable()
    try:
        begin = clock()
        work()
        return clock() - begin
    finally:
        if held:
            gc.enable()


def interleave(
    samplers: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Take one sample of each in turn, `rounds` times, and turn the order round each time.

    What disturbs the machine for a while then disturbs all of them alike,
    and none profits from always coming second. `warm_up` rounds are thrown away.
    """
    if rounds < 1:
        msg = f"rounds: {rounds}; there must be at least one"
        raise ValueError(msg)
    found: dict[str, list[float]] = {name: [] for name in samplers}
    order = list(samplers)
    for turn in range(warm_up + rounds):
        for name in order if turn % 2 == 0 else reversed(order):
            sample = samplers[name]()
            if turn >= warm_up:
                found[name].append(sample)
    return found


def peak_of(work: Callable[[], T]) -> tuple[T, int]:
    """The result of `work` and the peak of Python's own memory during it, in bytes.

    Allocations of C libraries that bypass Python's allocator are not counted;
    measure a whole `process` where they matter. Slows `work` down: don't time it too.
    """
    import tracemalloc

    gc.collect()
    tracemalloc.start()
    try:
        result = work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, peak

"""Clocks and memory: processes measured from outside, functions from inside."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Finished", "cpu_seconds", "interleave", "peak_of", "process", "seconds"]

T = TypeVar("T")
# starts the measured process, waits for it, and writes [seconds, exit code, peak]
_HELPER = """
import json, os, sys, time
begin = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
took = time.perf_counter() - begin
with open(sys.argv[1], "w") as file:
    json.dump([took, os.waitstatus_to_exitcode(status), usage.ru_maxrss], file)
"""
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

    A small helper process starts it: a child's peak memory begins with its
    parent's at the fork (getrusage(2) keeps it over exec), and ours is large.

    Raises
    ------
    RuntimeError
        It exits with another status than 0; its last output is in the message.
    subprocess.TimeoutExpired
        It runs longer than `timeout` seconds, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder, "figures")
        with Path(folder, "out").open("w+b") as out:
            helper = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _HELPER, str(figures), *argv],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                helper.wait(timeout)
            except BaseException:
                os.killpg(helper.pid, signal.SIGKILL)
                helper.wait()
                raise
            out.seek(0)
            text = out.read().decode("utf-8", "replace")
        took, code, peak = (
            json.loads(figures.read_text()) if figures.exists() else (0.0, helper.returncode, 0)
        )
    if code != 0:
        msg = f"{' '.join(argv)} exited with {code}:\n{text[-2000:]}"
        raise RuntimeError(msg)
    return Finished(seconds=took, peak_bytes=peak * _MAXRSS_UNIT, out=text)


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

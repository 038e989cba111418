"""The host's telemetry: load of GPUs, processor, memory, disk and network, sampled and stored.

A sample every ten seconds, one a second while it is viewed. Each is sent to
all clients as a note and written to a small file, which holds about a day and is
thinned when it is read. A sample is a flat mapping::

    {"ts": Unix seconds, "cpu": %, "mem": [used, total], "disk": [used, total], "net": [B/s in, B/s out],
     "gpus": [{"i": "0", "name": ..., "util": %, "mem": [used, total], "temp": °C, "power": W}]}

Sizes are bytes. Values that the host does not provide are left out or None.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

from ..shared import folders
from . import gpus

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK, SLOW = 1.0, 10.0  # seconds between samples while they are viewed, and otherwise
FILE_LIMIT = 2 << 20  # bytes after which the file is rotated
MIB = 1 << 20
FIELDS = "index,name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw"


class Telemetry:
    """Takes, publishes and stores samples.

    Parameters
    ----------
    tell
        Called with a note's head for each sample.
    """

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.tell = tell
        self.latest: dict[str, Any] | None = None
        self.path = os.path.join(folders.base(), "telemetry")
        self._looking = 0.0  # monotonic time until which samples are viewed
        self._wake = asyncio.Event()
        self._counters = Counters()
        self._gpus: list[dict[str, Any]] = []
        self._asking: asyncio.Future[Any] | None = None
        self._blind_until = 0.0

    def look(self, seconds: float) -> None:
        """Sample faster for the next `seconds`, for a viewer."""
        self._looking = max(self._looking, time.monotonic() + seconds)
        self._wake.set()

    @property
    def looked_at(self) -> bool:
        """Whether a viewer is active now."""
        return time.monotonic() < self._looking

    async def watch(self) -> None:
        """Take samples for ever."""
        while True:
            started = time.monotonic()
            await self._ask_gpus()
            self.latest = dict(self._counters.sample(), gpus=self._gpus)
            self._remember(self.latest)
            self.tell(dict(self.latest, t="note", k="telemetry"))
            self._wake.clear()
            while True:
                gap = QUICK if self.looked_at else SLOW
                left = started + gap - time.monotonic()
                if left <= 0:
                    break
                try:
                    await asyncio.wait_for(self._wake.wait(), left)
                except asyncio.TimeoutError:
                    break
                self._wake.clear()

    async def _ask_gpus(self) -> None:
        """Query ``nvidia-smi`` with a short timeout; a broken one is queried rarely."""
        if self._asking is None and time.monotonic() >= self._blind_until:
            self._asking = asyncio.ensure_future(gpus.query(FIELDS))
        if self._asking is None:
            return
        await asyncio.wait([self._asking], timeout=QUICK * 0.8)
        if self._asking.done():
            asked, self._asking = self._asking, None
            try:
                self._gpus = [_gpu(row) for row in asked.result()]
                if not self._gpus:
                    self._blind_until = time.monotonic() + 600
            except (gpus.SmiError, OSError):
                self._gpus = []
                self._blind_until = time.monotonic() + 60

    def _remember(self, sample: dict[str, Any]) -> None:
        try:
            with open(self.path, "a") as file:
                file.write(json.dumps(sample, separators=(",", ":")) + "\n")
                size = file.tell()
            if size > FILE_LIMIT:
                os.replace(self.path, self.path + ".old")
        except OSError:
            return  # a full disk; the samples are sent all the same

    def history(self, since: float, until: float, points: int) -> list[dict[str, Any]]:
        """Return stored samples between two Unix times, at most `points`: neighbours are averaged."""
        found = []
        for path in (self.path + ".old", self.path):
            try:
                with open(path) as file:
                    for line in file:
                        sample = _parsed(line)
                        if sample is not None and since <= sample["ts"] <= until:
                            found.append(sample)
            except OSError:
                continue
        return thinned(found, points)


def _parsed(line: str) -> dict[str, Any] | None:
    """Parse a stored sample; None for a line that a crash tore."""
    try:
        sample = json.loads(line)
    except ValueError:
        return None
    return sample if isinstance(sample, dict) and isinstance(sample.get("ts"), (int, float)) else None


def thinned(samples: list[dict[str, Any]], points: int) -> list[dict[str, Any]]:
    """Reduce samples to at most `points`, each the mean of consecutive ones."""
    if len(samples) <= points:
        return samples
    edges = [round(index * len(samples) / points) for index in range(points + 1)]
    return [_mean(samples[start:stop]) for start, stop in zip(edges, edges[1:]) if stop > start]


def _mean(values: list[Any]) -> Any:
    """Average values of one shape: numbers, lists or mappings of them; for others, take the last."""
    last = values[-1]
    if isinstance(last, (int, float)) and not isinstance(last, bool):
        numbers = [value for value in values if isinstance(value, (int, float))]
        return round(sum(numbers) / len(numbers), 3)
    if isinstance(last, list):
        rows = [value for value in values if isinstance(value, list) and len(value) == len(last)]
        return [_mean([row[index] for row in rows]) for index in range(len(last))]
    if isinstance(last, dict):
        found = [value for value in values if isinstance(value, dict)]
        return {name: _mean([one[name] for one in found if name in one]) for name in last}
    return last


def _gpu(row: list[str]) -> dict[str, Any]:
    """Convert one GPU's row to numbers; ``[N/A]`` and the like become None."""
    index, name, util, used, total, temp, power = row
    memory = [_number(used), _number(total)]
    return {
        "i": index,
        "name": name,
        "util": _number(util),
        "mem": [None if size is None else size * MIB for size in memory],
        "temp": _number(temp),
        "power": _number(power),
    }


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class Counters:
    """Counters of ``/proc`` and the container's cgroup; rates are since the sample before."""

    def __init__(self) -> None:
        self._cpu: tuple[float, float] | None = None
        self._net: tuple[float, int, int] | None = None

    def sample(self) -> dict[str, Any]:
        """Take one sample, without GPUs."""
        return {
            "ts": round(time.time(), 2),
            "cpu": self._busy(),
            "mem": memory(),
            "disk": disk(os.path.expanduser("~")),
            "net": self._network(),
        }

    def _busy(self) -> float | None:
        """Percentage of the time that the processors were busy."""
        now = processor()
        before, self._cpu = self._cpu, now
        if now is None or before is None or now[1] <= before[1]:
            return None
        return round(min(100.0, max(0.0, 100 * (now[0] - before[0]) / (now[1] - before[1]))), 1)

    def _network(self) -> list[float] | None:
        """Bytes a second in and out, without loopback."""
        counts = traffic()
        if counts is None:
            return None
        now = (time.monotonic(), counts[0], counts[1])
        before, self._net = self._net, now
        if before is None or now[0] <= before[0]:
            return [0.0, 0.0]
        gap = now[0] - before[0]
        return [round(max(0, now[at] - before[at]) / gap, 1) for at in (1, 2)]


def lines(path: str) -> list[str]:
    """Read a file of the kernel's, line by line; empty if it is not there."""
    try:
        with open(path) as file:
            return file.read().splitlines()
    except OSError:
        return []


def processor() -> tuple[float, float] | None:
    """Seconds busy and seconds in total, since some moment; a container's own share if it has a limit."""
    limit = (lines("/sys/fs/cgroup/cpu.max") or [""])[0].split()
    if len(limit) == 2 and limit[0].isdigit() and limit[1].isdigit():
        for line in lines("/sys/fs/cgroup/cpu.stat"):
            name, _, value = line.partition(" ")
            if name == "usage_usec" and value.isdigit():
                return int(value) / 1e6, time.monotonic() * int(limit[0]) / int(limit[1])
    fields = (lines("/proc/stat") or [""])[0].split()
    if len(fields) < 6 or fields[0] != "cpu":
        return None
    times = [int(value) for value in fields[1:9]]
    idle = times[3] + times[4]
    return float(sum(times) - idle), float(sum(times))


def memory() -> list[int] | None:
    """Bytes used and in total; a container's own if it has a limit."""
    found = {}
    for line in lines("/proc/meminfo"):
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    if "MemTotal" not in found:
        return None
    total = found["MemTotal"]
    used = total - found.get("MemAvailable", found.get("MemFree", 0))
    for limit, usage, stat in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
            "/sys/fs/cgroup/memory/memory.stat",
        ),
    ):
        most, held = (lines(limit) or [""])[0], (lines(usage) or [""])[0]
        if most.isdigit() and held.isdigit() and int(most) < total:
            cache = [line.split()[1] for line in lines(stat) if line.startswith("inactive_file ")]
            return [max(0, int(held) - int(cache[0] if cache else 0)), int(most)]
    return [used, total]


def disk(path: str) -> list[int] | None:
    """Bytes used and in total of the disk that holds `path`."""
    try:
        info = os.statvfs(path)
    except OSError:
        return None
    free, total = info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize
    return [total - free, total]


def traffic() -> tuple[int, int] | None:
    """Bytes received and sent since the host started, without loopback."""
    found = lines("/proc/net/dev")[2:]
    if not found:
        return None
    received = sent = 0
    for line in found:
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name.strip() != "lo" and len(fields) >= 9:
            received += int(fields[0])
            sent += int(fields[8])
    return received, sent

"""Queues of files to transfer over several SFTP channels.

Small files go many at a time on each channel, large ones in segments on all
channels: one channel is capped by the host's window of 2 MiB a round trip.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.sync.sftp.protocol import Fault, Pump, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpunb.progress import Progress
    from gpunb.sync.planning.plan import Item, Plan
    from gpunb.sync.report import SyncReport
    from gpunb.sync.sftp.host_tree import Remote
    from gpunb.sync.throttle import Pace

__all__ = ["CHANGED", "SMALL", "Engine", "Failed", "Large", "TransferJob"]

SMALL = 2**18  # such files are held in memory whole
SEGMENT = 32 * 2**20
_CHANNELS = 4
_LARGE_AT_ONCE = 2  # segments of large files at once on a channel
CHANGED = "it changed while it was read"


@dataclass(frozen=True, slots=True)
class TransferJob:
    """A transfer to carry out: a plan between `host_root` and this machine, with its report and progress."""

    remote: Remote
    host_root: str
    plan: Plan
    report: SyncReport
    progress: Progress
    pace: Pace


class Failed(Exception):
    """One file failed; the others go on."""


class Large:
    """A large file in transfer: the number of segments still to come."""

    def __init__(self, item: Item) -> None:
        self.item, self.handle = item, -1
        self.left = max(1, -(-item.size // SEGMENT))
        self.problem: str | None = None

    def segments(self) -> Iterator[tuple[int, int]]:
        """Yield the start and end of each segment."""
        for start in range(0, self.item.size, SEGMENT):
            yield start, min(self.item.size, start + SEGMENT)


class Engine:
    """The part that both directions share: queues, channels, counting."""

    def __init__(self, errand: TransferJob) -> None:
        self.remote, self.host_root = errand.remote, errand.host_root
        self.plan, self.report = errand.plan, errand.report
        self.smalls: collections.deque[Item] = collections.deque()
        self.segments: collections.deque[tuple[Large, int, int]] = collections.deque()
        self._progress, self._pace = errand.progress, errand.pace
        self.unkept: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        self._done, self._shown = 0, 0.0

    def run(self) -> None:
        """Carry out the plan; a file that fails is recorded in the report."""
        raise NotImplementedError

    def small(self, pump: Pump, item: Item) -> Task:
        """Transfer one small file, whole."""
        raise NotImplementedError

    def segment(self, pump: Pump, large: Large, start: int, end: int) -> Task:
        """Transfer one segment of a large file; the last to end finishes the file."""
        raise NotImplementedError

    def failed(self, item: Item, reason: str) -> None:
        """Record a file that failed."""
        with self._lock:
            self.report.failed.append((item.path, reason))

    def note_unkept(self, why: str) -> None:
        """Count a file that was written without its mode or time, if `why` says so."""
        if why:
            with self._lock:
                self.unkept[why] += 1

    def sent(self, item: Item) -> None:
        """Count a transferred file."""
        with self._lock:
            self.report.sent_files += 1
            self.report.sent_bytes += item.size

    def moved(self, count: int) -> None:
        """Count transferred bytes, and wait as the rate limit requires."""
        self._pace.wait(count, self.remote.stop)
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._shown > 0.1 or self._done == self.plan.total_bytes:
                self._shown = now
                self._progress.advance(self._done, self.plan.total_bytes, "B")

    def settle(self, large: Large) -> bool:
        """Record that a segment has ended; true for the last one."""
        with self._lock:
            large.left -= 1
            return large.left == 0

    def pump_files(self) -> None:
        """Run the queues until they are empty, on one channel or on several if there is enough to do."""
        busy = len(self.smalls) >= 4 * _CHANNELS or bool(self.segments)
        pumps = self.remote.pumps(_CHANNELS if busy else 1)
        problems: list[BaseException] = []

        def work(pump: Pump) -> None:
            try:
                pump.run(self._source(pump))
            except Exception as err:  # noqa: BLE001 - raised again in the caller's thread
                problems.append(err)
                self.remote.stop.set()
                for other in pumps:
                    other.close()

        threads = [threading.Thread(target=work, args=(pump,), daemon=True) for pump in pumps]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            self.remote.stop.set()
            for pump in pumps:
                pump.close()
            for thread in threads:
                thread.join(5.0)
            raise
        if problems:
            # the first is the cause; a stop of the others follows from it
            raise problems[0]

    def _source(self, pump: Pump) -> Callable[[], Task | None]:
        large_now = [0]

        def counted(large: Large, start: int, end: int) -> Task:
            try:
                yield from self._guarded(large.item, self.segment(pump, large, start, end))
            finally:
                large_now[0] -= 1

        def source() -> Task | None:
            with contextlib.suppress(IndexError):
                if large_now[0] < _LARGE_AT_ONCE:
                    next_one = self.segments.popleft()
                    large_now[0] += 1
                    return counted(*next_one)
            with contextlib.suppress(IndexError):
                item = self.smalls.popleft()
                return self._guarded(item, self.small(pump, item))
            return None

        return source

    def _guarded(self, item: Item, task: Task) -> Task:
        try:
            yield from task
        except (Fault, Failed) as err:
            self.failed(item, str(err))
        except OSError as err:
            self.failed(item, err.strerror or str(err))

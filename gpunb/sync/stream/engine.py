"""The stream engine: transfers the files of a plan over one or several channels to the agent.

Small files go in bundles of 1 MiB, large ones in segments of 8 MiB that any
channel may carry. A large file that the target has already, whole or as the
partial file of an earlier try, is compared block by block (256 KiB, at the
same places on both sides), and only the blocks that differ go. That resumes a
transfer that broke off, and it covers what was appended to or changed in
place; bytes that were inserted shift all that follow, which then goes again.

The same workers serve all directions: a reader (local or on a host) passes to a
writer (local or on a host).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from gpunb.agent.shared import file_content
from gpunb.agent.shared import file_frames as wire
from gpunb.errors import HostError
from gpunb.sync.stream.host_files import Newer, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.sync.base_flow import SyncOptions
    from gpunb.sync.local.tree import LocalReader, LocalWriter
    from gpunb.sync.planning.plan import Item, Plan
    from gpunb.sync.report import SyncReport
    from gpunb.sync.stream.host_files import HostReader, HostWriter

    Reader: TypeAlias = HostReader | LocalReader
    Writer: TypeAlias = HostWriter | LocalWriter

__all__ = ["Stream"]

SMALL = wire.SMALL
BUNDLE = 2**20
BUNDLE_FILES = 256
SEGMENT = 8 * 2**20
DELTA = 2 * SMALL  # minimum size of an existing file that is compared by blocks
AHEAD = 2  # tasks requested ahead from a remote reader


class _Bundle:
    """A task: several small files in one bundle."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items

    def ask(self, reader: Reader) -> None:
        reader.ask_small(self.items)

    def carry(self, reader: Reader, writer: Writer, stream: Stream) -> None:
        contents = reader.small(self.items)
        items: list[Item] = []
        good: list[Any] = []
        for item, content in zip(self.items, contents, strict=True):
            if isinstance(content, Refused):
                stream.failed(item, str(content))
                continue
            now = item
            if isinstance(content, Newer):  # written anew since it was listed
                seconds, nanos = divmod(content.mtime_ns, wire.NS)
                content = content.data  # noqa: PLW2901 - the same content, opened
                now = replace(item, size=len(content), mtime=seconds, nanos=nanos)
            items.append(now)
            good.append(content)
        size = sum(item.size for item in items)
        stream.pace.wait(size, stream.over)
        writer.small(items, good, lambda failed: stream.bundled(items, failed))
        stream.moved(sum(item.size for item in self.items))


class _Whole:
    """A task: a file of one segment."""

    def __init__(self, item: Item) -> None:
        self.item = item

    def ask(self, reader: Reader) -> None:
        reader.ask_range(self.item, 0, self.item.size)

    def carry(self, reader: Reader, writer: Writer, stream: Stream) -> None:
        large = _Large(self.item)
        large.left = 1
        writer.begin(self.item, large.note)
        _carry_range(large, (0, self.item.size), reader, writer, stream)


class _Large:
    """A task: the start of a file of several segments, which finds out what has to be sent."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.left = 0
        self.problem = ""

    def note(self, why: str) -> None:
        """Keep the first error."""
        self.problem = self.problem or why

    @property
    def _compares(self) -> bool:
        return self.item.part or self.item.base >= max(DELTA, self.item.size // 2)

    def ask(self, reader: Reader) -> None:
        reader.ask_base(self.item, digests=self._compares)

    def carry(self, reader: Reader, writer: Writer, stream: Stream) -> None:
        try:
            ranges = self._differing(reader, writer) if self._compares else self._fresh(reader, writer)
        except Refused as err:
            stream.failed(self.item, str(err))
            ranges = None
        if ranges is not None:
            todo = [
                _Segment(self, at, min(end, at + SEGMENT))
                for start, end in ranges
                for at in range(start, end, SEGMENT)
            ]
            stream.skipped(self.item.size - sum(segment.end - segment.start for segment in todo))
            self.left = len(todo) or 1
            if todo:
                stream.tasks.put(todo)
            else:
                stream.settle(self, writer)
        stream.tasks.prepared()

    def _fresh(self, reader: Reader, writer: Writer) -> list[tuple[int, int]]:
        writer.begin(self.item, self.note)
        found = reader.extents(self.item)
        writer.settle()  # other channels write into it next
        return [] if self.problem else found

    def _differing(self, reader: Reader, writer: Writer) -> list[tuple[int, int]]:
        writer.ask_base(self.item)
        theirs: list[bytes] = []
        mine: list[bytes] = []
        gone: Refused | None = None
        for side in sorted((0, 1), key=lambda side: not (reader, writer)[side].local):  # the local side first
            if side == 0:
                mine = reader.digests(self.item)
            else:
                try:
                    theirs = writer.base(self.item)
                except Refused as err:
                    gone = err
        if gone is not None:  # the old file is gone: start from the beginning
            writer.begin(self.item, self.note)
            writer.settle()
        result: list[tuple[int, int]] = []
        for number, start in enumerate(range(0, self.item.size, wire.BLOCK)):
            end = min(start + wire.BLOCK, self.item.size)
            if number < len(mine):  # beyond the old file's end the partial file holds zeros
                there = theirs[number] if number < len(theirs) else file_content.zeros(end - start)
                if mine[number] == there:
                    continue
            if result and result[-1][1] == start:
                result[-1] = (result[-1][0], end)
            else:
                result.append((start, end))
        return result


class _Segment:
    """A task: a range of a large file."""

    def __init__(self, large: _Large, start: int, end: int) -> None:
        self.large, self.start, self.end = large, start, end

    def ask(self, reader: Reader) -> None:
        reader.ask_range(self.large.item, self.start, self.end)

    def carry(self, reader: Reader, writer: Writer, stream: Stream) -> None:
        _carry_range(self.large, (self.start, self.end), reader, writer, stream)


def _carry_range(
    large: _Large, span: tuple[int, int], reader: Reader, writer: Writer, stream: Stream
) -> None:
    try:
        for at, data in reader.pieces(large.item, *span):
            stream.pace.wait(len(data), stream.over)
            if not large.problem:
                writer.piece(large.item, at, data, large.note)
            stream.moved(len(data))
            writer.poll()
    except Refused as err:
        large.note(str(err))
    writer.confirm(lambda: stream.settle(large, writer))


Task: TypeAlias = _Bundle | _Whole | _Large | _Segment


class _Tasks:
    """The task queue of all workers; filled from the plan as needed."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._feed = self._make(items)
        self._ready: deque[Task] = deque()
        self._preparing = 0
        self._over = False
        self._turn = threading.Condition()

    def _make(self, items: Iterator[Item]) -> Iterator[Task]:
        bundle: list[Item] = []
        size = 0
        for item in items:
            if item.kind != "file":
                continue
            if item.size > SEGMENT or (item.size > SMALL and (item.part or item.base >= item.size // 2)):
                yield _Large(item)
            elif item.size > SMALL:
                yield _Whole(item)
            else:
                bundle.append(item)
                size += item.size
                if size >= BUNDLE or len(bundle) >= BUNDLE_FILES:
                    yield _Bundle(bundle)
                    bundle, size = [], 0
        if bundle:
            yield _Bundle(bundle)

    def get(self, *, wait: bool) -> Task | None:
        """Return the next task; None if there is none now, or with `wait` if there will be none."""
        with self._turn:
            while True:
                if self._over:
                    return None
                if self._ready:
                    return self._ready.popleft()
                task = next(self._feed, None)
                if task is not None:
                    self._preparing += isinstance(task, _Large)
                    return task
                if not self._preparing or not wait:
                    return None
                self._turn.wait()

    def put(self, tasks: Sequence[Task]) -> None:
        """Add segments to the queue."""
        with self._turn:
            self._ready.extend(tasks)
            self._turn.notify_all()

    def prepared(self) -> None:
        """Record that all segments of a large file are known."""
        with self._turn:
            self._preparing -= 1
            self._turn.notify_all()

    def stop(self) -> None:
        """Stop handing out tasks."""
        with self._turn:
            self._over = True
            self._turn.notify_all()


class Stream:
    """Transfers the files of one plan.

    Parameters
    ----------
    open_pair
        Returns the reader, the writer and a closing function of worker `number`; the
        first must be ready at once, others may fail with `HostError` (the
        host limits its sessions).
    abort
        Aborts channels that `open_pair` did not open itself.
    """

    def __init__(
        self,
        plan: Plan,
        report: SyncReport,
        open_pair: Callable[[int], tuple[Reader, Writer, Callable[[], None]]],
        wish: SyncOptions,
        abort: Callable[[], None],
    ) -> None:
        self.plan, self.report, self.pace = plan, report, wish.pace
        self.tasks = _Tasks(iter(plan.items))
        self._open_pair, self._progress, self._abort = open_pair, wish.progress, abort
        self._lock = threading.Lock()
        self._done, self._shown = 0, 0.0
        self._closers: list[Callable[[], None]] = []
        self._problems: list[BaseException] = []
        self.over = threading.Event()
        self.unkept: Counter[str] = Counter()

    def run(self, lines: int) -> None:
        """Send all files over `lines` channels; raises the error that stopped them."""
        threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(lines)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(1.0)
        except BaseException:
            self._stop()
            for thread in threads:
                thread.join(5.0)
            raise
        finally:
            with self._lock:
                closers, self._closers = self._closers, []
            for close in closers:
                close()
        if self._problems:
            raise self._problems[0]  # the first is the cause, the others follow from it
        self._show(last=True)

    def _work(self, number: int) -> None:
        try:
            try:
                reader, writer, close = self._open_pair(number)
            except HostError:
                if number == 0:
                    raise
                return  # fewer channels will do; if the connection broke, the others report it
            with self._lock:
                self._closers.append(close)
                late = self.over.is_set()
            if late:  # not closed elsewhere
                close()
                return
            self._serve(reader, writer)
        except Exception as err:  # noqa: BLE001 - raised again in the caller's thread
            with self._lock:
                self._problems.append(err)
            self._stop()

    def _serve(self, reader: Reader, writer: Writer) -> None:
        ahead: deque[Task] = deque()
        depth = 0 if reader.local else AHEAD
        while True:
            while len(ahead) <= depth:
                task = self.tasks.get(wait=not ahead)
                if task is None:
                    break
                task.ask(reader)
                ahead.append(task)
            if not ahead:
                break
            ahead.popleft().carry(reader, writer, self)
            writer.poll()
        writer.settle()
        with self._lock:
            self.unkept.update(writer.unkept)

    def _stop(self) -> None:
        self.tasks.stop()
        with self._lock:
            self.over.set()
            closers = [*self._closers, self._abort]
        for close in closers:
            with contextlib.suppress(OSError):
                close()

    # -- what the tasks report

    def failed(self, item: Item, why: str) -> None:
        """Record a file that failed."""
        with self._lock:
            self.report.failed.append((item.path, why))

    def bundled(self, items: list[Item], failed: list[tuple[int, str]]) -> None:
        """Count a bundle's files, except those that failed."""
        bad = set()
        for index, why in failed:
            if 0 <= index < len(items):
                bad.add(index)
                self.failed(items[index], why)
        with self._lock:
            self.report.sent_files += len(items) - len(bad)
            self.report.sent_bytes += sum(i.size for n, i in enumerate(items) if n not in bad)

    def settle(self, large: _Large, writer: Writer) -> None:
        """Record that a segment was written; the last one finishes the file."""
        with self._lock:
            large.left -= 1
            if large.left > 0:
                return
        if large.problem:
            self.failed(large.item, large.problem)
            writer.drop(large.item)
            return

        def finished(why: str) -> None:
            if why:
                self.failed(large.item, why)
                return
            with self._lock:
                self.report.sent_files += 1
                self.report.sent_bytes += large.item.size

        writer.finish(large.item, finished)

    def skipped(self, size: int) -> None:
        """Count bytes of a large file that the target has already."""
        with self._lock:
            self.report.matched_bytes += size
        self.moved(size, sent=False)

    def moved(self, size: int, *, sent: bool = True) -> None:
        """Count transferred bytes and show the progress."""
        with self._lock:
            self._done += size
            if sent:
                self.report.moved_bytes += size
        self._show()

    def _show(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self._shown > 0.1:
            self._shown = now
            total = self.plan.total_bytes
            self._progress.advance(min(self._done, total), total, "B")

"""A run in the agent: its journal, its state, and its followers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from ..shared import clock, folders, frames
from ..shared.journal import MAX_RECORD, MIN_GAP, READ_LIMIT, Journal, Reader, joined

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .spares import Spares

PATIENCE = 0.02  # seconds that a record may wait for more records


class Run:
    """One execution, a cell or a job.

    A cell's records are appended here; a job's are written by its keeper and
    only read here (`refresh`).
    """

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about
        self.id = about["id"]
        self.kind = about["kind"]
        self.folder = os.path.join(folders.runs(), self.id)
        self.path = os.path.join(self.folder, "journal")
        self.journal: Journal | None = None
        self.state = "queued"
        self.started: float | None = None
        self.ended: float | None = None
        self.exit: int | None = None
        self.why = ""
        self.last = 0
        self.size = 0
        self.grown = asyncio.Event()
        self.spoke = asyncio.Event()  # more than the start record is written
        self.heard: list[int] = []  # position in the IOPub log up to which this run has all messages
        self._segments: list[tuple[str, bytes]] = []
        self._inode = 0
        self._segments_at: list[int] = []
        self._pending = 0
        self._flushed = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._lost = 0
        self.waiting: str | None = None  # the prompt of an unanswered question
        self._marks: dict[str, float] = {}  # when it was created, started, ended, by `clock`
        if about.get("created") is not None:
            self._mark("created", about["created"])

    @classmethod
    def create(cls, about: dict[str, Any], make_journal: bool = True, spares: Spares | None = None) -> Run:
        """Create a run: its folder and description are on disk when this returns."""
        run = cls(about)
        path = os.path.join(run.folder, "about.json")
        if spares is not None and spares.take(run.folder):
            with open(path, "w") as file:  # a partial file is harmless: no client knows the run yet
                file.write(json.dumps(about))
        else:
            os.mkdir(run.folder, 0o700)
            folders.write_json(path, about)
        if make_journal:
            run.journal = Journal(run.path, run.id)
            run.append({"k": "start", "kind": run.kind, "name": about.get("name", "")})
        return run

    @classmethod
    def load(cls, run_id: str, writing: bool) -> Run | None:
        """Load a run from disk, or None; `writing` if it is a cell that may still go on."""
        about = folders.read_json(os.path.join(folders.runs(), run_id, "about.json"))
        if not isinstance(about, dict) or about.get("id") != run_id:
            return None
        run = cls(about)
        if run.kind == "cell" and writing:
            run.journal = Journal(run.path, run.id)
        run.refresh()
        return run

    @property
    def over(self) -> bool:
        """Whether the end record is written."""
        return self.state in frames.END_STATES

    def hear(self, position: list[int]) -> bool:
        """Whether the message at `position` is new to this run; marks it as journaled."""
        if position <= self.heard:
            return False
        self.heard = position
        return True

    def refresh(self) -> None:
        """Read the journal's new records and wake the followers."""
        try:
            info = os.stat(self.path)
        except OSError:
            return
        if info.st_ino != self._inode:  # new, or trimmed by its writer
            self._inode, self.size = info.st_ino, 0
        if info.st_size == self.size:
            return
        reader = Reader(self.path)
        try:
            for number, head, _, end in reader.frames(self.size):
                self._note(number, head, end)
        finally:
            reader.close()
        self._wake()

    def _note(self, number: int, head: dict[str, Any], size: int) -> None:
        self.last, self.size = number, size
        kind = head.get("k")
        if kind not in ("start", "begin"):
            self.spoke.set()
        self.heard = max(self.heard, head.get("at", []))
        if kind == "begin" or (kind == "start" and self.kind == "job"):
            self.started, self.state = head["ts"], "running"
            self._mark("started", head["ts"])
        elif kind == "input":
            self.waiting = str(head.get("prompt", ""))
            self._mark("waiting", head["ts"])
        elif kind == "answered":
            self.waiting = None
        elif kind == "end":
            self.waiting = None
            self.state = head.get("state", "died")
            self.exit, self.why, self.ended = head.get("exit"), head.get("why", ""), head["ts"]
            self._mark("ended", head["ts"])

    def _mark(self, what: str, at: float) -> None:
        # a record is read as it is written, or was written before this process started
        self._marks[what] = clock.now() - max(time.time() - at, 0.0)

    def age(self, what: str) -> float | None:
        """Seconds since the run was "created", "started", "ended" or began "waiting", or None.

        Changes of the wall clock have no effect.
        """
        is_so = self.about.get(what) if what == "created" else getattr(self, what)
        if is_so is None or what not in self._marks:
            return None
        return max(clock.now() - self._marks[what], 0.0)

    @property
    def active(self) -> bool:
        """Whether the run executes or is queued: a run that waits for an answer is not active."""
        return not self.over and self.waiting is None

    def _wake(self) -> None:
        self.grown.set()
        self.grown = asyncio.Event()

    def append(self, head: dict[str, Any], parts: Sequence[Any] = ()) -> None:
        """Write a record, after buffered text; what can't be stored is counted and reported later."""
        self.flush()
        self._write(head, parts)
        self._wake()

    def _write(self, head: dict[str, Any], parts: Sequence[Any] = ()) -> None:
        try:
            if self._lost and head["k"] != "lost":
                lost, self._lost = self._lost, 0
                try:
                    self._write_one({"k": "lost", "bytes": lost, "why": "the host's disk was full"}, ())
                except OSError:
                    self._lost = lost
                    raise
            self._write_one(head, parts)
        except (OSError, frames.FrameError):
            self._lost += sum(len(part) for part in parts)
            if head["k"] in ("begin", "end"):  # true even if the disk is full
                self._note(self.last, dict(head, ts=time.time()), self.size)

    def _write_one(self, head: dict[str, Any], parts: Sequence[Any]) -> None:
        journal = self.journal
        if journal is None:  # its writer is its keeper
            return
        number = journal.append(dict(head, at=head.get("at", self.heard)), parts)
        self._note(number, journal.last_head, journal.size)

    def stream(self, name: str, text: str) -> None:
        """Buffer printed text, so that at most 20 records a second are written."""
        data = text.encode("utf-8", "surrogateescape")
        while len(data) > MAX_RECORD:
            self._segments.append((name, data[:MAX_RECORD]))
            data = data[MAX_RECORD:]
            self.flush()
        self._segments.append((name, data))
        self._segments_at = self.heard
        self._pending += len(data)
        wait = self._flushed + MIN_GAP - time.monotonic()
        if wait <= 0 or self._pending >= MAX_RECORD:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self.flush)

    def flush(self) -> None:
        """Write the buffered text."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._segments:
            return
        segments, self._segments, self._pending = self._segments, [], 0
        self._flushed = time.monotonic()
        head, parts = joined(segments)
        self._write(dict(head, at=self._segments_at), parts)
        self._wake()

    def begin(self) -> None:
        """Record that the cell starts, before it is sent to the kernel."""
        self.append({"k": "begin"})

    def end(self, state: str, exit_code: int | None = None, why: str = "", **more: Any) -> None:
        """Write the end record, once."""
        if not self.over:
            head = dict(more, k="end", state=state, exit=exit_code, why=why)
            self.append(head)
            if self.kind == "job":
                self.shut()

    def reopen(self) -> None:
        """Open an ended cell's journal again, for output of a thread that it left."""
        if self.journal is None:
            self.journal = Journal(self.path, self.id, self.last, self.size)

    def shut(self) -> None:
        """Close the journal's file; `reopen` opens it again."""
        self.flush()
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    def cut(self, why: str) -> None:
        """Trim an ended run's journal to its beginning and end."""
        self.shut()
        journal = Journal(self.path, self.id)
        try:
            journal.trim(4096, why)
        except OSError:
            return  # no room for the copy; the next sweep tries again
        finally:
            journal.close()
        self.refresh()

    def info(self) -> dict[str, Any]:
        """Return a summary of the run, JSON-able."""
        return {
            "run": self.id,
            "kind": self.kind,
            "name": self.about.get("name", ""),
            "state": self.state,
            "created": self.about.get("created"),
            "started": self.started,
            "ended": self.ended,
            "ages": {what: self.age(what) for what in ("created", "started", "ended", "waiting")},
            "waiting": self.waiting,
            "exit": self.exit,
            "why": self.why,
            "last": self.last,
            "size": self.size,
        }


class Follower:
    """Sends a run's records to one client, at the client's pace.

    At most `window` bytes are sent unacknowledged, so neither end holds more than
    that of a flood in memory. With `late` it continues after the end, with the output
    of threads.
    """

    def __init__(
        self,
        run: Run,
        after: int,
        window: int,
        send: Callable[[bytes], Awaitable[None]],
        late: bool = False,
    ) -> None:
        self.run = run
        self.late = late
        self.after = after
        self.window = window
        self.send = send
        self.acked = after
        self.task: asyncio.Future[Any] | None = None
        self._moved = asyncio.Event()

    def ack(self, number: int) -> None:
        """Acknowledge records up to `number`."""
        if number > self.acked:
            self.acked = number
            self._moved.set()

    async def follow(self) -> None:
        """Send all records after `after`, then each new one, until the end record is sent (or on)."""
        while not os.path.exists(self.run.path):  # a job's keeper is just starting
            await asyncio.sleep(0.02)
        if self.run.last <= 2 and not self.run.over:
            # a cell that ends at once is reported in one piece, and not disturbed while it runs
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.run.spoke.wait(), PATIENCE)
        reader = Reader(self.run.path)
        try:
            offset = reader.after(self.after)
            sent = []  # (last number of a chunk, its size) not acknowledged yet
            last = self.after
            while True:
                grown = self.run.grown
                if reader.moved():
                    reader.close()
                    reader = Reader(self.run.path)
                    offset = reader.after(last)
                # no more than `refresh` has read: with the end record sent, the run must not count as running
                known = min(READ_LIMIT, self.run.size - offset)
                data = reader.read(offset, known) if known > 0 else b""
                if not data:
                    if self.run.over and not self.late:
                        return
                    await grown.wait()
                    continue
                last = _last_number(data)
                await self.send(data)
                offset += len(data)
                sent.append((last, len(data)))
                while True:
                    self._moved.clear()
                    sent = [one for one in sent if one[0] > self.acked]
                    if sum(size for _, size in sent) <= self.window:
                        break
                    await self._moved.wait()
        finally:
            reader.close()


def _last_number(data: bytes) -> int:
    at = number = 0
    while at < len(data):
        size, _, number = frames.HEADER.unpack_from(data, at)
        at += frames.HEADER.size + size
    return number


def describe_code(code: str) -> str:
    """Name a cell in lists: its first line that is no comment."""
    for line in code.splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            return text[:80]
    return code.strip()[:80]

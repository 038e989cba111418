"""A run as the agent sees it: its journal, its state, and who follows it."""

import asyncio
import json
import os
import time

from . import places, protocol
from .journal import MAX_RECORD, MIN_GAP, Journal, Reader, joined


class Run:
    """One execution, a cell or a job.

    A cell's records are appended here; a job's are written by its keeper and
    only noticed here (`refresh`).
    """

    def __init__(self, about):
        self.about = about
        self.id = about["id"]
        self.kind = about["kind"]
        self.folder = os.path.join(places.runs(), self.id)
        self.path = os.path.join(self.folder, "journal")
        self.journal = None
        self.state = "queued"
        self.started = None
        self.ended = None
        self.exit = None
        self.why = ""
        self.last = 0
        self.size = 0
        self.grown = asyncio.Event()
        self._segments = []
        self._pending = 0
        self._flushed = 0.0
        self._timer = None
        self._lost = 0

    @classmethod
    def create(cls, about, make_journal=True):
        """A new run: its folder and description are on disk when this returns."""
        run = cls(about)
        os.makedirs(run.folder, mode=0o700)
        places.write_json(os.path.join(run.folder, "about.json"), about)
        if make_journal:
            run.journal = Journal(run.path, run.id)
            run.append({"k": "start", "kind": run.kind, "name": about.get("name", "")})
        return run

    @classmethod
    def load(cls, run_id, writing):
        """A run found on disk, or None; `writing` if it is a cell that may still go on."""
        about = places.read_json(os.path.join(places.runs(), run_id, "about.json"))
        if not isinstance(about, dict) or about.get("id") != run_id:
            return None
        run = cls(about)
        if run.kind == "cell" and writing:
            run.journal = Journal(run.path, run.id)
        run.refresh()
        return run

    @property
    def over(self):
        """Whether the end record is written."""
        return self.state in protocol.END_STATES

    def refresh(self):
        """Notice what stands in the journal now; wakes those who follow."""
        try:
            size = os.stat(self.path).st_size
        except OSError:
            return
        if size == self.size:
            return
        reader = Reader(self.path)
        try:
            for number, head, _, end in reader.frames(self.size):
                self._note(number, head, end)
        finally:
            reader.close()
        self._wake()

    def _note(self, number, head, size):
        self.last, self.size = number, size
        kind = head.get("k")
        if kind == "start":
            self.started = head["ts"]
            if self.state == "queued" and self.kind == "job":
                self.state = "running"
        elif kind == "end":
            self.state = head.get("state", "died")
            self.exit, self.why, self.ended = head.get("exit"), head.get("why", ""), head["ts"]

    def _wake(self):
        self.grown.set()
        self.grown = asyncio.Event()

    def append(self, head, parts=()):
        """Write a record, after what is still buffered; what can't be stored is counted and named later."""
        self.flush()
        self._write(head, parts)
        self._wake()

    def _write(self, head, parts=()):
        try:
            if self._lost and head["k"] != "lost":
                lost, self._lost = self._lost, 0
                try:
                    self._write_one({"k": "lost", "bytes": lost, "why": "the host's disk was full"}, ())
                except OSError:
                    self._lost = lost
                    raise
            self._write_one(head, parts)
        except OSError:
            self._lost += sum(len(part) for part in parts)
            if head["k"] == "end":  # the run is over whatever the disk says
                self._note(self.last, dict(head, ts=time.time()), self.size)

    def _write_one(self, head, parts):
        number = self.journal.append(head, parts)
        self._note(number, self.journal.last_head, self.journal.size)

    def stream(self, name, text):
        """Printed text; joined so that at most 20 records a second are written."""
        data = text.encode("utf-8", "surrogateescape")
        self._segments.append((name, data))
        self._pending += len(data)
        wait = self._flushed + MIN_GAP - time.monotonic()
        if wait <= 0 or self._pending >= MAX_RECORD:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self.flush)

    def flush(self):
        """Write the text that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._segments:
            return
        segments, self._segments, self._pending = self._segments, [], 0
        self._flushed = time.monotonic()
        head, parts = joined(segments)
        self._write(head, parts)
        self._wake()

    def begin(self):
        """The kernel took the cell up."""
        if self.state == "queued":
            self.state = "running"
            self.started = time.time()

    def end(self, state, exit_code=None, why="", **more):
        """Write the end record, once."""
        if not self.over:
            head = dict(more, k="end", state=state, exit=exit_code, why=why)
            self.append(head)
            if self.journal is not None and self.kind == "job":
                self.journal.close()
                self.journal = None

    def info(self):
        """The run in a few words, JSON-able."""
        return {
            "run": self.id,
            "kind": self.kind,
            "name": self.about.get("name", ""),
            "state": self.state,
            "created": self.about.get("created"),
            "started": self.started,
            "ended": self.ended,
            "exit": self.exit,
            "why": self.why,
            "last": self.last,
            "size": self.size,
        }


class Follower:
    """Sends a run's records to one client, at the client's pace.

    At most `window` bytes are on their way unacknowledged, so neither end
    holds more than that of a flood in memory.
    """

    def __init__(self, run, after, window, send):
        self.run = run
        self.after = after
        self.window = window
        self.send = send
        self.acked = after
        self._moved = asyncio.Event()

    def ack(self, number):
        """The client has taken records up to `number`."""
        if number > self.acked:
            self.acked = number
            self._moved.set()

    async def follow(self):
        """Send all records after `after`, then each new one, until the end record is sent."""
        while not os.path.exists(self.run.path):
            await asyncio.wait_for(self.run.grown.wait(), 30)
        reader = Reader(self.run.path)
        try:
            offset = reader.after(self.after)
            sent = []  # (last number of a chunk, its size) not acknowledged yet
            while True:
                grown = self.run.grown
                data = reader.read(offset) if offset < self.run.size else b""
                if not data:
                    if self.run.over:
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


def _last_number(data):
    at = number = 0
    while at < len(data):
        size, _, number = protocol.HEADER.unpack_from(data, at)
        at += protocol.HEADER.size + size
    return number


def describe_code(code):
    """A cell's name in lists: its first line that says something."""
    for line in code.splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            return text[:80]
    return code.strip()[:80]


def parse_error(content):
    """Exception name and text of a reply's content (bytes or mapping)."""
    if isinstance(content, (bytes, bytearray)):
        content = json.loads(content.decode("utf-8", "replace"))
    return content.get("ename", ""), content.get("evalue", "")

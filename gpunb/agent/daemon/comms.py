"""The comm messages of one kernel, as a numbered stream that any frontend may follow.

The stream is a sequence of parts, each a journal like a run's. A part begins
with a ``comm_open`` for each open comm in its current state (``snap``), so that
a late follower needs the newest part only. When a part has grown, the next one
begins, and the old one's ``end`` record names it (``next``); without that, the
end is the kernel's.

A run's journal has, in the place of a comm message of its own, a ``comm``
record that names the part and the number: a frontend goes on with the run when
it has read the stream that far. So widgets and printed output stay in order,
and each message is sent once.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from ..shared.comm_state import TYPES, Models, message_name, parse
from ..shared.frames import parts_of
from ..shared.journal import Journal, Reader
from .runs import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .kernel_client import Kernel

ROLL = int(os.environ.get("GPUNB_COMMS_PART", "8388608"))  # bytes after which a new part is begun
KEEP = 8  # parts on disk
IDLE_WAIT = 600.0  # seconds to wait for the kernel to handle a message


class Part(Run):
    """One part of the stream; followed like a run, but not listed."""

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__(about)
        self.folder = os.path.join(about["folder"], self.id)
        self.path = os.path.join(self.folder, "journal")


class Comms:
    """The comm stream of one kernel name, across the lives of its kernels.

    Parameters
    ----------
    folder
        The folder of the parts.
    prefix
        The start of their ids; unique among the host's kernels.
    """

    def __init__(self, folder: str, prefix: str = "comms") -> None:
        self.folder = folder
        self.prefix = prefix
        self.models = Models()
        self.sent: dict[str, int] = {}  # frontend -> number of its last message
        self.part: Part | None = None
        self.parts: dict[str, Part] = {}
        self._floor = 0  # bytes of the snapshot that the part begins with
        self._idle: dict[str, asyncio.Future[None]] = {}
        self._restore()

    def find(self, part_id: str) -> Part | None:
        """Return the part of that id, if it is still kept."""
        return self.parts.get(part_id)

    def begin(self, why: str) -> None:
        """Start the stream of a new kernel: the comms of the one before are closed."""
        self.end(why)
        self.models, self.sent = Models(), {}

    def end(self, why: str) -> None:
        """End the stream, as the kernel is gone."""
        part, self.part = self.part, None
        if part is not None:
            part.end("died", None, why)
        for waiting in self._idle.values():
            if not waiting.done():
                waiting.set_result(None)
        self._idle = {}

    def hear(self, kind: str, parts: Sequence[Any], position: list[int]) -> tuple[str, int]:
        """Store one message of the kernel; return its part and number."""
        part = self._current()
        if part.hear(position):
            part.append({"k": "msg", "type": kind}, parts)
            self._fold(kind, parts)
            self._roll()
        part = self._current()
        return part.id, part.last

    def hear_answer(self, kind: str, message_id: str, parts: Sequence[Any], position: list[int]) -> None:
        """Store an effect of a frontend's message: its output, or its end."""
        if kind == "status":
            if json.loads(bytes(parts[0]).decode())["execution_state"] == "idle":
                waiting = self._idle.pop(message_id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
            return
        part = self._current()
        if part.hear(position):
            part.append({"k": "msg", "type": kind, "of": message_id}, parts)
            self._roll()

    async def send(self, kernel: Kernel, head: dict[str, Any], parts: Sequence[Any], busy: bool) -> bool:
        """Send a frontend's message to the kernel, once, and wait until it is handled.

        With `busy` the kernel runs a cell, and is not waited for.
        """
        front, number = head["from"], head["seq"]
        message_id = message_name(front, number)
        if number > self.sent.get(front, 0):
            content, metadata, buffers = parse(parts)
            self.sent[front] = number
            self._current().append({"k": "sent", "from": front, "seq": number})
            self._fold(head["type"], parts)
            self._idle[message_id] = asyncio.get_running_loop().create_future()
            kernel.post(head["type"], content, metadata, buffers, message_id)
        waiting = self._idle.get(message_id)
        if waiting is not None and not busy:
            await asyncio.wait([waiting], timeout=IDLE_WAIT)
        return waiting is None or waiting.done()

    def _fold(self, kind: str, parts: Sequence[Any]) -> None:
        try:
            self.models.take(kind, *parse(parts))
        except ValueError:
            return  # not JSON: sent unchanged, not folded

    def _current(self) -> Part:
        if self.part is None:
            number = max((int(name[-8:]) for name in self.parts), default=0) + 1
            about = {"id": "%s%08d" % (self.prefix, number), "kind": "comms", "folder": self.folder}
            part = self.part = Part(about)
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            os.mkdir(part.folder, 0o700)
            part.journal = Journal(part.path, part.id)
            part.append({"k": "start", "kind": "comms", "name": ""})
            self.parts[part.id] = part
            self._forget()
            self._floor = part.size
        return self.part

    def _roll(self) -> None:
        """Start the next part when this one has grown."""
        old = self.part
        if old is None or old.size - self._floor < max(ROLL, 4 * self._floor):
            return
        self.part = None
        part = self._current()
        part.heard = old.heard
        part.append({"k": "fronts", "sent": self.sent})
        for content, metadata, buffers in self.models.openings():
            texts = [json.dumps(one).encode("utf-8") for one in (content, metadata)]
            part.append({"k": "msg", "type": "comm_open", "snap": True}, [*texts, *buffers])
        self._floor = part.size
        old.end("ok", 0, "", next=part.id)
        if old.journal is not None:
            old.journal.close()
            old.journal = None

    def _forget(self) -> None:
        for name in sorted(self.parts)[:-KEEP]:
            shutil.rmtree(self.parts.pop(name).folder, ignore_errors=True)

    def _restore(self) -> None:
        """Restore the parts that an earlier agent process wrote."""
        names = sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []
        for name in names:
            if name[:-8] == self.prefix and name[-8:].isdigit():
                part = Part({"id": name, "kind": "comms", "folder": self.folder})
                part.refresh()
                self.parts[name] = part
        if self.parts:
            newest = self.parts[max(self.parts)]
            for part in self.parts.values():
                if not part.over and part is not newest:  # ended between two writes
                    part.journal = Journal(part.path, part.id)
                    part.end("ok", 0, "", next=newest.id)
            if not newest.over:
                newest.journal = Journal(newest.path, newest.id)
                self.part = newest
                self._reread(newest)

    def _reread(self, part: Part) -> None:
        reader = Reader(part.path)
        try:
            for _, head, payload, end in reader.frames():
                if head["k"] == "fronts":
                    self.sent.update(head["sent"])
                elif head["k"] == "sent":
                    self.sent[head["from"]] = head["seq"]
                elif head["k"] == "msg" and head["type"] in TYPES:
                    self._fold(head["type"], parts_of(head, payload))
                    if head.get("snap"):
                        self._floor = end
        finally:
            reader.close()

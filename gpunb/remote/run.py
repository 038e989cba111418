"""A run that this process follows."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError, ProtocolError, RunError
from gpunb.remote.line import safely

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpunb.remote.client import AgentClient
    from gpunb.remote.records import Record, RunInfo

__all__ = ["Followers", "RunHandle"]

WINDOW = 8 << 20  # unacknowledged bytes in transit
ACK_EVERY = 1 << 20
RECORD = 640  # minimum bytes of memory for a record, besides its parts
MOST_AHEAD = 40 << 20  # bytes beyond the window from which a host counts as flooding


class RunHandle:
    """A run and its records as they are received.

    Attributes
    ----------
    id
        The run's id, chosen by the client, so that a repeated request starts nothing twice.
    history
        Records up to this number existed on attaching.
    """

    def __init__(self, client: AgentClient, run_id: str, after: int = 0) -> None:
        self.id = run_id
        self.client = client
        self.window = WINDOW
        self.history = after
        self.seen = after
        self.over = False
        self.refused = False  # the host refused the run, so it does not exist
        self.stays = False  # follows after the end, for the output of threads
        self.hide: list[str] = []  # secrets that were given to the run
        self.wake: Callable[[], None] | None = None
        self._queue: queue.SimpleQueue[Record | GpunbError] = queue.SimpleQueue()
        self._taken = after
        self._unacked = 0
        self._unread = 0
        self._count = threading.Lock()

    def __repr__(self) -> str:
        return f"RunHandle({self.id!r})"

    @property
    def empty(self) -> bool:
        """Whether all received records have been read."""
        return self._queue.empty()

    @property
    def taken(self) -> int:
        """The number of the last record that was read."""
        return self._taken

    def take(self, record: Record) -> None:
        """Add a record (called by the client's reader)."""
        ended = self.over and not self.stays
        if record.number <= self.seen or (ended and record.number > self.history):
            return  # repeated after a reconnect, or printed by a thread after the end
        begins = record.head.get("from", 0)
        gap_is_named = record.kind == "trimmed" and type(begins) is int and begins <= self.seen + 1
        if record.number != self.seen + 1 and not gap_is_named:
            msg = f"run {self.id}: record {record.number} came after {self.seen}"
            self.fail(ProtocolError(msg))
            return
        if self._unread > self.window + MOST_AHEAD:
            self.over, self.stays, self.history = True, False, 0
            msg = f"run {self.id}: the host sends more than {MOST_AHEAD >> 20} MB that it was not asked for"
            self.fail(ProtocolError(msg))
            return
        with self._count:
            self._unread += record.size + RECORD
        self.seen = record.number
        if record.kind == "end":
            self.over = True
        self._put(record)

    def fail(self, error: GpunbError) -> None:
        """End the records with an error (called by the client)."""
        self.refused = self.refused or (not self.seen and isinstance(error, RunError))
        self._put(error)

    def _put(self, found: Record | GpunbError) -> None:
        self._queue.put(found)
        if self.wake is not None:
            safely(self.wake)

    @property
    def ready(self) -> bool:
        """Whether `next` would return or raise at once."""
        return not self._queue.empty()

    def next(self, timeout: float | None = None) -> Record | None:
        """Return the next record; None if there is none within `timeout` seconds.

        Raises
        ------
        GpunbError
            The agent refused the run, or the connection is closed for good.
        """
        try:
            result = self._queue.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(result, GpunbError):
            raise result
        with self._count:
            self._unread -= result.size + RECORD
        self._taken = result.number
        self._unacked += result.size + 64
        if self._unacked >= ACK_EVERY and result.kind != "end":
            self._unacked = 0
            self.client.ack(self.id, self._taken)
        return result

    def records(self, timeout: float | None = None, until: int = 0) -> Iterator[Record]:
        """Yield all records up to the end record; at most `timeout` seconds between two.

        With `until`, the number of a record that existed on attaching, also those up to that one:
        the output of threads after the cell's end.
        """
        ended = False
        while True:
            wait_until = None if timeout is None else time.monotonic() + timeout
            record = self.next(1.0 if timeout is None else timeout)
            if record is None:
                if wait_until is not None and time.monotonic() >= wait_until:
                    return
                continue
            yield record
            ended = ended or record.kind == "end"
            if ended and record.number >= until:
                self.close()
                return

    def info(self) -> RunInfo:
        """Ask the host for the run's state."""
        return self.client.run_info(self.id)

    def interrupt(self) -> None:
        """Interrupt a cell, or end a job."""
        self.client.interrupt(self.id)

    def cancel(self) -> None:
        """End the run."""
        self.client.cancel(self.id)

    def answer(self, number: int, text: str) -> bool:
        """Answer the input record `number`."""
        return self.client.answer(self.id, number, text)

    def close(self) -> None:
        """Stop following the run, which goes on."""
        self.wake = None
        self.client.forget(self)


class Followers:
    """The followers of one run in this process; the host sends its records once for all of them.

    When a follower joins, the host sends again from the one that has seen least;
    the others skip what they have.
    """

    def __init__(self, first: RunHandle) -> None:
        self.handles: tuple[RunHandle, ...] = (first,)

    @property
    def waiting(self) -> list[RunHandle]:
        """The followers that have not received the end or all of the history, and those that stay."""
        return [
            handle
            for handle in self.handles
            if handle.stays or not handle.over or handle.seen < handle.history
        ]

    @property
    def seen(self) -> int:
        """The last record that all followers have received."""
        return min((handle.seen for handle in self.waiting), default=0)

    @property
    def taken(self) -> int:
        """The last record that all waiting followers have read."""
        return min((handle.taken for handle in self.waiting), default=self.handles[0].taken)

    def add(self, handle: RunHandle) -> None:
        """Add a follower."""
        for one in self.handles[:1]:
            handle.hide = one.hide
        self.handles = (*self.handles, handle)

    def remove(self, handle: RunHandle) -> None:
        """Remove a follower."""
        self.handles = tuple(one for one in self.handles if one is not handle)

    def take(self, record: Record) -> None:
        """Pass a record to all followers."""
        for handle in self.handles:
            handle.take(record)

    def fail(self, error: GpunbError) -> None:
        """Pass an error to all followers."""
        for handle in self.handles:
            handle.fail(error)

"""The buffer of received data in a channel. Imports paramiko: import this lazily."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from paramiko.buffered_pipe import BufferedPipe, PipeTimeout

if TYPE_CHECKING:
    _Base = BufferedPipe[bytes]  # generic in its stubs only
else:
    _Base = BufferedPipe

__all__ = ["Pieces"]


class Pieces(_Base):
    """A channel's buffer that keeps packets as they came.

    paramiko's own joins them, makes a copy for each read and moves what is
    left: a third of what receiving a large object costs.
    """

    _cv: Any
    _event: Any
    _closed: bool

    def __init__(self) -> None:
        super().__init__()
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def feed(self, data: bytes) -> None:
        """Add a packet's data."""
        with self._cv:
            if data:
                self._pieces.append(data)
                self._size += len(data)
            if self._event is not None:
                self._event.set()
            self._cv.notify_all()

    def read_ready(self) -> bool:
        """Whether `read` would return at once with something."""
        return self._size > 0

    def read(self, nbytes: int, timeout: float | None = None) -> bytes:
        """Return at most `nbytes` of the oldest packet; none at the end.

        Raises
        ------
        PipeTimeout
            Nothing came within `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._cv:
            while not self._pieces:
                if self._closed:
                    return b""
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise PipeTimeout
                self._cv.wait(left)
            piece = self._pieces.popleft()
            if len(piece) > nbytes:
                self._pieces.appendleft(piece[nbytes:])
                piece = piece[:nbytes]
            self._took(len(piece))
            return piece

    def empty(self) -> bytes:
        """Remove and return all data."""
        with self._cv:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._took(len(data))
            return data

    def set_event(self, event: Any) -> None:
        """Set `event` while there is something to read, and after the end."""
        with self._cv:
            self._event = event
            if self._closed or self._size:
                event.set()
            else:
                event.clear()

    def _took(self, size: int) -> None:
        self._size -= size
        if not self._size and self._event is not None and not self._closed:
            self._event.clear()

"""A run's journal: numbered, checksummed, append-only frames in one file.

One process writes (the agent for a cell, the job's own keeper for a job), any
number read. A torn record at the end, left by a crash, is cut off when the
journal is opened again for writing and ignored by readers.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from typing import TYPE_CHECKING, Any

from . import frames as protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READ_LIMIT = 256 << 10
MIN_GAP = 0.05  # seconds: at most 20 stream records a second
MAX_RECORD = 1 << 20  # bytes of text in one stream record
LIMIT = int(os.environ.get("GPUNB_JOURNAL_MAX", "1073741824"))  # bytes of one run's journal
KEEP_HEAD = 1 << 20  # bytes of its beginning that stay when its middle is cut out


def walk(data: bytes, start: int = 0) -> Iterator[tuple[int, int, int]]:
    """Yield ``(offset, end, number)`` for each whole frame in `data`."""
    at = start
    while len(data) - at >= protocol.HEADER.size:
        size, _, number = protocol.HEADER.unpack_from(data, at)
        end = at + protocol.HEADER.size + size
        if size > protocol.MAX_BODY or end > len(data):
            return
        yield at, end, number
        at = end


class Reader:
    """Reads whole frames from an offset on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self, offset: int, limit: int = READ_LIMIT) -> bytes:
        """Read whole frames from `offset` on, about `limit` bytes, at least one if there is one."""
        data = os.pread(self._file, limit, offset)
        if len(data) >= protocol.HEADER.size:
            size = protocol.HEADER.unpack_from(data)[0]
            need = protocol.HEADER.size + size
            if size <= protocol.MAX_BODY and need > len(data):
                data += os.pread(self._file, need - len(data), offset + len(data))
        end = 0
        for _, stop, _ in walk(data):
            end = stop
        return data[:end]

    def after(self, number: int) -> int:
        """Return the offset that follows record `number`."""
        offset = 0
        while True:
            data = self.read(offset, 1 << 20)
            if not data:
                return offset
            for at, _, found in walk(data):
                if found > number:
                    return offset + at
            offset += len(data)

    def moved(self) -> bool:
        """Whether the file at the path was replaced: the journal was trimmed."""
        try:
            return os.stat(self.path).st_ino != os.fstat(self._file).st_ino
        except FileNotFoundError:
            return False

    def frames(self, offset: int = 0) -> Iterator[tuple[int, dict[str, Any], memoryview, int]]:
        """Yield ``(number, head, payload, end offset)`` from `offset` on; stops at a damaged record."""
        while True:
            data = self.read(offset)
            if not data:
                return
            for at, end, number in walk(data):
                body = data[at + protocol.HEADER.size : end]
                if zlib.crc32(body) != protocol.HEADER.unpack_from(data, at)[1]:
                    return
                head, payload = protocol.decode_body(body)
                yield number, head, payload, offset + end
            offset += len(data)


class Journal:
    """The writing end of a journal.

    Parameters
    ----------
    path
        The file; made if it is not there, else continued after its last
        whole record.
    run
        The run's id, set in each record.
    last, size
        What the writer knows of the file from before; saves reading it.
    """

    def __init__(self, path: str, run: str, last: int = 0, size: int = 0) -> None:
        self.path = path
        self.run = run
        self.size = size
        self.last = last
        self.last_head: dict[str, Any] = {}
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        if os.fstat(self._file).st_size != size:
            self.last = self.size = 0
            self._recover()

    def _recover(self) -> None:
        reader = Reader(self.path)
        try:
            for number, head, _, end in reader.frames():
                self.last, self.last_head, self.size = number, head, end
        finally:
            reader.close()
        os.ftruncate(self._file, self.size)

    def append(self, head: dict[str, Any], parts: Sequence[Any] = ()) -> int:
        """Write one record and return its number.

        Raises
        ------
        OSError
            The disk is full or broken; nothing of the record stays in the file.
        """
        number = self.last + 1
        head = dict(head, t="rec", run=self.run, ts=round(time.time(), 4))
        frame = memoryview(protocol.encode(head, parts, number))
        at = 0
        try:
            while at < len(frame):
                at += os.pwrite(self._file, frame[at:], self.size + at)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(frame)
        self.last = number
        self.last_head = head
        if self.size > LIMIT:
            with contextlib.suppress(OSError):  # no room for a second copy: it grows on
                self.trim(LIMIT // 2, "the run printed more than %d MB" % (LIMIT >> 20))
        return number

    def trim(self, keep: int, why: str) -> None:
        """Trim the journal: the beginning and the last `keep` bytes stay.

        One ``trimmed`` record replaces what is removed, with the number of the
        last record removed. The file is written anew and renamed;
        readers notice by `Reader.moved`.

        Raises
        ------
        OSError
            There is no room for the copy; the journal is as it was.
        """
        reader = Reader(self.path)
        try:
            cut = self._middle(reader, keep)
            if cut is not None:
                self._rewrite(*cut, why)
        finally:
            reader.close()

    def _middle(self, reader: Reader, keep: int) -> tuple[int, int, int, int] | None:
        """Find the start and end offset to remove, and the first and last record number."""
        start = end = last = 0
        first = 1  # a gap in the numbers marks an earlier trim
        offset = 0
        while True:
            data = reader.read(offset)
            if not data:
                break
            for at, stop, number in walk(data):
                if number == first and start == offset + at and offset + stop <= min(KEEP_HEAD, keep):
                    start, first = offset + stop, number + 1
                elif self.size - (offset + at) > keep and number < self.last:
                    end, last = offset + stop, number
            offset += len(data)
        return (start, end, first, last) if end > start else None

    def _rewrite(self, start: int, end: int, first: int, last: int, why: str) -> None:
        head = {"t": "rec", "run": self.run, "ts": round(time.time(), 4), "k": "trimmed"}
        mark = protocol.encode(dict(head, **{"from": first, "bytes": end - start, "why": why}), (), last)
        beside = self.path + ".new"
        file = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            size = _copy_range(self._file, 0, start, file, 0)
            size += os.pwrite(file, mark, size)
            size = _copy_range(self._file, end, self.size, file, size)
            os.replace(beside, self.path)
        except OSError:
            os.close(file)
            os.unlink(beside)
            raise
        os.close(self._file)
        self._file, self.size = file, size

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _copy_range(source: int, start: int, end: int, target: int, at: int) -> int:
    """Copy bytes between files; return the offset after the last byte written."""
    while start < end:
        data = os.pread(source, min(1 << 20, end - start), start)
        if not data:
            break
        view = memoryview(data)
        while view:
            done = os.pwrite(target, view, at)
            at += done
            view = view[done:]
        start += len(data)
    return at


def joined(segments: list[tuple[str, bytes]]) -> tuple[dict[str, Any], list[bytes]]:
    """Build a ``stream`` record of ``[(name, bytes), ...]``, neighbours of one name merged."""
    merged: list[list[Any]] = []
    parts = []
    for name, data in segments:
        if merged and merged[-1][0] == name:
            merged[-1][1] += len(data)
        else:
            merged.append([name, len(data)])
        parts.append(data)
    return {"k": "stream", "seg": merged}, [b"".join(parts)]

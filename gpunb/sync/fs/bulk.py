"""Transfers of many files at once between this machine and one host, for the fsspec filesystem.

Small files go many at a time on a channel, large ones in segments over all
channels. A file is written to a partial file and renamed into place when complete.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.sync.planning.rules import PART
from gpunb.sync.sftp import protocol as wire
from gpunb.sync.sftp.host_files import not_a_file
from gpunb.sync.sftp.host_tree import encode
from gpunb.sync.sftp.protocol import Attrs, Fault, Pump, Request, Task, string
from gpunb.sync.sftp.tasks import fetch_range, os_error, take_name, write_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.sync.sftp.host_files import HostFiles
    from gpunb.sync.sftp.pool import Make

__all__ = ["get_files", "put_files"]

SEGMENT = 16 * 2**20
_NEW = 2 | 8 | 16  # write, create, truncate


class _Count:
    """A counter of bytes and files; calls callbacks from one thread at a time."""

    def __init__(self, done: Callable[[int], Any] | None) -> None:
        self.bytes = 0
        self._done = done
        self._lock = threading.Lock()

    def moved(self, child: Any, count: int) -> None:
        with self._lock:
            self.bytes += count
            child.relative_update(count)

    def ended(self) -> None:
        with self._lock:
            if self._done is not None:
                self._done(1)


def get_files(
    files: HostFiles,
    jobs: Sequence[tuple[str, str, Any]],
    done: Callable[[int], Any] | None,
    left_out: list[str] | None = None,
) -> int:
    """Fetch ``(path on the host, local path, callback)``; return the number of bytes. Folders are only made.

    Pipes, devices and links to nothing go into `left_out`, or are an error without it.

    Raises
    ------
    OSError
        The first that the host or this disk refused; those that are done stay.
    """
    count = _Count(done)
    found = files.attrs_of(place for place, _, _ in jobs)
    makes: list[Make] = []
    parts: list[_Part] = []
    for (place, here, child), attrs in zip(jobs, found, strict=True):
        if (attrs is None or _is_special(attrs.mode)) and left_out is not None:
            left_out.append(place)
            count.ended()
            continue
        if attrs is None or _is_special(attrs.mode):
            files.regular(place)  # says why
        elif stat.S_ISDIR(attrs.mode or 0):
            Path(here).mkdir(parents=True, exist_ok=True)
            count.ended()
            continue
        size = (attrs.size or 0) if attrs is not None else 0
        child.set_size(size)
        Path(here).parent.mkdir(parents=True, exist_ok=True)
        part = _Part(here, size, child, count)
        parts.append(part)
        makes += [part.fetch(place, start, end) for start, end in _segments(size)]
    try:
        files.all(makes)
    finally:
        for part in parts:
            part.drop()
    return count.bytes


class _Part:
    """A local file being written: opened with its first bytes, renamed into place after its last."""

    def __init__(self, here: str, size: int, child: Any, count: _Count) -> None:
        self._here, self._size = Path(here), size
        self._child, self._count = child, count
        self._left = len(_segments(size))
        self._lock = threading.Lock()
        self._handle = -1
        self._path = self._here.with_name(f"{PART}{uuid.uuid4().hex[:16]}")

    def fetch(self, place: str, start: int, end: int) -> Make:
        def task(pump: Pump) -> Task:
            self._open()
            try:
                yield from fetch_range(pump, place, start, end, keep=self._keep, short=self._short)
            except Fault as fault:
                raise os_error(fault, place) from fault
            self._settle()

        return task

    def _open(self) -> None:
        with self._lock:
            if self._handle < 0:
                if self._here.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._here))
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._handle = os.open(self._path, flags, 0o666)

    def _keep(self, at: int, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            written = os.pwrite(self._handle, view, at)
            view, at = view[written:], at + written
        self._count.moved(self._child, len(piece))

    def _short(self, at: int) -> None:
        msg = f"it became shorter while it was read, {at} bytes instead of {self._size}"
        raise OSError(errno.EIO, msg, str(self._here))

    def _settle(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
            os.close(self._handle)
            self._handle = -1
            self._path.replace(self._here)
        self._count.ended()

    def drop(self) -> None:
        """Close and remove the partial file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            with contextlib.suppress(OSError):
                self._path.unlink()


def put_files(
    files: HostFiles,
    jobs: Sequence[tuple[str, str, Any]],
    done: Callable[[int], Any] | None,
    left_out: list[str] | None = None,
) -> int:
    """Send ``(path on the host, local path, callback)``; return the bytes; `left_out` as in `get_files`."""
    count = _Count(done)
    folders: set[str] = set()
    sends: list[_Send] = []
    for place, here, child in jobs:
        try:
            facts = Path(here).stat()
            if _is_special(facts.st_mode):
                raise not_a_file(Attrs(mode=facts.st_mode), here)
        except OSError:
            if left_out is None:
                raise
            left_out.append(here)
            count.ended()
            continue
        if stat.S_ISDIR(facts.st_mode):
            folders.add(place)
            continue
        folders.add(place.rpartition("/")[0])
        child.set_size(facts.st_size)
        sends.append(_Send(files, place, here, facts, child, count))
    files.make_folders(folders)
    for _ in range(len(jobs) - len(sends) - len(left_out or ())):
        count.ended()
    old = files.attrs_of(send.place for send in sends)
    for send, attrs in zip(sends, old, strict=True):
        if attrs is not None and stat.S_ISDIR(attrs.mode or 0):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), send.place)
        if attrs is not None:
            send.mode = (attrs.mode or 0) & 0o7777
    large = [send for send in sends if send.size > SEGMENT]
    try:
        if large:
            files.all([send.begin for send in large], channels=1)
        files.all([make for send in sends for make in send.tasks()])
    except BaseException:
        left = [send for send in sends if send.begun]
        with contextlib.suppress(Exception):  # the first failure is the one to report
            files.all([send.drop for send in left], channels=1)
        raise
    return count.bytes


class _Send:
    """A file being sent to the host."""

    def __init__(  # noqa: PLR0917 - what is known of one file
        self,
        files: HostFiles,
        place: str,
        here: str,
        found: os.stat_result,
        child: Any,
        count: _Count,
    ) -> None:
        self._files = files
        self.place, self.size = place, found.st_size
        self.mode = found.st_mode & 0o777
        self.begun = False
        self._here, self._child, self._count = here, child, count
        self._part = f"{place.rpartition('/')[0]}/{PART}{uuid.uuid4().hex[:16]}"
        self._left = len(_segments(self.size))
        self._lock = threading.Lock()

    def tasks(self) -> Iterator[Make]:
        for start, end in _segments(self.size):
            yield self._segment(start, end)

    def begin(self, _pump: Pump) -> Task:
        """Create the partial file."""
        self.begun = True
        flags = _NEW.to_bytes(4, "big") + Attrs(mode=0o600).pack()
        handle = yield Request(wire.OPEN, string(encode(self._part)) + flags)
        yield Request(wire.CLOSE, string(handle))

    def drop(self, _pump: Pump) -> Task:
        """Remove the partial file."""
        with contextlib.suppress(Fault):
            yield Request(wire.REMOVE, string(encode(self._part)))

    def _segment(self, start: int, end: int) -> Make:
        def task(pump: Pump) -> Task:
            try:
                if not self.begun:
                    yield from self.begin(pump)
                source = os.open(self._here, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    yield from write_range(pump, self._part, start, end, self._reader(source))
                finally:
                    os.close(source)
                if self._last():
                    yield from self._files.stamping(self._part, Attrs(mode=self.mode))
                    yield from take_name(pump, self._part, self.place)
                    self.begun = False
                    self._count.ended()
            except Fault as fault:
                raise os_error(fault, self.place) from fault

        return task

    def _reader(self, source: int) -> Callable[[int, int], bytes]:
        def read(at: int, size: int) -> bytes:
            data = os.pread(source, size, at)
            if len(data) != size:
                msg = "it became shorter while it was read"
                raise OSError(errno.EIO, msg, self._here)
            self._count.moved(self._child, size)
            return data

        return read

    def _last(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left == 0


def _is_special(mode: int | None) -> bool:
    return not (stat.S_ISREG(mode or 0) or stat.S_ISDIR(mode or 0))


def _segments(size: int) -> list[tuple[int, int]]:
    """Split a file into segments; an empty file has one."""
    return [(start, min(size, start + SEGMENT)) for start in range(0, max(size, 1), SEGMENT)]

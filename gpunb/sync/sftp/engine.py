"""The SFTP engine: carries the files of a plan in either direction.

Each file is written to a partial file and then renamed into place, so that an
interruption leaves the old file or the new one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared.file_content import read_as_listed
from gpunb.agent.shared.file_frames import NS
from gpunb.errors import ProtocolError
from gpunb.sync.local.safe_root import LocalRoot, part_name
from gpunb.sync.sftp import protocol as wire
from gpunb.sync.sftp.host_tree import encode
from gpunb.sync.sftp.protocol import Attrs, Fault, Pump, Request, Stream, Task, string
from gpunb.sync.sftp.queues import CHANGED, SMALL, Engine, Failed, Large, TransferJob
from gpunb.sync.sftp.tasks import take_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from gpunb.sync.planning.plan import Item

__all__ = ["Download", "Upload"]

_READ, _WRITE = 1, 2
_WRITE_NEW = 2 | 8 | 16  # write, create, truncate


class Upload(Engine):
    """Sends files from the folder `here` to the host; `alias` has paths of single files elsewhere."""

    def __init__(self, errand: TransferJob, here: Path, alias: Mapping[str, str]) -> None:
        super().__init__(errand)
        self._here, self._alias = here, alias

    def run(self) -> None:
        """Send the plan's files; its folders are there."""
        large = []
        for item in self.plan.items:
            if item.kind == "file":
                if item.size <= SMALL:
                    self.smalls.append(item)
                else:
                    large.append(Large(item))
        self.remote.each(large, self._begin, lambda one, reason: self.failed(one.item, reason))
        self.pump_files()

    def _stamp(self, kind: int, name: bytes, attrs: Attrs) -> Task:
        """Set mode and time; if the host does not keep them, the content stays all the same."""
        try:
            yield Request(kind, string(name) + attrs.pack())
        except Fault as fault:
            if fault.code == wire.NO_SUCH_FILE:
                raise
            self.note_unkept(fault.message)

    def _begin(self, large: Large) -> Task:
        handle = yield self._open(large.item, _WRITE_NEW)
        yield Request(wire.CLOSE, string(handle))
        self.segments.extend((large, start, end) for start, end in large.segments())

    def small(self, pump: Pump, item: Item) -> Task:
        """Send one small file: open, write, mode and time, close, rename."""
        handle_here = self._source_of(item)
        try:
            now = read_as_listed(handle_here, item.size, item.mtime_ns, item.inode)
        finally:
            os.close(handle_here)
        if now is None:
            raise Failed(CHANGED)
        data, mtime = now[0], now[1] // NS
        handle = yield self._open(item, _WRITE_NEW)
        try:
            yield Stream(
                self._writes(pump, handle, lambda at, size: data[at : at + size], 0, len(data)), _nothing
            )
            yield from self._stamp(wire.FSETSTAT, handle, Attrs(mode=item.mode, mtime=mtime))
            yield Request(wire.CLOSE, string(handle))
            yield from self._take_name(pump, item)
        except Fault:
            with contextlib.suppress(Fault):
                yield Request(wire.CLOSE, string(handle))
            with contextlib.suppress(Fault):
                yield Request(wire.REMOVE, string(encode(self._part(item))))
            raise
        self.sent(item)

    def segment(self, pump: Pump, large: Large, start: int, end: int) -> Task:
        """Send one segment of a large file; the last to end finishes the file."""
        item = large.item
        try:
            if large.problem is None:
                yield from self._send_segment(pump, item, start, end)
        except (Fault, Failed, OSError) as err:
            large.problem = getattr(err, "strerror", None) or str(err)
        if not self.settle(large):
            return
        if large.problem is None:
            about = Attrs(mode=item.mode, mtime=item.mtime)
            yield from self._stamp(wire.SETSTAT, encode(self._part(item)), about)
            yield from self._take_name(pump, item)
            self.sent(item)
        else:
            with contextlib.suppress(Fault):
                yield Request(wire.REMOVE, string(encode(self._part(item))))
            raise Failed(large.problem)

    def _send_segment(self, pump: Pump, item: Item, start: int, end: int) -> Task:
        handle_here = self._source_of(item)
        try:
            handle = yield self._open(item, _WRITE)

            def read(at: int, size: int) -> bytes:
                data = os.pread(handle_here, size, at)
                if len(data) != size:
                    raise Failed(CHANGED)
                return data

            try:
                yield Stream(self._writes(pump, handle, read, start, end), _nothing)
            except (Fault, Failed, OSError):
                with contextlib.suppress(Fault):
                    yield Request(wire.CLOSE, string(handle))
                raise
            yield Request(wire.CLOSE, string(handle))
        finally:
            os.close(handle_here)

    def _writes(
        self, pump: Pump, handle: bytes, read: Callable[[int, int], bytes], start: int, end: int
    ) -> Iterator[tuple[int, Request]]:
        for at in range(start, end, pump.write_size):
            data = read(at, min(pump.write_size, end - at))
            self.moved(len(data))
            yield at, Request(wire.WRITE, string(handle) + at.to_bytes(8, "big") + string(data), len(data))

    def _open(self, item: Item, flags: int) -> Request:
        return Request(
            wire.OPEN, string(encode(self._part(item))) + flags.to_bytes(4, "big") + Attrs(mode=0o600).pack()
        )

    def _source_of(self, item: Item) -> int:
        path = self._alias.get(item.path) or self._here / item.path
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        facts = os.fstat(handle)
        grew = facts.st_size > item.size and item.inode in (0, facts.st_ino)
        if not stat.S_ISREG(facts.st_mode) or not (facts.st_size == item.size or grew or item.size <= SMALL):
            os.close(handle)
            raise Failed(CHANGED)
        return handle

    def _part(self, item: Item) -> str:
        above, _, name = f"{self.host_root}/{item.path}".rpartition("/")
        return f"{above}/{part_name(name)}"

    def _take_name(self, pump: Pump, item: Item) -> Task:
        yield from take_name(pump, self._part(item), f"{self.host_root}/{item.path}")


class Download(Engine):
    """Fetches files from the host into the folder `root`; `alias` has paths of single files elsewhere."""

    def __init__(self, errand: TransferJob, root: LocalRoot, alias: Mapping[str, str]) -> None:
        super().__init__(errand)
        self._root, self._alias = root, alias
        self._open_parts: dict[str, Large] = {}

    def run(self) -> None:
        """Fetch the plan's files; its folders are there."""
        for item in self.plan.items:
            if item.kind == "file" and item.size > SMALL:
                large = Large(item)
                self.segments.extend((large, start, end) for start, end in large.segments())
            elif item.kind == "file":
                self.smalls.append(item)
        try:
            self.pump_files()
        finally:
            for large in self._open_parts.values():
                os.close(large.handle)
                self._root.drop_part(large.item.path)

    def _begin(self, large: Large) -> None:
        with self._lock:
            if large.handle < 0:
                large.handle = self._root.open_part(large.item.path, large.item.size)
                self._open_parts[large.item.path] = large

    def small(self, pump: Pump, item: Item) -> Task:
        """Fetch one small file into memory, then write it."""
        data = bytearray(item.size)

        def keep(at: int, piece: bytes) -> None:
            data[at : at + len(piece)] = piece

        if item.size:
            yield from self._fetch(pump, item, 0, item.size, keep)
        handle = self._root.open_part(item.path, item.size)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            self.note_unkept(self._root.finish(item, handle))
        except OSError:
            self._root.drop_part(item.path)
            raise
        finally:
            os.close(handle)
        self.sent(item)

    def segment(self, pump: Pump, large: Large, start: int, end: int) -> Task:
        """Fetch one segment of a large file; the last to end finishes the file."""
        item = large.item

        def keep(at: int, piece: bytes) -> None:
            view = memoryview(piece)
            while view:
                written = os.pwrite(large.handle, view, at)
                view, at = view[written:], at + written

        try:
            if large.problem is None:
                self._begin(large)
                yield from self._fetch(pump, item, start, end, keep)
        except (Fault, Failed, OSError) as err:
            large.problem = getattr(err, "strerror", None) or str(err)
        if not self.settle(large):
            return
        try:
            if large.problem is None:
                self.note_unkept(self._root.finish(item, large.handle))
        except OSError as err:
            large.problem = err.strerror or str(err)
        if self._open_parts.pop(item.path, None) is not None:
            os.close(large.handle)
        if large.problem is not None:
            self._root.drop_part(item.path)
            raise Failed(large.problem)
        self.sent(item)

    def _fetch(
        self, pump: Pump, item: Item, start: int, end: int, keep: Callable[[int, bytes], None]
    ) -> Task:
        name = encode(self._alias.get(item.path) or f"{self.host_root}/{item.path}")
        flags = _READ.to_bytes(4, "big") + Attrs().pack()
        handle = yield Request(wire.OPEN, string(name) + flags)
        asked: dict[int, tuple[int, int]] = {}

        def read(at: int, size: int) -> Request:
            body = string(handle) + at.to_bytes(8, "big") + size.to_bytes(4, "big")
            return Request(wire.READ, body, size)

        def reads() -> Iterator[tuple[int, Request]]:
            for at in range(start, end, pump.read_size):
                asked[at] = at, min(pump.read_size, end - at)
                yield at, read(*asked[at])

        def sink(tag: int, piece: Any) -> Request | None:
            at, size = asked[tag]
            if not isinstance(piece, bytes) or not 0 < len(piece) <= size:
                msg = "the host's SFTP server sent more, or less, than was asked for"
                raise ProtocolError(msg)
            keep(at, piece)
            self.moved(len(piece))
            if len(piece) == size:
                del asked[tag]
                return None
            asked[tag] = at + len(piece), size - len(piece)
            return read(*asked[tag])

        try:
            yield Stream(reads(), sink)
        except Fault as fault:
            with contextlib.suppress(Fault):
                yield Request(wire.CLOSE, string(handle))
            if fault.code == wire.EOF:
                raise Failed(CHANGED) from fault
            raise
        yield Request(wire.CLOSE, string(handle))


def _nothing(_tag: int, _value: Any) -> None:
    return None

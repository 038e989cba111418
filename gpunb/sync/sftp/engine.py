"""The SFTP engine: carries out a plan in either direction.

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
from gpunb.sync.sftp.host_tree import Remote, encode
from gpunb.sync.sftp.protocol import Attrs, Fault, Pump, Request, Stream, Task, string
from gpunb.sync.sftp.queues import CHANGED, SMALL, Engine, Failed, Large, TransferJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gpunb.sync.planning.plan import Item

__all__ = ["Download", "Upload", "delete_remote"]

_READ, _WRITE = 1, 2
_WRITE_NEW = 2 | 8 | 16  # write, create, truncate


class Upload(Engine):
    """Upload from the folder `here` to the host; `named` gives an item's local path where it differs."""

    def __init__(self, errand: TransferJob, here: Path, named: Path | None = None) -> None:
        super().__init__(errand)
        self._here, self._named = here, named

    def run(self) -> None:
        """Make the folders, send the files, then the links, then set the remaining modes."""
        depth = 0
        folders = sorted(self.plan.folders, key=lambda item: item.path.count("/"))
        while folders:
            level = [item for item in folders if item.path.count("/") == depth]
            self.remote.each(level, self._make_folder, self.failed)
            folders = folders[len(level) :]
            depth += 1
        links = [item for item in self.plan.items if item.kind == "link"]
        large = []
        for item in self.plan.items:
            if item.kind == "file":
                if item.size <= SMALL:
                    self.smalls.append(item)
                else:
                    large.append(Large(item))
        self.remote.each(large, self._begin, lambda one, reason: self.failed(one.item, reason))
        self.pump_files()
        self.remote.each(links, self._link, self.failed)
        # deepest first: once a folder is unreadable, its contents can't be changed
        self.remote.each(reversed(self.plan.folders), self._set_mode, self.failed)
        self.remote.each(self.plan.modes, self._set_mode, self.failed)

    def _make_folder(self, item: Item) -> Task:
        yield Request(wire.MKDIR, string(self.on_host(item.path)) + Attrs(mode=0o700).pack())

    def _set_mode(self, item: Item) -> Task:
        yield from self._stamp(wire.SETSTAT, self.on_host(item.path), Attrs(mode=item.mode))

    def _stamp(self, kind: int, name: bytes, attrs: Attrs) -> Task:
        """Set mode and time; if the host does not keep them, the content stays all the same."""
        try:
            yield Request(kind, string(name) + attrs.pack())
        except Fault as fault:
            if fault.code == wire.NO_SUCH_FILE:
                raise
            self.note_unkept(fault.message)

    def _link(self, item: Item) -> Task:
        part = self._part(item)
        with contextlib.suppress(Fault):
            yield Request(wire.REMOVE, string(part))
        # OpenSSH's order of arguments, which all servers follow; the draft has the reverse
        yield Request(wire.SYMLINK, string(encode(item.goal)) + string(part))
        try:
            yield from self._take_name(self.remote.pump, item)
        except Fault:
            with contextlib.suppress(Fault):
                yield Request(wire.REMOVE, string(part))
            raise
        self.sent(item)

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
                yield Request(wire.REMOVE, string(self._part(item)))
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
            yield from self._stamp(wire.SETSTAT, self._part(item), Attrs(mode=item.mode, mtime=item.mtime))
            yield from self._take_name(pump, item)
            self.sent(item)
        else:
            with contextlib.suppress(Fault):
                yield Request(wire.REMOVE, string(self._part(item)))
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
            wire.OPEN, string(self._part(item)) + flags.to_bytes(4, "big") + Attrs(mode=0o600).pack()
        )

    def _source_of(self, item: Item) -> int:
        path = self._named or self._here / item.path
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(handle)
        grew = found.st_size > item.size and item.inode in (0, found.st_ino)
        if not stat.S_ISREG(found.st_mode) or not (found.st_size == item.size or grew or item.size <= SMALL):
            os.close(handle)
            raise Failed(CHANGED)
        return handle

    def _part(self, item: Item) -> bytes:
        above, _, name = item.path.rpartition("/")
        return self.on_host(f"{above}/{part_name(name)}" if above else part_name(name))

    def _take_name(self, pump: Pump, item: Item) -> Task:
        pair = string(self._part(item)) + string(self.on_host(item.path))
        if b"posix-rename@openssh.com" in pump.extensions:
            yield Request(wire.EXTENDED, string(b"posix-rename@openssh.com") + pair)
            return
        try:
            yield Request(wire.RENAME, pair)
        except Fault:  # plain SFTP does not replace files; not atomic
            yield Request(wire.REMOVE, string(self.on_host(item.path)))
            yield Request(wire.RENAME, pair)


class Download(Engine):
    """Download from the host into the local folder `root`; `named` is a file's path where it differs."""

    def __init__(self, errand: TransferJob, root: LocalRoot, named: str | None = None) -> None:
        super().__init__(errand)
        self._root, self._named = root, named
        self._open_parts: dict[str, Large] = {}

    def run(self) -> None:
        """Make the folders, fetch the files, make the links, then set the modes."""
        for item in self.plan.folders:
            self._try(item, self._root.make_folder)
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
                self._root.drop_part(large.item.here)
        for item in self.plan.items:
            if item.kind == "link" and self._try(item, self._root.link):
                self.sent(item)
        for item in (*reversed(self.plan.folders), *self.plan.modes):
            self._try(item, lambda one: self.note_unkept(self._root.set_mode(one)))

    def _try(self, item: Item, action: Callable[[Item], None]) -> bool:
        try:
            action(item)
        except OSError as err:
            self.failed(item, err.strerror or str(err))
            return False
        return True

    def _begin(self, large: Large) -> None:
        with self._lock:
            if large.handle < 0:
                large.handle = self._root.open_part(large.item.here, large.item.size)
                self._open_parts[large.item.path] = large

    def small(self, pump: Pump, item: Item) -> Task:
        """Fetch one small file into memory, then write it."""
        data = bytearray(item.size)

        def keep(at: int, piece: bytes) -> None:
            data[at : at + len(piece)] = piece

        if item.size:
            yield from self._fetch(pump, item, 0, item.size, keep)
        handle = self._root.open_part(item.here, item.size)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            self.note_unkept(self._root.finish(item, handle))
        except OSError:
            self._root.drop_part(item.here)
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
            self._root.drop_part(item.here)
            raise Failed(large.problem)
        self.sent(item)

    def _fetch(
        self, pump: Pump, item: Item, start: int, end: int, keep: Callable[[int, bytes], None]
    ) -> Task:
        name = encode(self._named) if self._named is not None else self.on_host(item.path)
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


def delete_remote(
    remote: Remote, root: str, paths: list[str], kinds: dict[str, str], failed: Callable[[str, str], None]
) -> list[str]:
    """Delete `paths` on the host; return those that are gone."""
    gone: list[str] = []

    def drop(path: str) -> Task:
        kind = wire.RMDIR if kinds[path] == "dir" else wire.REMOVE
        try:
            yield Request(kind, string(encode(f"{root}/{path}")))
        except Fault as fault:
            if fault.code != wire.NO_SUCH_FILE:
                raise
        gone.append(path)

    remote.each([p for p in paths if kinds[p] != "dir"], drop, failed)
    folders = [p for p in paths if kinds[p] == "dir"]
    for depth in sorted({p.count("/") for p in folders}, reverse=True):
        remote.each([p for p in folders if p.count("/") == depth], drop, failed)
    return gone


def _nothing(_tag: int, _value: Any) -> None:
    return None

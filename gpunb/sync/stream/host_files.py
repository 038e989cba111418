"""Reads and writes the content of files on the host, through its agent, on any channel.

No content is accepted that was not requested, and nothing counts as written before
the host has confirmed it.
"""

from __future__ import annotations

import json
import struct
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import file_frames as wire
from gpunb.sync.local.safe_root import part_name
from gpunb.sync.sftp.host_tree import encode
from gpunb.sync.stream.file_channel import FileChannel, HostFault, answer, bad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.sync.planning.plan import Item

__all__ = ["HostReader", "HostWriter", "Newer", "Refused", "as_content", "count_unkept"]


class Refused(Exception):
    """One file failed; the text is the reason."""


class Newer:
    """The current content of a small file that has changed since it was listed."""

    def __init__(self, data: Any, mtime_ns: int) -> None:
        self.data, self.mtime_ns = data, mtime_ns


def as_content(item: Item, data: Any, mtime_ns: int) -> Any:
    """Return the content of a small file if it is as listed, else a `Newer`."""
    return data if (len(data), mtime_ns) == (item.size, item.mtime_ns) else Newer(data, mtime_ns)


class HostReader:
    """Reads files from the host on one channel, in the order of the requests."""

    local = False
    SMALL, RANGE = b"G", b"R"

    def __init__(self, line: FileChannel, alias: dict[str, str], codec: int) -> None:
        self.line, self.alias, self.codec = line, alias, codec

    def _want(self, item: Item) -> bytes:
        path = encode(self.alias.get(item.path, item.path))
        return wire.WANT.pack(len(path), item.size, item.mtime, item.nanos, item.inode) + path

    def ask_small(self, items: Sequence[Item]) -> None:
        """Request small files."""
        self.line.send(self.SMALL, bytes((self.codec,)), *map(self._want, items))

    def small(self, items: Sequence[Item]) -> list[Any]:
        """Return the content of each item, or a `Refused`."""
        most = sum(item.size for item in items) + 300 * len(items) + wire.MOST_NEWER
        try:
            data = wire.unsqueeze(self.line.expect(b"S"), most)
            result: list[Any] = []
            at = 0
            for item in items:
                state, size, seconds, nanos = wire.CONTENT.unpack_from(data, at)
                at += wire.CONTENT.size
                body = data[at : at + size]
                at += size
                if state == wire.NEWER and len(body) == size <= wire.SMALL:
                    result.append(Newer(body, seconds * wire.NS + nanos))
                elif state == wire.REFUSED:
                    result.append(Refused(bytes(body).decode("utf-8", "replace")[:200]))
                elif state != wire.AS_LISTED or len(body) != item.size:
                    words = "more, or less, of a file than was asked for"
                    raise bad(words)
                else:
                    result.append(body)
        except (ValueError, IndexError, struct.error) as err:
            words = "files in a form that can't be read"
            raise bad(words) from err
        if at != len(data):
            words = "more files than asked for"
            raise bad(words)
        return result

    def ask_range(self, item: Item, start: int, end: int) -> None:
        """Request a range of a large file."""
        path = encode(self.alias.get(item.path, item.path))
        listed = item.size, item.mtime, item.nanos, item.inode
        head = wire.RANGE.pack(start, end - start, self.codec, len(path), *listed)
        self.line.send(self.RANGE, head, path)

    def pieces(self, _item: Item, start: int, end: int) -> Iterator[tuple[int, Any]]:
        """Yield the requested pieces with their offsets; `Refused` on failure."""
        at = start
        while True:
            kind, size = self.line.head()
            if kind == ord("R"):
                words = bytes(self.line.body(size)).decode("utf-8", "replace")[:200]
                if words:
                    raise Refused(words)
                if at != end:
                    words = "less of a file than was asked for"
                    raise bad(words)
                return
            if kind != ord("P") or not size:
                words = f"a frame of kind {kind} in a file"
                raise bad(words)
            for data in self._piece(size):
                if at + len(data) > end:
                    words = "more of a file than was asked for"
                    raise bad(words)
                yield at, data
                at += len(data)

    def _piece(self, size: int) -> Iterator[Any]:
        codec = self.line.body(1)
        if codec[0] == wire.PLAIN:
            yield from self.line.parts(size - 1)
            return
        try:
            yield wire.unsqueeze(bytes(codec) + bytes(self.line.body(size - 1)), wire.PIECE)
        except ValueError as err:
            raise bad(str(err)) from err

    def ask_base(self, item: Item, *, digests: bool) -> None:
        """Request a large file's digests, or the ranges that hold data."""
        path = self.alias.get(item.path, item.path)
        if digests:
            self.line.send(b"H", json.dumps({"path": path, "part": "", "size": item.size}).encode())
        else:
            self.line.post("extents", path=path)

    def digests(self, item: Item) -> list[bytes]:
        """Return the digests of the file's blocks."""
        return take_digests(self.line.receive, item.size)

    def extents(self, item: Item) -> list[tuple[int, int]]:
        """Return the ranges that hold data, in order and within the file's size."""
        try:
            found = answer(self.line.expect(b"J")).get("extents")
        except HostFault as err:
            raise Refused(err.message) from err
        last, good = 0, []
        try:
            for start, end in found or ():
                if not last <= int(start) <= int(end):
                    words = "parts of a file out of order"
                    raise bad(words)
                last = int(end)
                good.append((min(int(start), item.size), min(last, item.size)))
        except (TypeError, ValueError) as err:
            words = "no parts of a file"
            raise bad(words) from err
        return good


def take_digests(receive: Callable[[], tuple[int, memoryview]], size: int) -> list[bytes]:
    """Read digests up to the frame that ends them; `Refused` if the file can't be read."""
    result: list[bytes] = []
    while True:
        kind, body = receive()
        if kind == ord("Z"):
            if body:
                raise Refused(bytes(body).decode("utf-8", "replace")[:200])
            return result
        if kind != ord("H") or len(body) % wire.DIGEST or len(result) * wire.BLOCK > size:
            words = "digests that were not asked for"
            raise bad(words)
        data = bytes(body)
        result += [data[at : at + wire.DIGEST] for at in range(0, len(data), wire.DIGEST)]


class HostWriter:
    """Writes files to the host on one channel, without waiting; failures are reported later."""

    local = False

    def __init__(self, line: FileChannel, codec: int) -> None:
        self.line, self.codec = line, codec
        self._number = 0
        self._failures: dict[int, Callable[[int, str], None]] = {}
        self._due: deque[Callable[[memoryview], None]] = deque()
        self.unkept: Counter[str] = Counter()

    def close(self) -> None:
        """Do nothing: the channel is closed by whoever opened it."""

    def small(
        self, items: Sequence[Item], contents: Sequence[Any], done: Callable[[list[tuple[int, str]]], None]
    ) -> None:
        """Write small files; later calls `done` with the failures, by their index in `items`."""
        self._number += 1
        heads = []
        for item, content in zip(items, contents, strict=True):
            path = encode(item.path)
            heads.append(wire.GIVE.pack(len(path), item.mode, item.mtime, item.nanos, len(content)) + path)
        failed: list[tuple[int, str]] = []
        self._failures[self._number] = lambda index, why: failed.append((index, why))
        self._bundle(self._number.to_bytes(4, "big"), heads, contents)
        self._confirm(self._number, lambda: done(failed))

    def _bundle(self, number: bytes, heads: Sequence[bytes], contents: Sequence[Any]) -> None:
        """Send a bundle of small files with their names."""
        body = b"".join(part for pair in zip(heads, contents, strict=True) for part in pair)
        self.line.send(b"W", number, wire.squeeze(body, self.codec))

    def begin(self, item: Item, done: Callable[[str], None]) -> None:
        """Create the partial file of a large file."""
        self.line.post("begin", part=_part(item), size=item.size)
        self._due.append(_told(done))

    def ask_base(self, item: Item) -> None:
        """Request the existing file's digests, and copy its blocks into the partial file."""
        self.settle()  # requests caused by earlier answers would come after the digests, out of order
        asked = {"path": _part(item) if item.part else item.path, "part": "" if item.part else _part(item)}
        self.line.send(b"H", json.dumps({**asked, "size": item.size}).encode())

    def base(self, item: Item) -> list[bytes]:
        """Return the digests that were requested."""
        return take_digests(self.line.receive, item.size)

    @staticmethod
    def part_of(item: Item) -> str:
        """The partial file of a large file."""
        return _part(item)

    def piece(self, item: Item, at: int, data: Any, failed: Callable[[str], None]) -> None:
        """Write a piece of a large file."""
        self._number += 1
        self._failures[self._number] = lambda _index, why: failed(why)
        path = encode(_part(item))
        body = wire.squeeze(data, self.codec) if self.codec else data
        head = wire.DATA.pack(self._number, at, len(path)) + path + (b"" if self.codec else b"\0")
        self.line.send(b"D", head, body)

    def confirm(self, done: Callable[[], None]) -> None:
        """Call `done` when all earlier writes have succeeded or failed."""
        self._confirm(self._number, done)

    def finish(self, item: Item, done: Callable[[str], None]) -> None:
        """Rename a complete large file into place."""
        where = {"part": _part(item), "path": item.path, "size": item.size}
        self.line.post("finish", **where, mode=item.mode, mtime=item.mtime_ns)
        self._due.append(_told(done, self.unkept))

    def drop(self, item: Item) -> None:
        """Remove the partial file of a large file that failed."""
        self.line.post("delete", jobs=[[_part(item), False]])
        self._due.append(lambda _body: None)

    def _confirm(self, number: int, done: Callable[[], None]) -> None:
        self.line.send(b"Q", number.to_bytes(4, "big"))

        def told(body: memoryview) -> None:
            if bytes(body) != number.to_bytes(4, "big"):
                words = "an answer out of turn"
                raise bad(words)
            for old in [failure for failure in self._failures if failure <= number]:
                del self._failures[old]
            done()

        self._due.append(told)

    def poll(self) -> None:
        """Process the answers received so far."""
        while self._due and self.line.ready():
            self._one()

    def settle(self) -> None:
        """Wait for all answers."""
        while self._due:
            self._one()

    def _one(self) -> None:
        self._taken(*self.line.receive())

    def _taken(self, kind: int, body: memoryview) -> None:
        if kind == ord("X"):
            try:
                number, index, why = json.loads(bytes(body))
                self._failures[number](index, str(why)[:200])
            except (ValueError, KeyError, TypeError, IndexError) as err:
                words = "a failure of something that was not sent"
                raise bad(words) from err
        elif kind == ord("K"):
            try:
                why, count = json.loads(bytes(body))
                count_unkept(self.unkept, why, count)
            except (ValueError, TypeError) as err:
                words = "a note that can't be read"
                raise bad(words) from err
        elif kind in (ord("J"), ord("Q")):
            self._due.popleft()(body)
        else:
            words = f"a frame of kind {kind} while it was written to"
            raise bad(words)


def _told(done: Callable[[str], None], unkept: Counter[str] | None = None) -> Callable[[memoryview], None]:
    def told(body: memoryview) -> None:
        try:
            why = answer(body).get("unkept")
            if why and unkept is not None:
                count_unkept(unkept, why, 1)
        except HostFault as err:
            done(err.message)
        else:
            done("")

    return told


def count_unkept(noted: Counter[str], why: object, count: object) -> None:
    """Count files that were written without mode or time; the reason is the host's."""
    if isinstance(count, int) and 0 < count < 2**32 and len(noted) < 20:
        noted["".join(c if c.isprintable() else " " for c in str(why)[:200])] += count


def _part(item: Item) -> str:
    above, _, name = item.path.rpartition("/")
    return f"{above}/{part_name(name)}" if above else part_name(name)

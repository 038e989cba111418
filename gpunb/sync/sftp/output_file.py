"""A file on a host that is written in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.sync.sftp import protocol as wire
from gpunb.sync.sftp.host_tree import encode
from gpunb.sync.sftp.pool import CHANNELS, PIECE
from gpunb.sync.sftp.protocol import Attrs, Pump, Request, Task, string
from gpunb.sync.sftp.tasks import (
    APPEND,
    CREATE,
    EXCLUSIVE,
    TRUNCATE,
    WRITE,
    closing,
    open_file,
    streamed,
    write_range,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.sync.sftp.host_files import HostFiles
    from gpunb.sync.sftp.pool import Make

__all__ = ["Output"]


class Output:
    """A file on the host that is written at any offset, in pieces; renaming it is the caller's task."""

    def __init__(self, files: HostFiles, path: str, *, fresh: bool, exclusive: bool = False) -> None:
        self.files, self.path = files, path
        flags = WRITE | CREATE | (TRUNCATE if fresh else 0) | (EXCLUSIVE if exclusive else 0)

        def make() -> Task:
            handle = yield Request(
                wire.OPEN, string(encode(path)) + flags.to_bytes(4, "big") + Attrs(mode=0o600).pack()
            )
            yield Request(wire.CLOSE, string(handle))

        files.one(lambda _: make())

    def write(self, at: int, data: bytes | bytearray | memoryview) -> None:
        """Write `data` at byte `at`, over several channels if it is large."""
        view = memoryview(data)
        step = max(PIECE, -(-len(view) // CHANNELS))
        self.files.all(
            [self._piece(at + start, view[start : start + step]) for start in range(0, len(view), step)]
        )

    def _piece(self, at: int, data: memoryview) -> Make:
        def read(where: int, size: int) -> bytes:
            return bytes(data[where - at : where - at + size])

        return lambda pump: write_range(pump, self.path, at, at + len(data), read)

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data` at the file's current end, also if others append meanwhile."""
        view = memoryview(data)
        flags = WRITE | APPEND | CREATE

        def task(pump: Pump) -> Task:
            handle = yield open_file(self.path, flags)

            def writes() -> Iterator[tuple[int, Request]]:
                for at in range(0, len(view), pump.write_size):
                    piece = bytes(view[at : at + pump.write_size])
                    body = string(handle) + at.to_bytes(8, "big") + string(piece)
                    yield at, Request(wire.WRITE, body, len(piece))

            yield from closing(handle, streamed(writes()))

        self.files.one(task)

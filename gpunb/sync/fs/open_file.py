"""An open file on a host, for fsspec."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractBufferedFile

from gpunb.errors import Unreachable
from gpunb.sync.planning.rules import PART
from gpunb.sync.sftp.host_files import not_a_file
from gpunb.sync.sftp.output_file import Output
from gpunb.sync.sftp.protocol import Attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.sync.fs.filesystem import HostsFileSystem

__all__ = ["BLOCK", "HostFile", "beside", "named"]

BLOCK = 4 * 2**20


class HostFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """An open file on a host.

    Read ahead in the background; written in blocks, several channels at once,
    to a partial file that is renamed into place on closing. A ``with`` block that
    fails leaves the old file.
    """

    DEFAULT_BLOCK_SIZE = BLOCK

    def __init__(self, fs: HostsFileSystem, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> None:
        self._out: Output | None = None
        self._moved = 0
        self._place_now = ""
        self._goal_mode = 0o644
        super().__init__(fs, path, mode, *args, **kwargs)
        if mode == "rb":
            attrs = Attrs(mode=self.details["mode"])
            if not stat.S_ISREG(attrs.mode or 0):
                self.closed = True
                raise not_a_file(attrs, path)
            return
        try:
            self._begin()
        except BaseException:
            self.closed = True
            raise

    def _begin(self) -> None:
        """Check what is at the path, so that `open` already raises the error."""
        files, place = self.fs.place(self.path)
        self._place_now = place
        found = None
        with contextlib.suppress(FileNotFoundError):
            found = files.attrs(place)
        if found is not None:
            if stat.S_ISDIR(found.mode or 0):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
            if self.mode == "xb":
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path)
            self._goal_mode = (found.mode or 0o644) & 0o7777
        if self.mode == "ab":
            self.offset = self.loc = (found.size or 0) if found is not None else 0
            self._out = named(self.path, lambda one: Output(files, one, fresh=False), place)
            return
        if found is None:
            files.make_folders([place.rpartition("/")[0]])
        self._out = named(self.path, lambda one: Output(files, beside(one), fresh=True), place)

    def _fetch_range(self, start: int, end: int) -> bytes:
        path = self.path
        end = min(end, max(start, self.size))  # a block of a small file is no more than the file
        data: bytes = self.fs.again(
            path, lambda files, place: named(path, lambda one: files.read(one, start, end), place)
        )
        self._moved += len(data)
        self._note()
        return data

    def _upload_chunk(self, final: bool = False) -> bool:
        assert self._out is not None  # noqa: S101 - set when it was opened
        with self.buffer.getbuffer() as data:
            if data.nbytes and self.mode == "ab":
                self._out.append(data)
            elif data.nbytes:
                self._out.write(self.offset, data)
            self._moved += data.nbytes
        self._note()
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        """Rename the partial file into place, atomically."""
        out, self._out = self._out, None
        if out is None or self.mode == "ab":
            return
        try:
            out.files.stamp(out.path, Attrs(mode=self._goal_mode))
            out.files.rename(out.path, self._place_now, replace=self.mode != "xb")
        except BaseException:
            self._drop(out)
            raise
        self.fs.tell_unkept(out.files)

    def discard(self) -> None:
        """Drop the partial file; the old file stays."""
        out, self._out = self._out, None
        if out is not None and self.mode != "ab":
            self._drop(out)

    @staticmethod
    def _drop(out: Output) -> None:
        with contextlib.suppress(OSError, Unreachable):
            out.files.remove(out.path)

    def close(self) -> None:
        """Write the rest, rename the file into place, and report the bytes moved."""
        if self.closed:
            return
        try:
            super().close()
        except BaseException:
            self.discard()
            raise
        finally:
            self._note()

    def _note(self) -> None:
        """Report the bytes moved since the last report to the filesystem."""
        moved, self._moved = self._moved, 0
        if moved:
            self.fs.moved(self.path.partition("/")[0], "down" if self.mode == "rb" else "up", moved)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and self.mode != "rb" and not self.closed:
            self.forced = True  # nothing more is written
            self.discard()
        self.close()


def beside(place: str) -> str:
    """A unique name for a partial file in the folder of `place`: two writers never collide."""
    above = place.rpartition("/")[0]
    return f"{above}/{PART}{uuid.uuid4().hex[:16]}"


def named(path: str, ask: Callable[[str], Any], place: str) -> Any:
    """Call ``ask(place)``; an `OSError` then names `path`, which the user typed."""
    try:
        return ask(place)
    except OSError as err:
        raise type(err)(err.errno, err.strerror, path) from err

"""Write operations of ``files``: files, folders, links, modes, deletions."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from typing import Any

from ..shared import file_content
from ..shared import file_frames as wire
from .answers import Answers, raw, reason


class Writing(Answers):
    """Write requests; each file is written beside its name and renamed into place when complete."""

    def write(self, body: memoryview) -> None:
        """Write small files, each renamed into place."""
        (number,) = struct.unpack_from(">I", body)
        data = wire.unsqueeze(body[4:], 1 << 30)
        at = index = 0
        while at < len(data):
            named, mode, seconds, nanos, size = wire.GIVE.unpack_from(data, at)
            at += wire.GIVE.size
            path = bytes(data[at : at + named])
            at += named
            why = self.write_one(path, mode, seconds * wire.NS + nanos, data[at : at + size])
            if why:
                self.failed(number, index, why)
            at += size
            index += 1
        self.tell_unkept()

    def write_one(self, path: bytes, mode: int, mtime: int, data: Any) -> str:
        """Write a small file and rename it into place; return the error, or ""."""
        try:
            self._write_one(path, mode, mtime, data)
        except OSError as err:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(os.path.dirname(path), self.part))
            return reason(err)
        return ""

    def _write_one(self, path: bytes, mode: int, mtime: int, data: Any) -> None:
        folder = path.rpartition(b"/")[0]
        part = folder + b"/" + self.part if folder else self.part
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            while data:
                data = data[os.write(fd, data) :]
            self.stamped(file_content.stamp(fd, None, mtime))
        finally:
            os.close(fd)
        file_content.take_name(part, path)

    def stamped(self, why: str) -> None:
        """Count a file that was written without its mode or time, if `why` says so."""
        if why:
            self.unkept[why] = self.unkept.get(why, 0) + 1

    def tell_unkept(self) -> None:
        """Report the files counted by `stamped` since the last report."""
        for why, count in self.unkept.items():
            self.send(b"K", json.dumps([why, count]).encode())
        self.unkept.clear()

    def do_begin(self, part: str, size: int) -> dict[str, Any]:
        """Create the partial file of a large file, of its full length."""
        fd = os.open(raw(part), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)
        return {}

    def data(self, body: memoryview) -> None:
        """Write a piece of a large file into its partial file."""
        number, at, named = wire.DATA.unpack_from(body)
        start = wire.DATA.size
        path = bytes(body[start : start + named])
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                file_content.write_at(fd, wire.unsqueeze(body[start + named :], wire.PIECE), at)
            finally:
                os.close(fd)
        except OSError as err:
            self.failed(number, -1, reason(err))

    def do_finish(self, part: str, path: str, size: int, mode: int, mtime: int) -> dict[str, Any]:
        """Rename a complete large file into place."""
        fd = os.open(raw(part), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            why = file_content.stamp(fd, mode, mtime)
        finally:
            os.close(fd)
        with file_content.late_end(raw(path)):
            file_content.take_name(raw(part), raw(path))
        return {"unkept": why}

    # -- folders, links, modes, deletions

    def _each(self, jobs: list[Any], do: Any) -> dict[str, Any]:
        failed: list[Any] = []
        for index, job in enumerate(jobs):
            try:
                do(*job)
            except OSError as err:
                failed.append([index, reason(err)])
        return {"failed": failed}

    def do_folders(self, jobs: list[Any]) -> dict[str, Any]:
        """Make folders, parents first."""

        def make(path: str) -> None:
            with contextlib.suppress(FileExistsError):
                os.mkdir(raw(path), 0o700)

        return self._each(jobs, make)

    def do_links(self, jobs: list[Any]) -> dict[str, Any]:
        """Make links."""

        def link(path: str, goal: str) -> None:
            part = os.path.join(os.path.dirname(raw(path)), self.part)
            os.symlink(raw(goal), part)
            try:
                file_content.take_name(part, raw(path))
            except OSError:
                os.unlink(part)
                raise

        return self._each(jobs, link)

    def do_modes(self, jobs: list[Any]) -> dict[str, Any]:
        """Set permissions, and times where one is given."""
        unkept: dict[str, int] = {}

        def change(path: str, mode: int, mtime: int | None) -> None:
            why = file_content.stamp(raw(path), mode, mtime, own=False)
            if why:
                unkept[why] = unkept.get(why, 0) + 1

        return {**self._each(jobs, change), "unkept": unkept}

    def do_delete(self, jobs: list[Any]) -> dict[str, Any]:
        """Delete files, links and empty folders; those that are gone already are no error."""

        def drop(path: str, folder: bool) -> None:
            with contextlib.suppress(FileNotFoundError):
                (os.rmdir if folder else os.unlink)(raw(path))

        return self._each(jobs, drop)

"""Single files and listings on one host, over the channels of `gpunb.sync.sftp.pool.ChannelPool`.

`gpunb.sync.fs.filesystem` is built on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from gpunb.errors import ProtocolError
from gpunb.sync.sftp import protocol as wire
from gpunb.sync.sftp.host_tree import encode
from gpunb.sync.sftp.pool import CHANNELS, PIECE, ChannelPool
from gpunb.sync.sftp.protocol import Attrs, Fault, Pump, Request, Task, string
from gpunb.sync.sftp.tasks import (
    CREATE,
    READ,
    TRUNCATE,
    WRITE,
    attrs_at,
    closing,
    fetch_range,
    listing,
    open_file,
    os_error,
    take_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gpunb.ssh.connection import Connection
    from gpunb.sync.sftp.pool import Make

__all__ = ["HostFiles", "not_a_file"]


class HostFiles(ChannelPool):
    """The files of one host, over one connection. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._home = ""
        self.unkept = ""

    def __enter__(self) -> HostFiles:  # noqa: PYI034 - final in practice
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def home(self) -> str:
        """The absolute path of the user's home on the host."""
        if not self._home:
            self._home = self.one(lambda _: _real(self._keep_home)) or self._home
        return self._home

    def _keep_home(self, path: str) -> None:
        self._home = path

    # -- attributes and listings

    def attrs(self, path: str, *, follow: bool = True) -> Attrs:
        """Return the attributes of `path`; an `OSError` such as `FileNotFoundError` if that fails."""
        found: list[Attrs] = []
        kind = wire.STAT if follow else wire.LSTAT
        self.one(lambda _: attrs_at(kind, path, found.append))
        return found[0]

    def regular(self, path: str) -> Attrs:
        """Return the attributes of `path`, a regular file: opening a pipe would wait for its writer."""
        attrs = self.attrs(path)
        if not stat.S_ISREG(attrs.mode or 0):
            raise not_a_file(attrs, path)
        return attrs

    def own_attrs(self, path: str) -> Attrs:
        """Return the attributes of a link itself."""
        return self.attrs(path, follow=False)

    def attrs_of(self, paths: Iterable[str]) -> list[Attrs | None]:
        """Return the attributes of each path, links followed; None where that fails."""
        wanted = list(paths)
        out: list[Attrs | None] = [None] * len(wanted)

        def ask(index: int, path: str) -> Make:
            def task() -> Task:
                with contextlib.suppress(Fault):
                    yield from attrs_at(wire.STAT, path, lambda attrs: out.__setitem__(index, attrs))

            return lambda _: task()

        self.all([ask(index, path) for index, path in enumerate(wanted)], channels=1)
        return out

    def listing(self, path: str) -> list[tuple[str, Attrs, Attrs | None]]:
        """List a folder: each name with its own attributes, and for a link those of its target."""
        result: list[tuple[str, Attrs, Attrs | None]] = []
        self.one(lambda _: listing(path, result))
        return result

    def walk(
        self, root: str, *, depth: int | None = None
    ) -> tuple[list[tuple[str, Attrs, Attrs | None]], list[OSError]]:
        """List everything below the folder `root`, many folders at once; links are not followed.

        Returns
        -------
        The entries, named relative to `root`, and what could not be listed.
        """
        out: list[tuple[str, Attrs, Attrs | None]] = []
        problems: list[OSError] = []
        level = [""]
        deep = 0
        while level and (depth is None or deep < depth):
            deep += 1
            below: list[str] = []

            def look(folder: str, below: list[str]) -> Make:
                def task() -> Task:
                    names: list[tuple[str, Attrs, Attrs | None]] = []
                    try:
                        yield from listing(f"{root}/{folder}" if folder else root, names)
                    except Fault as fault:
                        problems.append(os_error(fault, folder))
                    for name, attrs, goal in names:
                        path = f"{folder}/{name}" if folder else name
                        out.append((path, attrs, goal))
                        if stat.S_ISDIR(attrs.mode or 0):
                            below.append(path)

                return lambda _: task()

            self.all([look(folder, below) for folder in level], channels=1)
            level = below
        out.sort(key=lambda entry: entry[0])
        return out, problems

    # -- reading

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read bytes `start` to `end` of a file, where negative numbers count from the end.

        Shorter than asked for where the file ends.
        """
        if (start is None and end is None) or (start or 0) < 0 or (end is not None and end < 0):
            size = self.regular(path).size or 0
            start = max(0, size + start) if start is not None and start < 0 else start or 0
            end = size if end is None else max(0, size + end) if end < 0 else end
        start = start or 0
        if end is None:
            end = max(start, self.regular(path).size or 0)
        if end <= start:
            self.regular(path)  # a file that is not there is still an error
            return b""
        (data,) = self.read_many([(path, start, end)])
        if isinstance(data, OSError):
            raise data
        return data

    def read_many(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes | OSError]:
        """Read several ranges of files at once; a failed one is returned as its `OSError`."""
        out: list[bytes | OSError] = []
        buffers: list[bytearray] = []
        stops: list[int] = []
        refused: dict[int, OSError] = {}
        makes: list[Make] = []

        def fetch(index: int, path: str, base: int, start: int, end: int) -> Make:
            def keep(at: int, piece: bytes) -> None:
                buffers[index][at - base : at - base + len(piece)] = piece

            def short(at: int) -> None:
                stops[index] = min(stops[index], at - base)

            def task(pump: Pump) -> Task:
                try:
                    yield from fetch_range(pump, path, start, end, keep=keep, short=short)
                except Fault as fault:
                    refused[index] = os_error(fault, path)

            return task

        for index, (path, start, end) in enumerate(ranges):
            size = max(0, end - start)
            buffers.append(bytearray(size))
            stops.append(size)
            step = max(PIECE, -(-size // CHANNELS))
            makes += [
                fetch(index, path, start, at, min(end, at + step))
                for at in range(start, max(end, start + 1), step)
            ]
        self.all(makes)
        for index, buffer in enumerate(buffers):
            if index in refused:
                out.append(refused[index])
                continue
            del buffer[stops[index] :]
            out.append(bytes(buffer))
        return out

    # -- changing

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        """Make one folder; `FileExistsError` if something is there."""
        try:
            self.one(lambda _: _ask(wire.MKDIR, string(encode(path)) + Attrs(mode=mode).pack()))
        except OSError as err:
            try:  # SFTP 3 has no error code for this
                self.attrs(path, follow=False)
            except OSError:
                raise err from None
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from err

    def make_folders(self, paths: Iterable[str]) -> None:
        """Make folders and their parents as needed; existing ones are no error."""
        wanted: set[str] = set()
        for path in paths:
            while path not in ("", "/") and path not in wanted:
                wanted.add(path)
                path = path.rpartition("/")[0]  # noqa: PLW2901 - upwards
        ordered = sorted(wanted, key=lambda one: (one.count("/"), one))
        found = self.attrs_of(ordered)
        for path, attrs in zip(ordered, found, strict=True):
            if attrs is None:
                with contextlib.suppress(FileExistsError):
                    self.make_folder(path)
            elif not stat.S_ISDIR(attrs.mode or 0):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)

    def remove(self, path: str) -> None:
        """Delete a file or a link."""
        self.one(lambda _: _ask(wire.REMOVE, string(encode(path))))

    def remove_folder(self, path: str) -> None:
        """Delete an empty folder."""
        self.one(lambda _: _ask(wire.RMDIR, string(encode(path))))

    def remove_tree(self, root: str) -> None:
        """Delete a folder and its contents; links are deleted, never followed."""
        entries, problems = self.walk(root)
        if problems:
            raise problems[0]
        files = [f"{root}/{path}" for path, attrs, _ in entries if not stat.S_ISDIR(attrs.mode or 0)]
        folders = [f"{root}/{path}" for path, attrs, _ in entries if stat.S_ISDIR(attrs.mode or 0)]
        self.all([_remove(wire.REMOVE, path) for path in files], channels=1)
        for depth in sorted({path.count("/") for path in folders}, reverse=True):
            here = [path for path in folders if path.count("/") == depth]
            self.all([_remove(wire.RMDIR, path) for path in here], channels=1)
        self.remove_folder(root)

    def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        """Rename a file or folder; `FileExistsError` without `replace` if the new name exists."""
        if not replace:
            try:
                self.one(lambda _: _ask(wire.RENAME, string(encode(old)) + string(encode(new))))
            except OSError as err:
                self.attrs(old, follow=False)
                with contextlib.suppress(FileNotFoundError):
                    self.attrs(new, follow=False)
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from err
                raise
            return
        self.one(lambda pump: take_name(pump, old, new))

    def set_attrs(self, path: str, attrs: Attrs) -> None:
        """Set the mode or time of a path."""
        self.one(lambda _: _ask(wire.SETSTAT, string(encode(path)) + attrs.pack()))

    def stamp(self, path: str, attrs: Attrs) -> None:
        """Set the mode or time of a file that was written; if the host does not keep it, set `unkept`."""
        self.one(lambda _: self.stamping(path, attrs))

    def stamping(self, path: str, attrs: Attrs) -> Task:
        """The task of `stamp`."""
        try:
            yield Request(wire.SETSTAT, string(encode(path)) + attrs.pack())
        except Fault as fault:
            if fault.code == wire.NO_SUCH_FILE:
                raise
            self.unkept = self.unkept or fault.message

    def copy(self, old: str, new: str) -> bool:
        """Copy a file on the host itself; False if its server can't (``copy-data``)."""
        able = [False]

        def task(pump: Pump) -> Task:
            if b"copy-data" not in pump.extensions:
                return
            able[0] = True
            reading = yield open_file(old, READ)
            yield from closing(reading, copied(reading))

        def copied(reading: bytes) -> Task:
            writing = yield open_file(new, WRITE | CREATE | TRUNCATE)
            whole = bytes(16)  # from 0, to the end
            body = string(b"copy-data") + string(reading) + whole + string(writing) + bytes(8)
            yield from closing(writing, _ask(wire.EXTENDED, body))

        self.one(task)
        return able[0]


def not_a_file(found: Attrs, path: str) -> OSError:
    """The error for reading `path`, which is no regular file."""
    if stat.S_ISDIR(found.mode or 0):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return OSError(errno.EINVAL, "is a pipe, socket or device, and no file", path)


def _ask(kind: int, body: bytes) -> Task:
    yield Request(kind, body)


def _remove(kind: int, path: str) -> Make:
    return lambda _: _ask(kind, string(encode(path)))


def _real(keep: Callable[[str], None]) -> Task:
    names = yield Request(wire.REALPATH, string(b"."))
    text = names[0][0].decode("utf-8", "surrogateescape") if isinstance(names, list) and names else ""
    if not text.startswith("/") or "\0" in text:
        msg = f"the host's SFTP server says that its home is {text!r}"
        raise ProtocolError(msg)
    keep(text)

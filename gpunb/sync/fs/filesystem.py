"""Hosts as one fsspec filesystem: ``host/path``, over existing connections.

A subclass defines which hosts there are and how each is reached: this layer
knows no sessions. ``gpu://session/path`` is `gpunb.sessions.integrations.filesystem`.

A path begins at the host's home, as in ``gpunb sync``; one that begins at its
root has two slashes: ``box//data/x``. Nothing is remembered of a listing, for
jobs on the host write all the time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
import time
import warnings
from typing import TYPE_CHECKING, Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike, stringify_path

from gpunb.sync.fs.bulk import get_files, put_files
from gpunb.sync.fs.guard import HeldBack, without_held
from gpunb.sync.fs.listings import HostsListings, Moved
from gpunb.sync.fs.open_file import HostFile, beside, named
from gpunb.sync.sftp.host_files import not_a_file
from gpunb.sync.sftp.protocol import Attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.sync.sftp.host_files import HostFiles

__all__ = ["HeldBack", "HostsFileSystem", "Moved"]

READ_BLOCKS = 8  # kept of an open file: 32 MiB
COPY_PIECE = 16 * 2**20


class HostsFileSystem(HostsListings):
    """A filesystem of several hosts; the first name of a path is the host's.

    Subclasses write `connect` and `hosts`, and may write `moving`. Refusals of
    the host are `OSError` or a subclass; a host that can't be reached is a
    `gpunb.errors.HostError`. Reading is tried once more over a new connection
    if the first breaks.
    """

    # -- opening, bringing, sending

    def _open(  # noqa: PLR0917 - fsspec's
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        cache_type: str = "background",
        **kwargs: Any,
    ) -> HostFile:
        if mode == "rb" and cache_type == "background" and not cache_options:
            cache_options = {"maxblocks": READ_BLOCKS}
        return HostFile(
            self,
            path,
            mode,
            block_size or self.blocksize,
            autocommit=autocommit,
            cache_options=cache_options,
            cache_type=cache_type,
            **kwargs,
        )

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Fetch files from the host, many at once; each is renamed into place when complete.

        What could run on this side (`gpunb.sync.local.autorun`) does not come from a stranger's folder,
        unless it is named as `rpath` or by an `include` pattern; a `HeldBack` warning names it.
        """
        include = kwargs.pop("include", ())
        pairs = _Pairs(self)
        AbstractFileSystem.get(pairs, rpath, lpath, recursive=recursive, maxdepth=maxdepth, **kwargs)
        got = without_held(self, pairs.got, rpath, include)
        self._deal(got, "down", callback, get_files, left_out=_many(recursive, rpath))

    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Send files to the host, many at once; each is renamed into place when complete."""
        pairs = _Pairs(self)
        AbstractFileSystem.put(pairs, lpath, rpath, recursive=recursive, maxdepth=maxdepth, **kwargs)
        sent = [(remote, local) for local, remote in pairs.sent]
        self._deal(sent, "up", callback, put_files, left_out=_many(recursive, lpath))

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **kwargs: Any,
    ) -> None:
        """Fetch one file from the host, to a path or into an open file; a folder is only made."""
        if outfile is not None or isfilelike(lpath):
            super().get_file(rpath, lpath, callback=callback, outfile=outfile, **kwargs)
            return
        self._deal([(rpath, lpath)], "down", None, get_files, children=[callback])

    def put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **_: Any
    ) -> None:
        """Send one file to the host; a folder is only made."""
        if mode == "create" and self.exists(rpath):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), rpath)
        self._deal([(rpath, lpath)], "up", None, put_files, children=[callback])

    def _deal(
        self,
        pairs: Sequence[tuple[str, Any]],
        direction: str,
        callback: Any,
        move: Callable[..., int],
        *,
        children: list[Any] | None = None,
        left_out: list[str] | None = None,
    ) -> None:
        """Group the pairs ``(path on the host, local path)`` by host and call `move` for each host."""
        if callback is not None:
            callback.set_size(len(pairs))
        by_host: dict[str, list[int]] = {}
        named = [(self._strip_protocol(remote), stringify_path(local)) for remote, local in pairs]
        for index, (remote, _) in enumerate(named):
            by_host.setdefault(remote.partition("/")[0], []).append(index)
        for host, chosen in by_host.items():
            files = self.place(host)[0]
            with self.moving(host, direction, named[chosen[0]][0]) as moved, contextlib.ExitStack() as stack:
                jobs = []
                for index in chosen:
                    remote, local = named[index]
                    if children is not None:
                        child = children[index]
                    else:
                        ends = (remote, local) if direction == "down" else (local, remote)
                        child = stack.enter_context(callback.branched(*ends))
                    jobs.append((self.place(remote)[1], local, child))
                done = None if callback is None else callback.relative_update
                moved.bytes = move(files, jobs, done, left_out)
                moved.files = len(jobs)
            self.tell_unkept(files)
        if left_out:
            names = ", ".join(left_out[:5]) + (f" and {len(left_out) - 5} more" if len(left_out) > 5 else "")
            text = f"left out, as they are no files (pipes, devices, links to nothing): {names}"
            warnings.warn(text, UserWarning, stacklevel=3)

    # -- changing

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write a whole file, renamed into place when complete."""
        with self.open(path, "xb" if mode == "create" else "wb") as file:
            file.write(value)

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a folder; `FileExistsError` if something is there."""
        files, place = self.place(path)
        if create_parents:
            files.make_folders([place.rpartition("/")[0]])
        named(path, files.make_folder, place)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder and its parents."""
        files, place = self.place(path)
        if exist_ok:
            files.make_folders([place])
        else:
            self.mkdir(path)

    def rmdir(self, path: str) -> None:
        """Delete an empty folder."""
        files, place = self.place(path)
        named(path, files.remove_folder, place)

    def rm_file(self, path: str) -> None:
        """Delete one file or link."""
        files, place = self.place(path)
        named(path, files.remove, place)

    def _rm(self, path: str) -> None:
        self.rm(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete files; with `recursive`, also folders and their contents."""
        given = [path] if isinstance(path, (str, os.PathLike)) else list(path)
        if maxdepth is not None:
            for one in reversed(self.expand_path(given, recursive=recursive, maxdepth=maxdepth)):
                self.rmdir(one) if self.isdir(one) else self.rm_file(one)
            return
        for one in self.expand_path(given):
            files, place = self.place(one)
            _apart_from_home(files, place, one)
            attrs = named(one, files.own_attrs, place)
            if not stat.S_ISDIR(attrs.mode or 0):
                named(one, files.remove, place)
            elif recursive:
                named(one, files.remove_tree, place)
            else:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), one)

    def mv(
        self, path1: str, path2: str, recursive: bool = False, maxdepth: int | None = None, **_: Any
    ) -> None:
        """Rename on one host; between two hosts, copy and delete."""
        old, new = self._strip_protocol(path1), self._strip_protocol(path2)
        if old == new:
            return
        same = old.partition("/")[0] == new.partition("/")[0]
        if same and maxdepth is None and not self.isdir(new) and (recursive or not self.isdir(old)):
            files, place = self.place(old)
            _apart_from_home(files, place, old)
            goal = self.place(new)[1]
            files.make_folders([goal.rpartition("/")[0]])
            named(old, lambda one: files.rename(one, goal), place)
            return
        self.copy(old, path2, recursive=recursive, maxdepth=maxdepth, on_error="raise")
        self.rm(old, recursive=recursive)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy one file, on the host itself where possible; a folder is only made."""
        old, new = self._strip_protocol(path1), self._strip_protocol(path2)
        files, place = self.place(old)
        found = named(old, files.attrs, place)
        if stat.S_ISDIR(found.mode or 0):
            self.makedirs(new, exist_ok=True)
            return
        if not stat.S_ISREG(found.mode or 0):
            raise not_a_file(found, old)
        others, goal = self.place(new)
        others.make_folders([goal.rpartition("/")[0]])
        if files is others:
            part = beside(goal)
            try:
                if named(old, lambda one: files.copy(one, part), place):
                    files.rename(part, goal)
                    return
            except BaseException:
                with contextlib.suppress(OSError):
                    files.remove(part)
                raise
        with self.open(old, "rb", cache_type="none") as source, self.open(new, "wb") as target:
            while data := source.read(COPY_PIECE):
                target.write(data)

    def touch(self, path: str, truncate: bool = True, **_: Any) -> None:
        """Create an empty file, or with ``truncate=False`` set the time of an existing one."""
        files, place = self.place(path)
        if not truncate:
            with contextlib.suppress(FileNotFoundError):
                files.attrs(place)
                files.stamp(place, Attrs(mtime=int(time.time())))
                self.tell_unkept(files)
                return
        with self.open(path, "wb"):
            pass

    def chmod(self, path: str, mode: int) -> None:
        """Set the permission bits."""
        files, place = self.place(path)
        named(path, lambda one: files.set_attrs(one, Attrs(mode=mode & 0o7777)), place)


class _Pairs:
    """A filesystem that only records source and target pairs, by fsspec's own rules, and copies nothing."""

    def __init__(self, fs: HostsFileSystem) -> None:
        self._fs = fs
        self.got: list[tuple[str, Any]] = []
        self.sent: list[tuple[Any, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def get_file(self, rpath: str, lpath: Any, **_: Any) -> None:
        self.got.append((rpath, lpath))

    def put_file(self, lpath: Any, rpath: str, **_: Any) -> None:
        self.sent.append((lpath, rpath))


def _apart_from_home(files: HostFiles, place: str, path: str) -> None:
    """Refuse the home folder and its parents, which hold all outputs and ``authorized_keys``."""
    there = posixpath.normpath(place or "/").rstrip("/")
    if f"{files.home.rstrip('/')}/".startswith(f"{there}/"):
        msg = "the host's home, and what it lies in, are neither deleted nor renamed"
        raise PermissionError(errno.EPERM, msg, path)


def _many(recursive: bool, given: Any) -> list[str] | None:
    """A list for paths that are no regular files, or None if the user named a single path."""
    return [] if recursive or not isinstance(given, (str, os.PathLike)) or "*" in str(given) else None

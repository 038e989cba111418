"""Read access to several hosts for fsspec: paths, listings and content."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import warnings
import weakref
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar

from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path

from gpunb.errors import Unreachable
from gpunb.sync.fs.open_file import BLOCK, named
from gpunb.sync.planning.rules import PART
from gpunb.sync.sftp.host_files import HostFiles, not_a_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.ssh.connection import Connection
    from gpunb.sync.sftp.protocol import Attrs

__all__ = ["HostsListings", "Moved"]


class Moved:
    """What one transfer moved; updated while it runs."""

    def __init__(self) -> None:
        self.bytes = 0
        self.files = 0


class HostsListings(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The read-only half of `gpunb.sync.fs.filesystem.HostsFileSystem`."""

    protocol: ClassVar[str | tuple[str, ...]] = "gpunb-host"
    root_marker = ""
    cachable = True
    blocksize = BLOCK

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hosts: dict[str, HostFiles] = {}
        self._told: weakref.WeakSet[HostFiles] = weakref.WeakSet()
        self._opening = threading.RLock()
        self._owner = os.getpid()

    # -- what a subclass knows

    def connect(self, host: str) -> Connection:
        """Return a live connection to `host`; `FileNotFoundError` if there is no such host."""
        raise NotImplementedError

    def hosts(self) -> list[str]:
        """The names of all hosts."""
        raise NotImplementedError

    @contextlib.contextmanager
    def moving(self, host: str, direction: str, what: str) -> Iterator[Moved]:
        """Context manager around each `get` and `put`; `direction` is "up" to the host or "down" from it."""
        del host, direction, what
        yield Moved()

    def tell_unkept(self, files: HostFiles) -> None:
        """Warn once per host that it did not keep the mode or time of files it wrote."""
        why, files.unkept = files.unkept, ""
        if why and files not in self._told:
            self._told.add(files)
            text = (
                f"the host keeps no permissions or times there ({why}); the content is in place without them"
            )
            warnings.warn(text, UserWarning, stacklevel=2)

    def stranger(self, host: str) -> bool:
        """Whether `get` of a whole folder holds back files that could run on this machine."""
        del host
        return True

    def moved(self, host: str, direction: str, size: int) -> None:
        """Hook called after each read or write that `moving` does not cover."""

    # -- paths

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = stringify_path(path)
        for protocol in (cls.protocol,) if isinstance(cls.protocol, str) else cls.protocol:
            text = text.removeprefix(f"{protocol}://")
        host, slash, rest = text.partition("/")
        if rest.startswith("/"):  # from the host's root, which must not be taken for the home
            return f"{host}//{rest.strip('/')}"
        return f"{host}{slash}{rest}".rstrip("/")

    @classmethod
    def _parent(cls, path: str) -> str:
        path = cls._strip_protocol(path)
        above = path.rpartition("/")[0]
        return f"{above}/" if above.endswith("/") and not path.endswith("//") else above.rstrip("/")

    def unstrip_protocol(self, name: str) -> str:
        """Return the whole URL of a path."""
        protocol = self.protocol if isinstance(self.protocol, str) else self.protocol[0]
        return f"{protocol}://{self._strip_protocol(name)}"

    def place(self, path: str) -> tuple[HostFiles, str]:
        """Return the host of a path and the absolute path on it."""
        text = self._strip_protocol(path)
        host, _, rest = text.partition("/")
        if not host or "\0" in text:
            msg = f"path {path!r}: must be HOST/PATH"
            raise FileNotFoundError(errno.ENOENT, msg, path)
        files = self._files(host)
        if rest.startswith("/"):
            return files, rest
        return files, f"{files.home.rstrip('/')}/{rest}" if rest else files.home

    def _files(self, host: str) -> HostFiles:
        with self._opening:
            if self._owner != os.getpid():  # forked: the parent's connections are not ours
                self._hosts, self._owner = {}, os.getpid()
            files = self._hosts.get(host)
            if files is None or not files.alive():
                files = self._hosts[host] = HostFiles(self.connect(host))
            return files

    def again(self, path: str, ask: Callable[[HostFiles, str], Any]) -> Any:
        """Call a read-only request, and repeat it once if the connection broke."""
        try:
            return ask(*self.place(path))
        except Unreachable:
            return ask(*self.place(path))

    # -- looking

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a folder; ``""`` lists the hosts."""
        path = self._strip_protocol(path)
        if not path:
            found = [_folder(name) for name in self.hosts()]
        else:
            info = self.info(path)
            if info["type"] != "directory":
                found = [info]
            else:
                names = self.again(path, lambda files, place: files.listing(place))
                base = path if path.endswith("/") else f"{path}/"
                found = [_info(base + name, attrs, goal) for name, attrs, goal in names if not _part(name)]
        found.sort(key=lambda one: one["name"])
        return found if detail else [one["name"] for one in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return name, size, type, mode and mtime of a path; links are followed."""
        path = self._strip_protocol(path)
        if not path:
            return _folder("")
        attrs = self.again(path, lambda files, place: named(path, files.attrs, place))
        return _info(path, attrs, None)

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """List all files below `path`, many folders at once; links to folders are not entered."""
        path = self._strip_protocol(path)
        if not path:
            return super().find(path, maxdepth, withdirs, detail, **kwargs)
        if maxdepth is not None and maxdepth < 1:
            msg = "maxdepth must be at least 1"
            raise ValueError(msg)
        out: dict[str, dict[str, Any]] = {}
        try:
            top = self.info(path)
        except FileNotFoundError:
            return out if detail else []
        if top["type"] != "directory":
            out[path] = top
        else:
            entries, _ = self.again(path, lambda files, place: files.walk(place, depth=maxdepth))
            base = path if path.endswith("/") else f"{path}/"
            if withdirs:
                out[path] = top
            for name, attrs, goal in entries:
                info = _info(base + name, attrs, goal)
                if (withdirs or info["type"] != "directory") and not _part(name.rpartition("/")[2]):
                    out[info["name"]] = info
        return out if detail else list(out)

    def du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Bytes of the files below `path`, in total or for each, listing many folders at once."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True, **kwargs)
        sizes = {name: info["size"] for name, info in found.items()}
        return sum(sizes.values()) if total else sizes

    def modified(self, path: str) -> datetime:
        """Return the modification time, by the host's clock."""
        return datetime.fromtimestamp(self.info(path)["mtime"], tz=timezone.utc)

    def ukey(self, path: str) -> str:
        """Return a key that changes with the file's size or time."""
        info = self.info(path)
        return f"{info['name']}-{info['size']}-{info['mtime']}"

    def checksum(self, path: str) -> int:
        """Return the hash of `ukey`."""
        return hash(self.ukey(path))

    # -- reading

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the content of a file, or of a range of it."""
        path = self._strip_protocol(path)
        data: bytes = self.again(
            path, lambda files, place: named(path, lambda one: files.read(one, start, end), place)
        )
        self.moved(path.partition("/")[0], "down", len(data))
        return data

    def cat_ranges(
        self,
        paths: Sequence[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Read many ranges at once, of one host or several."""
        del max_gap, kwargs
        starts = starts if isinstance(starts, (list, tuple)) else [starts] * len(paths)
        ends = ends if isinstance(ends, (list, tuple)) else [ends] * len(paths)
        if len(starts) != len(paths) or len(ends) != len(paths):
            msg = "cat_ranges: as many starts and ends as paths"
            raise ValueError(msg)
        out: list[Any] = [None] * len(paths)
        plain: dict[str, list[int]] = {}
        for index, path in enumerate(paths):
            start, end = starts[index], ends[index]
            if end is not None and (start or 0) >= 0 and end >= 0:
                plain.setdefault(self._strip_protocol(path).partition("/")[0], []).append(index)
                continue
            try:
                out[index] = self.cat_file(path, start, end)
            except Exception as err:
                if on_error == "raise":
                    raise
                out[index] = err
        for host, chosen in plain.items():
            ranges = [(self.place(paths[i])[1], starts[i] or 0, ends[i]) for i in chosen]
            found = self.again(paths[chosen[0]], _reader(ranges))
            self.moved(host, "down", sum(len(one) for one in found if isinstance(one, bytes)))
            for index, one in zip(chosen, found, strict=True):
                if on_error == "raise" and isinstance(one, OSError):
                    raise one
                out[index] = one
        return out

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any) -> Any:
        """Return the content of one file, or a dict of path to content, read many at once."""
        paths = self.expand_path(path, recursive=recursive)
        single = isinstance(path, str) and paths == [self._strip_protocol(path)]
        if single or kwargs:
            return super().cat(path, recursive=recursive, on_error=on_error, **kwargs)
        by_host: dict[str, list[str]] = {}
        for one in paths:
            by_host.setdefault(one.partition("/")[0], []).append(one)
        wanted: list[str] = []
        ends: list[int] = []
        special: dict[str, Any] = {}
        for host, names in by_host.items():
            found = self._files(host).attrs_of(self.place(name)[1] for name in names)
            for name, attrs in zip(names, found, strict=True):
                if attrs is not None and not (stat.S_ISREG(attrs.mode or 0) or stat.S_ISDIR(attrs.mode or 0)):
                    if on_error == "raise":
                        raise not_a_file(attrs, name)
                    special[name] = not_a_file(attrs, name)
                elif attrs is None or not stat.S_ISDIR(attrs.mode or 0):
                    wanted.append(name)
                    ends.append(attrs.size or 0 if attrs else 0)
        out = {
            **dict(zip(wanted, self.cat_ranges(wanted, 0, ends, on_error="return"), strict=True)),
            **special,
        }
        for value in out.values():
            if isinstance(value, Exception) and on_error == "raise":
                raise value
        return {k: v for k, v in out.items() if on_error != "omit" or not isinstance(v, Exception)}


def _reader(ranges: list[tuple[str, int, int]]) -> Callable[[HostFiles, str], Any]:
    return lambda files, _: files.read_many(ranges)


def _part(name: str) -> bool:
    """Whether `name` is one of gpunb's partial files."""
    return name.startswith(PART)


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory", "mtime": 0, "mode": 0, "islink": False}


def _info(name: str, attrs: Attrs, goal: Attrs | None) -> dict[str, Any]:
    """Build fsspec's info; a link to a file has type "file", one to a folder "link"."""
    mode = attrs.mode or 0
    islink = stat.S_ISLNK(mode)
    shown = goal if islink and goal is not None else attrs
    mode = shown.mode or 0
    kind = "directory" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "other"
    if islink and kind != "file":
        kind = "link"
    size = (shown.size or 0) if kind == "file" else 0
    return {
        "name": name,
        "size": size,
        "type": kind,
        "mode": mode,
        "mtime": shown.mtime or 0,
        "islink": islink,
    }

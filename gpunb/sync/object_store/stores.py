"""The interface of an object store for sync: list, read, write, and sign URLs.

A signed URL opens one object for some minutes. It is all that a host is given;
the keys that sign stay here. `gpunb.sync.object_store.drivers` lists which store can sign what.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gpunb.errors import BadInput, SyncError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "LIFE_S",
    "PART",
    "PIECE",
    "Multipart",
    "Signed",
    "Store",
    "Stored",
    "first_line",
    "is_near",
    "part_size",
    "refused",
    "told",
    "unix",
    "without_login",
]

LIFE_S = 900
"""How long a signed URL opens, seconds. It must only live until its transfer begins."""

PIECE = 8 * 2**20
PART = 32 * 2**20
"""Least bytes of one part of an upload in parts; a file of up to two goes whole."""
_MOST_PARTS = 9000  # S3 takes 10,000
_TAGS = ("ETag", "etag", "md5Hash", "oid", "content_md5")  # as the drivers call them
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True, slots=True)
class Stored:
    """One object. `path` is relative to the URL; `tag` and `mtime` (Unix seconds) if the store has them."""

    path: str
    size: int
    tag: str = ""
    mtime: int | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Signed:
    """A URL for one object, with the headers it needs. A `secret` one gives access to more than that."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    secret: Mapping[str, str] = field(default_factory=dict, repr=False)


def part_size(size: int) -> int:
    """The part size in bytes for an upload of `size` bytes."""
    return max(PART, -(-size // _MOST_PARTS))


class Multipart:
    """A multipart upload: each part is signed separately, and gpunb completes it."""

    def __init__(self, size: int, part: int) -> None:
        self.ranges = [(at, min(size, at + part)) for at in range(0, size, part)]

    def sign(self, number: int) -> Signed:
        """Sign the URL for part `number`, from 0."""
        raise NotImplementedError

    def finish(self, tags: list[str]) -> None:
        """Complete the upload; `tags` are the object store's answers to the parts."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Abort the upload: parts that are left behind are billed."""
        raise NotImplementedError


class Store:
    """One URL of an object store, through fsspec."""

    signs_reading = False
    signs_writing = False

    def __init__(self, url: str, fs: Any, root: str) -> None:
        self.url, self.fs = url, fs
        self.root = root.rstrip("/")
        self.title = without_login(url)

    def __enter__(self) -> Store:  # noqa: PYI034 - the subclasses add nothing here
        return self

    def __exit__(self, *_: object) -> None:
        """Close open connections."""

    def find(self) -> tuple[bool, list[Stored]]:
        """Return whether the URL is one single object, and all objects below it."""
        with told(self.title):
            if not self.url.endswith("/"):
                with contextlib.suppress(FileNotFoundError):
                    info = self.fs.info(self.root)
                    if info["type"] == "file":
                        return True, [self._stored(info, self.root.rpartition("/")[2])]
            found = self.fs.find(self.root, detail=True)
            base = f"{self.root}/"
            return False, [
                self._stored(info, name.removeprefix(base))
                for name, info in sorted(found.items())
                if info["type"] == "file" and name.startswith(base) and not name.endswith("/")
            ]

    def check_writable(self) -> None:
        """Raise if the bucket does not exist."""
        with told(self.title), contextlib.suppress(PermissionError):  # writing may be all that is allowed
            top = self.root.partition("/")[0]
            if top and not self.fs.exists(top):
                raise FileNotFoundError(top)

    def key(self, path: str) -> str:
        """The driver's key for `path` below the URL."""
        return f"{self.root}/{path}" if path else self.root

    def stored(self, key: str) -> Stored | None:
        """Return the object as it is now; None if it does not exist."""
        with told(self.title):
            self.fs.invalidate_cache()
            try:
                return self._stored(self.fs.info(key), "")
            except FileNotFoundError:
                return None

    def read(self, item: Stored, start: int) -> Iterator[bytes]:
        """Yield the content from byte `start`, in pieces."""
        while start < item.size:
            end = min(item.size, start + PIECE)
            data = self.fs.cat_file(item.key, start=start, end=end)
            if len(data) != end - start:
                msg = f"{item.key} became shorter while it was read"
                raise SyncError(msg)
            yield data
            start = end

    def write(self, key: str, size: int, pieces: Iterator[bytes]) -> None:
        """Write a new object from `pieces`; if they fail, no object is left."""
        if type(self) is Store:  # no other store has folders, and some would make a bucket
            with contextlib.suppress(Exception):  # the write below reports the error
                self.fs.makedirs(key.rpartition("/")[0], exist_ok=True)
        file = self.fs.open(key, "wb", block_size=part_size(size))
        try:
            for piece in pieces:
                file.write(piece)
        except BaseException:
            with contextlib.suppress(Exception):  # the error of `pieces` is the one to report
                file.discard()
            with contextlib.suppress(Exception):
                file.closed = True  # closing would create an object from the incomplete data
            raise
        file.close()

    def sign_read(self, item: Stored) -> Signed:
        """Sign a URL that reads one object."""
        raise NotImplementedError

    def sign_write(self, key: str) -> Signed:
        """Sign a URL that writes one object."""
        raise NotImplementedError

    def multipart(self, key: str, size: int) -> Multipart | None:
        """Start a multipart upload, if the object store supports it and the size needs it."""
        del key, size
        return None

    def _stored(self, info: Mapping[str, Any], path: str) -> Stored:
        tag = next((str(info[name]) for name in _TAGS if info.get(name)), "")
        when = next((info[name] for name in _TIMES if info.get(name)), None)
        return Stored(path, int(info["size"] or 0), tag, unix(when), str(info["name"]))


def without_login(url: str) -> str:
    """Remove the user name and password from a URL, so that it may be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url


def is_near(url: str) -> bool:
    """Whether a URL's host is known in this network only (loopback, private, ``.local``)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith((".local", ".localhost", ".internal", ".lan")):
        return True
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(not ipaddress.ip_address(str(one).partition("%")[0]).is_global for one in found)


@contextlib.contextmanager
def told(title: str) -> Iterator[None]:
    """Convert a driver's errors to gpunb's."""
    import httpx

    try:
        yield
    except FileNotFoundError as err:
        msg = f"{title}: is not there"
        raise BadInput(msg, hint="check the name of the bucket and the path") from err
    except PermissionError as err:
        msg = f"{title}: no permission: {first_line(err)}"
        raise SyncError(
            msg, hint="check which account and key the driver finds, and what they may do"
        ) from err
    except httpx.HTTPError as err:
        msg = f"{title}: {first_line(err) or type(err).__name__}"
        raise SyncError(msg) from err
    except (BadInput, SyncError):
        raise
    except Exception as err:
        if type(err).__name__ in ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"):
            msg = f"{title}: no credentials were found for it here"
            hint = "log in with the store's own tool, or set its environment variables"
            raise SyncError(msg, hint=f"{hint}; FSSPEC_S3_ANON=true for a public bucket") from err
        msg = f"{title}: {type(err).__name__}: {first_line(err)}"
        raise SyncError(msg) from err


def refused(title: str, status: int) -> SyncError | BadInput:
    """Convert a server's HTTP status to an error."""
    words = {401: "wants a login", 403: "no permission (or the URL has expired)", 404: "is not there"}
    msg = f"{title}: {words.get(status, 'its server refused')} (HTTP {status})"
    return BadInput(msg) if status == 404 else SyncError(msg)


def first_line(err: BaseException) -> str:
    """The first line of an error's text."""
    return str(err).strip().partition("\n")[0][:300]


def unix(when: Any) -> int | None:
    """Convert an object store's time, in any form, to Unix seconds; None if there is none."""
    if isinstance(when, (int, float)):
        return int(when)
    if isinstance(when, str):
        from email.utils import parsedate_to_datetime

        for parse in (datetime.fromisoformat, parsedate_to_datetime):
            with contextlib.suppress(ValueError, TypeError):
                when = parse(when.replace("Z", "+00:00") if "T" in when[:11] else when)
                break
    return int(when.timestamp()) if isinstance(when, datetime) else None

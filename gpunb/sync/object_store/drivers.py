"""Object store drivers: S3, GCS, Azure, Hugging Face and HTTP; any other scheme uses fsspec.

Which of them can sign what:

====================== ============== ==============================
scheme                 reading        writing
====================== ============== ==============================
``s3``                 signed         signed, large files in parts
``gs``                 signed         signed
``az``, ``abfs``       signed         through here
``hf``                 signed         through here
``http``, ``https``    the URL itself ``PUT`` to the URL itself
others                 through here   through here
====================== ============== ==============================
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from gpunb.errors import BadInput, SyncError
from gpunb.hints import typed
from gpunb.sync.object_store.stores import (
    LIFE_S,
    PIECE,
    Multipart,
    Signed,
    Store,
    Stored,
    first_line,
    part_size,
    refused,
    told,
    unix,
    without_login,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["open_store"]

_DRIVERS = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hf": "huggingface_hub",
}

# this machine, or files within files of it
_HERE = {"gpu", "file", "local", "dir", "reference", "cached", "blockcache", "filecache", "simplecache"}
_HERE |= {"zip", "tar", "libarchive", "generic", "async_wrapper", "git"}

_EXTRAS = {"s3fs": "s3", "gcsfs": "gs", "adlfs": "az", "huggingface_hub": "hf"}


class S3Store(Store):
    """S3 and compatible object stores; URLs are signed by botocore, through s3fs's client."""

    signs_reading = signs_writing = True

    def __exit__(self, *_: object) -> None:
        """Close the client, which s3fs leaves to the garbage collector."""
        from fsspec.asyn import sync

        client = getattr(self.fs, "_s3", None)
        if client is not None:
            with contextlib.suppress(Exception):  # nothing is lost with it
                sync(self.fs.loop, client.close, timeout=5)

    def check_writable(self) -> None:
        """Raise if the bucket does not exist."""
        with told(self.title), contextlib.suppress(PermissionError):
            self.fs.call_s3("head_bucket", Bucket=self.fs.split_path(self.root)[0])

    def sign_read(self, item: Stored) -> Signed:
        """Sign a URL for ``GetObject``."""
        return Signed(self.fs.url(item.key, expires=LIFE_S))

    def sign_write(self, key: str) -> Signed:
        """Sign a URL for ``PutObject``."""
        return Signed(self.fs.url(key, expires=LIFE_S, client_method="put_object"))

    def multipart(self, key: str, size: int) -> Multipart | None:
        """Start a multipart upload for a file of more than two parts."""
        part = part_size(size)
        return _S3Parts(self.fs, key, size, part) if size > 2 * part else None


class _S3Parts(Multipart):
    def __init__(self, fs: Any, key: str, size: int, part: int) -> None:
        super().__init__(size, part)
        self._fs, self._key = fs, key
        bucket, name, _ = fs.split_path(key)
        self._names = {"Bucket": bucket, "Key": name}
        self._id = fs.call_s3("create_multipart_upload", **self._names)["UploadId"]

    def sign(self, number: int) -> Signed:
        options = {"client_method": "upload_part", "UploadId": self._id, "PartNumber": number + 1}
        return Signed(self._fs.url(self._key, expires=LIFE_S, **options))

    def finish(self, tags: list[str]) -> None:
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        self._fs.call_s3(
            "complete_multipart_upload",
            **self._names,
            UploadId=self._id,
            MultipartUpload={"Parts": parts},
        )

    def abandon(self) -> None:
        self._fs.call_s3("abort_multipart_upload", **self._names, UploadId=self._id)


class GcsStore(Store):
    """Google Cloud Storage; URLs are signed with ``google-cloud-storage``, if the account's key can sign."""

    signs_reading = signs_writing = True

    def sign_read(self, item: Stored) -> Signed:
        """Sign a V4 URL for ``GET``."""
        return Signed(self.fs.sign(item.key, expiration=LIFE_S, version="v4", method="GET"))

    def sign_write(self, key: str) -> Signed:
        """Sign a V4 URL for ``PUT``: up to 5 TiB in one request."""
        return Signed(self.fs.sign(key, expiration=LIFE_S, version="v4", method="PUT"))


class AzureStore(Store):
    """Azure Blob Storage; adlfs signs for reading only."""

    signs_reading = True

    def sign_read(self, item: Stored) -> Signed:
        """Sign a URL with a shared access signature for one blob."""
        return Signed(self.fs.sign(item.key, expiration=LIFE_S))


class HubStore(Store):
    """Hugging Face's hub: it answers with a short-lived URL of its own storage."""

    signs_reading = True

    def sign_read(self, item: Stored) -> Signed:
        """Return the URL that the hub redirects to; the token is sent to the hub only."""
        import httpx

        url = self.fs.url(item.key)
        token = getattr(self.fs, "token", None)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = httpx.head(url, headers=headers, follow_redirects=False, timeout=30)
        place = answer.headers.get("location", "")
        if answer.is_redirect and urlsplit(place).scheme == "https":
            return Signed(place)
        if answer.is_success or answer.is_redirect:  # a small file, which the hub serves itself
            return Signed(url, secret=headers)
        raise refused(url, answer.status_code)


class HttpStore(Store):
    """One file behind a plain URL; a user and password in it become a secret header."""

    signs_reading = signs_writing = True

    def __init__(self, url: str) -> None:
        import httpx

        parts = urlsplit(url)
        if not parts.hostname:
            msg = f"url {url!r}: names no host"
            raise BadInput(msg)
        host = parts.hostname if ":" not in parts.hostname else f"[{parts.hostname}]"
        place = f"{host}:{parts.port}" if parts.port else host
        self.url = parts._replace(netloc=place, fragment="").geturl()
        self.title = f"{parts.scheme}://{place}{parts.path}"  # a query may be a signature
        self.root = unquote(parts.path).rstrip("/").rpartition("/")[2]
        self.fs = None
        self._secret: dict[str, str] = {}
        if parts.username is not None:
            auth = httpx.BasicAuth(unquote(parts.username), unquote(parts.password or ""))
            request = next(auth.sync_auth_flow(httpx.Request("GET", self.url)))
            self._secret = {"Authorization": request.headers["Authorization"]}
        self._client = httpx.Client(follow_redirects=True, timeout=60, headers=self._secret)

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def find(self) -> tuple[bool, list[Stored]]:
        """Return the one file, as its server describes it."""
        if not self.root or urlsplit(self.url).path.endswith("/"):
            raise self._a_folder()
        stored = self.stored(self.url)
        if stored is None:
            raise refused(self.title, 404)
        return True, [stored]

    def _a_folder(self) -> BadInput:
        msg = f"{self.title}: names no file; a web server's folders are not listed"
        return BadInput(msg, hint="name the files one by one")

    def check_writable(self) -> None:
        """Do nothing: only the ``PUT`` itself can fail."""

    def key(self, path: str) -> str:
        """Return the URL itself, as it holds one file."""
        del path
        return self.url

    def stored(self, key: str) -> Stored | None:
        """Describe the file by a ``HEAD``, or by a ``GET`` of the first byte where ``HEAD`` is refused."""
        with told(self.title):
            answer = self._client.head(key)
            if answer.status_code in (403, 405, 501):  # a URL signed for GET takes no HEAD
                with self._client.stream("GET", key, headers={"Range": "bytes=0-0"}) as answer:
                    pass
        if answer.status_code == 404:
            return None
        if answer.status_code not in (200, 206):
            raise refused(self.title, answer.status_code)
        if answer.url.path.endswith("/") and answer.headers.get("content-type", "").startswith("text/html"):
            raise self._a_folder()  # redirected to a page that lists a folder
        headers = answer.headers
        size = headers.get("content-range", "").rpartition("/")[2] if answer.status_code == 206 else ""
        size = size or headers.get("content-length", "")
        if not size.isdecimal() or headers.get("content-encoding", "identity") != "identity":
            msg = f"{self.title}: its server does not say how long the file is"
            raise SyncError(msg, hint="fetch it with `" + typed("exec curl -O URL") + "`")
        tag = headers.get("etag", "")
        tag = "" if tag.startswith("W/") else tag
        return Stored(self.root, int(size), tag, unix(headers.get("last-modified")), self.url)

    def read(self, item: Stored, start: int) -> Iterator[bytes]:
        """Stream the content, from `start` if the server supports ranges."""
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if item.tag:
                headers["If-Range"] = item.tag
        with self._client.stream("GET", item.key, headers=headers) as answer:
            if answer.status_code not in (200, 206):
                raise refused(self.title, answer.status_code)
            skip = start if answer.status_code == 200 else 0
            for piece in answer.iter_bytes(PIECE):
                if skip >= len(piece):
                    skip -= len(piece)
                    continue
                yield piece[skip:]
                skip = 0

    def write(self, key: str, size: int, pieces: Iterator[bytes]) -> None:
        """Stream the content in one ``PUT``."""
        answer = self._client.put(key, content=pieces, headers={"Content-Length": str(size)})
        if not answer.is_success:
            raise refused(self.title, answer.status_code)

    def sign_read(self, item: Stored) -> Signed:
        """Return the URL as it was given."""
        return Signed(item.key, secret=self._secret)

    def sign_write(self, key: str) -> Signed:
        """Return the URL as it was given."""
        return Signed(key, secret=self._secret)


def open_store(url: str, options: Mapping[str, Any] | None = None) -> Store:
    """Open the object store of a URL.

    Credentials are found where its driver looks for them: environment,
    profiles, fsspec's own configuration.

    Parameters
    ----------
    options
        For the driver, over what it finds by itself.

    Raises
    ------
    BadInput
        An unknown scheme, or one whose driver is not installed; names the extra.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        return HttpStore(url)
    driver = _DRIVERS.get(scheme)
    if driver is not None and importlib.util.find_spec(driver) is None:
        msg = f"{scheme}://: needs the package {driver}, which is not installed"
        raise BadInput(msg, hint=f"pip install 'gpunb[{_EXTRAS[driver]}]' (or gpunb[cloud] for all of them)")
    if scheme in _HERE:
        msg = f"{scheme}://: is not a cloud's store"
        raise BadInput(msg, hint="write the host's side as :path or session:path, and a path here as it is")
    import fsspec
    from fsspec.core import url_to_fs

    if scheme not in fsspec.available_protocols():
        msg = f"{scheme}://: no store of that name is known"
        raise BadInput(msg, hint="s3://, gs://, az://, hf://, http(s)://, or any scheme that fsspec knows")
    try:
        given = dict(options or {})
        given["skip_instance_cache"] = True
        if driver is not None:  # other drivers pass unknown options on to a library that may refuse them
            given["use_listings_cache"] = False
        if driver == "s3fs":  # botocore would still sign URLs with version 2, which new regions refuse
            given["config_kwargs"] = {"signature_version": "s3v4", **(given.get("config_kwargs") or {})}
        # the URL names more than a path: a host, a user, an organisation
        fs, root = url_to_fs(url, **given)
    except ImportError as err:
        msg = f"{scheme}://: its driver is not installed: {err}"
        raise BadInput(msg, hint="install what the message names, where gpunb runs") from err
    except (OSError, EOFError) as err:
        msg = f"{without_login(url)}: can't be reached: {first_line(err) or type(err).__name__}"
        raise SyncError(msg, hint="check the host's name, your network and your login") from err
    except Exception as err:
        missing = re.findall(r"'(\w+)'", str(err)) if isinstance(err, TypeError) else []
        if missing and "missing" in str(err):
            msg = f"{without_login(url)}: names no {', '.join(missing)}"
            raise BadInput(msg, hint=f"fsspec's page on {scheme} says what such a URL names") from err
        msg = f"{without_login(url)}: its driver could not be set up: {first_line(err) or type(err).__name__}"
        raise BadInput(msg, hint=f"fsspec's page on {scheme} says what such a URL names") from err
    kinds = {"s3fs": S3Store, "gcsfs": GcsStore, "adlfs": AzureStore, "huggingface_hub": HubStore}
    return kinds.get(driver or "", Store)(url, fs, root)

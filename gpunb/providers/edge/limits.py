"""Limits on the size and duration of a server's answer, where httpx has none.

httpx's timeouts are for one read: a server that drips a byte of its headers
now and then can hold a call without end. It also undoes any number of nested
compressions, each a thousandfold. Here each read is bounded by the call's total
time, and only one compression is undone, in small steps.
"""

from __future__ import annotations

import contextlib
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any

import httpcore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Generator, Iterator

    import httpx

__all__ = ["TooComplexError", "TooLargeError", "check_shape", "hold_to_time", "unpacked", "within"]

# Values in one answer. A list of 10,000 offers with 85 fields each has fewer;
# `[[],[],...` takes 20 times its size in memory.
_MOST_VALUES = 1_000_000
_STEP = 2**16

_time = threading.local()


class TooLargeError(Exception):
    """The answer is larger than the bound."""


class TooComplexError(ValueError):
    """The answer is JSON with too many values."""


@contextlib.contextmanager
def within(seconds: float) -> Generator[None, None, None]:
    """Limit a request: all its reads and writes on this thread end `seconds` from now."""
    before = getattr(_time, "until", None)
    _time.until = time.monotonic() + seconds
    try:
        yield
    finally:
        _time.until = before


def hold_to_time(client: httpx.Client) -> None:
    """Make `client`'s connections, also those through a proxy, obey `within`."""
    mounts = getattr(client, "_mounts", {}).values()
    for transport in [getattr(client, "_transport", None), *mounts]:
        pool = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore.ConnectionPool):
            # there is no public way to give httpx's own pool another backend
            pool._network_backend = _Backend(pool._network_backend)  # noqa: SLF001


def unpacked(response: httpx.Response, bound: int) -> Iterator[bytes]:
    """Return the body's bytes, at most `bound`, decompressed at most once.

    Raises
    ------
    TooLargeError
        There are more.
    ValueError
        It is compressed in a way that was not asked for, or damaged.
    """
    if response.is_stream_consumed:  # an in-process cloud: it is in memory already
        parts: Iterator[bytes] = iter([response.content])
    else:
        encodings = response.headers.get("content-encoding", "").lower().replace(" ", "")
        if encodings in ("", "identity"):
            parts = response.iter_raw()
        elif encodings in ("gzip", "x-gzip", "deflate"):
            parts = _inflated(response.iter_raw())
        else:
            msg = f"it is compressed as {encodings[:60]!r}, gpunb asked for gzip"
            raise ValueError(msg)
    size = 0
    for part in parts:
        size += len(part)
        if size > bound:
            raise TooLargeError
        yield part


def check_shape(body: bytes) -> None:
    """Refuse JSON that would take a multiple of its size in memory.

    Raises
    ------
    TooComplexError
    """
    values = sum(body.count(sign) for sign in (b",", b"[", b"{"))
    if values > _MOST_VALUES:
        msg = f"about {values} values, more than {_MOST_VALUES}"
        raise TooComplexError(msg)


def _inflated(parts: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(wbits=47)  # gzip's header or zlib's
    try:
        for part in parts:
            rest = part
            while rest and not inflate.eof:
                yield inflate.decompress(rest, _STEP)
                rest = inflate.unconsumed_tail
        if not inflate.eof:
            msg = "its compression is damaged: it ends too early"
            raise ValueError(msg)
    except zlib.error as err:
        msg = f"its compression is damaged: {err}"
        raise ValueError(msg) from err


def _left(timeout: float | None, late: Callable[[str], Exception]) -> float | None:
    until: float | None = getattr(_time, "until", None)
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        msg = "the call's time is over"
        raise late(msg)
    return left if timeout is None else min(timeout, left)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **more: Any
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left, *args, **more))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, *args: Any, **more: Any
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_unix_socket(path, left, *args, **more))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

"""Frames: the format of all messages between agent and client, and of the journal.

A frame is a fixed header and a body::

    u32 length of the body    u32 CRC-32 of the body    u64 record number    (big endian)
    body = u32 length of the head | head (JSON object, UTF-8) | payload (raw bytes)

The record number is 0 for requests and answers; records of a run count from
1. A run's journal is the concatenation of its record frames, so the agent
sends what it wrote, byte for byte. ``head["b"]`` lists the lengths of the
parts that the payload is made of.

Client to agent::

    {"t": "req", "id": 7, "op": "run.cell", ...}

Agent to client::

    {"t": "res", "id": 7, ...}                    the answer
    {"t": "err", "id": 7, "code": ..., "msg": ...}
    {"t": "rec", "run": ..., "k": ..., "ts": ...}   a record, see below
    {"t": "note", "k": ...}                       not journaled: lease warnings, "run-ended", "telemetry"

Kinds of records (``k``): ``start``, ``stream`` (``seg`` lists stream names and
byte lengths in the order printed), ``msg`` (a Jupyter IOPub message: ``type``;
parts are content, metadata, buffers), ``input`` (the cell asks), ``answered``,
``comm`` (a comm message is in ``part`` under number ``n``, see `comms`),
``lost`` (bytes that could not be stored, with the reason), ``trimmed`` (records
from number ``from`` to its own are no longer kept: ``bytes``, ``why``) and ``end``
(``state``, ``exit``, ``why``). Every request may be sent twice: runs are named
by the client, so a request repeated after a reconnect starts nothing twice.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

VERSION = 1

HEADER = struct.Struct(">IIQ")
_U32 = struct.Struct(">I")

MAX_HEAD = 1 << 20
MAX_BODY = 256 << 20

END_STATES = frozenset(["ok", "error", "cancelled", "timeout", "died"])


class FrameError(Exception):
    """Bytes that are not a frame, or one beyond the limits."""


def encode(head: Mapping[str, Any], parts: Sequence[Any] = (), number: int = 0) -> bytes:
    """Encode one frame.

    Parameters
    ----------
    head
        A JSON-able mapping; ``"b"`` is set from `parts` if there are any.
    parts
        Bytes-like objects that make up the payload.
    number
        The record number, 0 for what is not a record.
    """
    if parts:
        head = dict(head, b=[len(part) for part in parts])
    text = json.dumps(head, separators=(",", ":")).encode("utf-8")
    body = b"".join([_U32.pack(len(text)), text, *parts])
    if len(text) > MAX_HEAD or len(body) > MAX_BODY:
        raise FrameError("a frame of %d bytes is over the limit of %d" % (len(body), MAX_BODY))
    return HEADER.pack(len(body), zlib.crc32(body), number) + body


def decode_body(body: bytes) -> tuple[dict[str, Any], memoryview]:
    """Decode head and payload of a frame's body; the payload is a memoryview."""
    if len(body) < 4:
        raise FrameError("a frame's body of %d bytes has no head" % len(body))
    (size,) = _U32.unpack_from(body)
    if size > MAX_HEAD or size > len(body) - 4:
        raise FrameError("a frame's head claims %d bytes of %d" % (size, len(body)))
    try:
        head = json.loads(bytes(body[4 : 4 + size]).decode("utf-8"))
    except (ValueError, RecursionError) as err:
        raise FrameError("a frame's head is not JSON: %s" % str(err)[:200]) from None
    if not isinstance(head, dict):
        msg = "a frame's head is not an object"
        raise FrameError(msg)
    return head, memoryview(body)[4 + size :]


def parts_of(head: Mapping[str, Any], payload: memoryview) -> list[memoryview]:
    """Split the payload into the parts that ``head["b"]`` lists."""
    lengths = head.get("b", [])
    if not isinstance(lengths, list) or not all(isinstance(n, int) and n >= 0 for n in lengths):
        raise FrameError("a frame's part lengths are %r" % (lengths,))
    if sum(lengths) != len(payload):
        raise FrameError("a frame's parts sum to %d of %d bytes" % (sum(lengths), len(payload)))
    out = []
    at = 0
    for length in lengths:
        out.append(payload[at : at + length])
        at += length
    return out


class Decoder:
    """Decodes frames from a stream of bytes that arrives in any pieces.

    Parameters
    ----------
    max_body
        Bytes; a frame that claims more raises `FrameError` before it is read.
    keep
        Bytes of a body that are held in memory. Of a longer one only the head
        is kept: it comes without its payload, with ``head["dropped"]`` for
        the bytes that were read over.
    """

    def __init__(self, max_body: int = MAX_BODY, keep: int = MAX_BODY) -> None:
        self._max_body = max_body
        self._keep = max(keep, MAX_HEAD + 4)
        self._buffer = bytearray()
        self._long: _Long | None = None

    def feed(self, data: bytes) -> Iterator[tuple[int, dict[str, Any], memoryview]]:
        """Add `data`; yield ``(number, head, payload)`` for each whole frame."""
        self._buffer += data
        at = 0
        try:
            while True:
                if self._long is not None:
                    at += self._long.take(bytes(memoryview(self._buffer)[at:]))
                    if not self._long.over:
                        return
                    whole, self._long = self._long.frame(), None
                    yield whole
                if len(self._buffer) - at < HEADER.size:
                    return
                size, crc, number = HEADER.unpack_from(self._buffer, at)
                start = at + HEADER.size
                if size > self._max_body:
                    raise FrameError("a frame claims %d bytes, over the limit of %d" % (size, self._max_body))
                if size > self._keep:
                    self._long, at = _Long(size, crc, number), start
                    continue
                if len(self._buffer) - start < size:
                    return
                body = bytes(memoryview(self._buffer)[start : start + size])
                if zlib.crc32(body) != crc:
                    msg = "a frame's checksum is wrong"
                    raise FrameError(msg)
                at = start + size
                head, payload = decode_body(body)
                yield number, head, payload
        finally:
            del self._buffer[:at]

    @property
    def pending(self) -> int:
        """Number of bytes of an unfinished frame."""
        return len(self._buffer)


class _Long:
    """A frame that is too long for memory: its head is kept, its payload only checksummed."""

    def __init__(self, size: int, crc: int, number: int) -> None:
        self._size = size
        self._crc = crc
        self._number = number
        self._sum = 0
        self._read = 0
        self._start = b""

    @property
    def over(self) -> bool:
        return self._read == self._size

    def take(self, data: bytes) -> int:
        """Consume the bytes that belong to the frame; return their number."""
        part = data[: self._size - self._read]
        self._read += len(part)
        self._sum = zlib.crc32(part, self._sum)
        if len(self._start) < MAX_HEAD + 4:
            self._start += part[: MAX_HEAD + 4 - len(self._start)]
        return len(part)

    def frame(self) -> tuple[int, dict[str, Any], memoryview]:
        if self._sum != self._crc:
            msg = "a frame's checksum is wrong"
            raise FrameError(msg)
        head, _ = decode_body(self._start)
        head.pop("b", None)
        return self._number, dict(head, dropped=self._size), memoryview(b"")

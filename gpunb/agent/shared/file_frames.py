"""Frames of a file transfer and the encoding of their content: the same code at both ends.

A frame is a u32 length, one byte for its kind, and so many bytes. The client
sends requests, the host's `files` answers in the same order:

    J  JSON call -> J JSON answer       L  list one folder -> L
    T  walk a tree -> L ... Z           G  small files -> S
    R  a range of a file -> P ... R     H  digests of a file's blocks -> H ... Z
    W  small files, written             D  a piece of a large file, written
    Q  a number -> Q the same number, when all before it is done

W and D have no answer; their failures come as X before the next Q, and as K
the number of files written without their mode or time, and why.
Pieces (P, D) and bundles (S, W) begin with a byte for their compression.
"""

from __future__ import annotations

import importlib
import struct
import zlib
from typing import Any

FRAME = struct.Struct(">IB")
# times are two numbers, seconds and nanoseconds: in one of 64 bits nothing before 1677 or after 2262 fits
ENTRY = struct.Struct(">BHQqIQQHH")  # kind, mode, size, mtime, bytes of data, inode, lengths of name and goal
WANT = struct.Struct(">HQqIQ")  # length of path, size, mtime, inode: a file as it was listed
GIVE = struct.Struct(">HHqII")  # length of path, mode, mtime, size: a file to be written
DATA = struct.Struct(">IQH")  # number, offset, length of path
RANGE = struct.Struct(">QQBHQqIQ")  # offset, length, compress, then WANT
CONTENT = struct.Struct(
    ">BIqI"
)  # AS_LISTED and the size, REFUSED and the length of a reason, or NEWER with mtime
AS_LISTED, REFUSED, NEWER = 0, 1, 2
# from host to host
NO = b"gpunb-direct: no such line"
HERE = "/gpunb-direct"  # placeholder in `argv` for the folder with the key
TAKE = struct.Struct(">IQQH")  # number, start, end, length of path (0: discard)

FILE, FOLDER, LINK, SPECIAL = 102, 100, 108, 115
SMALL = 1 << 19  # bytes up to which a file goes whole, in a bundle
PIECE = 1 << 20  # bytes of a large file in one frame
BLOCK = 1 << 18  # bytes per digest in a comparison
DIGEST = 16
SHORT = "a listing that ends too early"
CHANGED = "it changed while it was read"

NS = 10**9
MOST_NEWER = 8 << 20  # bytes by which a bundle may be longer than it was listed

PLAIN, ZLIB, ZSTD = 0, 1, 2


def zstd() -> Any:
    """Return ``(compress, decompress)`` of zstd, or None: Python's own from 3.14 on, else zstandard's."""
    try:
        own: Any = importlib.import_module("compression.zstd")
    except ImportError:
        try:
            zstandard: Any = importlib.import_module("zstandard")
        except ImportError:
            return None

        def inflate(data: bytes, most: int) -> bytes:
            if not 0 <= zstandard.frame_content_size(data) <= most:
                raise ValueError("more than %d bytes" % most)
            result: bytes = zstandard.ZstdDecompressor().decompress(data)
            return result

        return (lambda data: zstandard.compress(data, 1)), inflate
    return (lambda data: own.compress(data, 1)), (
        lambda data, most: own.ZstdDecompressor().decompress(data, most + 1)
    )


def squeeze(data: Any, codec: int) -> bytes:
    """Compress `data` if it shrinks to 5/6 or less; return the codec's byte and the result."""
    if codec == ZSTD:
        less: bytes = zstd()[0](bytes(data))
    elif codec == ZLIB:
        less = zlib.compress(data, 1)
    else:
        return b"\0" + bytes(data)
    if len(less) * 6 > len(data) * 5:
        return b"\0" + bytes(data)
    return bytes((codec,)) + less


def unsqueeze(data: Any, most: int) -> Any:
    """Decompress the result of `squeeze`; `ValueError` if it exceeds `most` bytes, or is broken."""
    codec, body = data[0], data[1:]
    if codec == PLAIN:
        out = body
    elif codec == ZLIB:
        opened = zlib.decompressobj()
        try:
            out = opened.decompress(body, most + 1)
        except zlib.error as err:
            raise ValueError("broken compression: %s" % err) from err
    elif codec == ZSTD and zstd() is not None:
        try:
            out = zstd()[1](bytes(body), most)
        except Exception as err:  # each library has its own exception class
            raise ValueError("broken compression: %s" % err) from err
    else:
        raise ValueError("a compression of number %d" % codec)
    if len(out) > most:
        raise ValueError("more than %d bytes" % most)
    return out


def pack_entries(entries: list[Any]) -> bytes:
    """Encode a folder's entries."""
    pack = ENTRY.pack
    return b"".join(
        [
            pack(kind, mode, size, mtime // NS, mtime % NS, held, inode, len(name), len(goal)) + name + goal
            for name, kind, mode, size, mtime, goal, held, inode in entries
        ]
    )


def unpack_entries(data: bytes) -> list[Any]:
    """Decode a folder's entries; `ValueError` if they are broken."""
    result = []
    at, end, width = 0, len(data), ENTRY.size
    unpack = ENTRY.unpack_from
    try:
        while at < end:
            kind, mode, size, seconds, nanos, held, inode, named, led = unpack(data, at)
            at += width
            middle = at + named
            last = middle + led
            if last > end:
                raise ValueError(SHORT)
            mtime = seconds * NS + nanos
            result.append((data[at:middle], kind, mode & 0o777, size, mtime, data[middle:last], held, inode))
            at = last
    except struct.error as err:
        raise ValueError(SHORT) from err
    return result

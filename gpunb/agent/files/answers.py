"""Shared parts of ``files``: frames to the client, and the encoding of paths and errors."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

from ..shared import file_frames as wire

PART = b".gpunb-part-"
FLUSH = 1 << 18


def raw(text: str) -> bytes:
    """Encode a path from JSON to bytes."""
    return text.encode("utf-8", "surrogateescape")


def text(path: bytes) -> str:
    """Decode a path's bytes for JSON."""
    return path.decode("utf-8", "surrogateescape")


def reason(err: OSError) -> str:
    """Describe an error in the same words as the other engines."""
    return {errno.ENOENT: "no such file", errno.EACCES: "permission denied"}.get(
        err.errno or 0, err.strerror or str(err)
    )


class Answers:
    """Answers to the client on the descriptor `sink`, and the state kept between its requests."""

    def __init__(self, sink: int) -> None:
        self.sink = sink
        self.out: list[bytes] = []
        self.waiting = 0
        self.unkept: dict[str, int] = {}
        self.umask = os.umask(0)  # each file gets the mode that it is sent with
        self.part = PART + b"%d-" % os.getpid() + os.urandom(4).hex().encode()

    def send(self, kind: bytes, *body: Any) -> None:
        """Add a frame to the buffer."""
        size = sum(map(len, body))
        self.out.append(wire.FRAME.pack(size, kind[0]))
        self.out.extend(body)
        self.waiting += size + wire.FRAME.size
        if self.waiting > FLUSH:
            self.flush()

    def flush(self) -> None:
        """Send the buffer."""
        if self.out:
            view = memoryview(b"".join(self.out))
            self.out, self.waiting = [], 0
            while view:
                view = view[os.write(self.sink, view) :]

    def failed(self, number: int, index: int, why: str) -> None:
        """Report the failure of a write that has no answer of its own."""
        self.send(b"X", json.dumps([number, index, why]).encode())

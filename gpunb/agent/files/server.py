"""The host's end of a file sync: ``files NONCE [FOLDER]``, on an SSH channel of its own.

Answers frames (see `file_frames`) until its standard input ends. Every path is
bytes, relative to the folder that was entered. A file is written to a partial
file and renamed into place. The client is the host's owner, so nothing here
guards against it.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from typing import Any

from ..shared import file_frames as wire
from .answers import reason
from .host_to_host import Direct
from .reading import Reading
from .writing import Writing

IDLE_S = 900


class Server(Reading, Writing, Direct):
    """Reads frames from the descriptor `source`, answers on `sink`."""

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        self.source = io.BufferedReader(io.FileIO(source, "rb", closefd=False), 1 << 18)
        super().__init__(sink)
        self.handlers: dict[int, Any] = {
            ord("J"): self.call,
            ord("L"): self.listing,
            ord("T"): self.tree,
            ord("G"): self.get,
            ord("R"): self.range,
            ord("H"): self.digests,
            ord("W"): self.write,
            ord("D"): self.data,
            ord("Q"): self.number,
            **self.direct_handlers(),
        }

    def serve(self) -> int:
        """Answer requests until the client closes."""
        buffer = bytearray(wire.PIECE + (1 << 16))
        while True:
            signal.alarm(IDLE_S)  # ends this process, if the client keeps an unused channel
            head = self.source.read(wire.FRAME.size)
            if len(head) < wire.FRAME.size:
                return 0
            size, kind = wire.FRAME.unpack(head)
            if size > len(buffer):
                buffer = bytearray(size)
            view = memoryview(buffer)[:size]
            if self.source.readinto(view) < size:
                return 0
            signal.alarm(0)
            handler = self.handlers.get(kind)
            if handler is None:
                sys.stderr.write("an unknown request %r\n" % kind)
                return 2
            handler(view)
            if kind not in b"WD":
                self.flush()

    def call(self, body: memoryview) -> None:
        """Answer a JSON call."""
        asked = json.loads(bytes(body))
        try:
            answer = getattr(self, "do_" + asked.pop("op"))(**asked)
        except OSError as err:
            answer = {"error": reason(err), "errno": err.errno}
        self.send(b"J", json.dumps(answer).encode())

    def number(self, body: memoryview) -> None:
        """Answer that all earlier writes are done."""
        self.send(b"Q", bytes(body))


def main(argv: list[str]) -> int:
    """Send the greeting, then serve: ``NONCE [FOLDER]``, the folder to enter."""
    if len(argv) > 1:
        os.chdir(os.fsencode(argv[1]))
    os.write(1, b"\n%s ready\n" % argv[0].encode())
    server = Server()
    try:
        return server.serve()
    except BrokenPipeError:
        return 0
    finally:
        server.end_direct()

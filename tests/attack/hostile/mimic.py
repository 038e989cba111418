"""A host whose SSH server is fine and whose agent lies: it speaks our protocol as a test wants."""

from __future__ import annotations

import contextlib
import shlex
import struct
import threading
import zlib
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import frames
from gpunb.remote import AgentClient
from tests.attack.hostile.liars import Host, endpoint, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import paramiko

    from tests.attack.frame import Place

HELLO = {
    "agent": "0" * 16, "python": "/usr/bin/python3", "python_version": "3.11.2", "home": "/root",
    "hostname": "rig-7", "pid": 42,
}  # fmt: skip


def frame(body: bytes, number: int = 0) -> bytes:
    """A frame around any body."""
    return frames.HEADER.pack(len(body), zlib.crc32(body), number) + body


def record(number: int, run: str, kind: str, *parts: bytes, **more: Any) -> bytes:
    return frames.encode({"t": "rec", "run": run, "k": kind, "ts": 1.7e9, **more}, parts, number)


class Mimic(Host):
    """Answers ``hello`` truly; `answers` says what follows each other request (bytes, or more)."""

    def __init__(self, place: Place, **answers: Any) -> None:
        super().__init__(place)
        self.answers: Mapping[str, Any] = answers
        self.hello: Any = HELLO
        self.first: bytes = b""
        self.bulk: Callable[[paramiko.Channel], None] = lambda channel: None
        self.asked: list[dict[str, Any]] = []
        self.on_exec = self.command

    def command(self, channel: paramiko.Channel, command: str) -> None:
        words = shlex.split(command)
        if "bulk" in words:
            nonce = words[-1]
            channel.sendall(f"{nonce} ready /tmp/socket\n".encode())
            self.bulk(channel)
            threading.Event().wait(20)
            return
        nonce = words[words.index("gpunb") + 1]
        channel.sendall(f"\n{nonce} ready {{}}\n".encode() + self.first)
        self.talk(channel)

    def talk(self, channel: paramiko.Channel) -> None:
        # what is no frame before the first request is the stage's code
        waiting = b""
        decoder = None
        while data := channel.recv(65536):
            self.place.hear(data)
            if decoder is None:
                waiting += data
                at = waiting.find(b'{"proto"')
                at = waiting.find(b'"op":"hello"') if at < 0 else at
                if at < 0:
                    continue
                decoder = frames.Decoder()
                data = waiting[self._start(waiting) :]
            for _, head, _ in decoder.feed(data):
                self.asked.append(head)
                self.answer(channel, head)

    @staticmethod
    def _start(waiting: bytes) -> int:
        for at in range(len(waiting) - frames.HEADER.size):
            size, crc, number = frames.HEADER.unpack_from(waiting, at)
            body = waiting[at + frames.HEADER.size : at + frames.HEADER.size + size]
            if number == 0 and 10 < size < 10_000 and len(body) == size and zlib.crc32(body) == crc:
                return at
        return len(waiting)

    def answer(self, channel: paramiko.Channel, head: dict[str, Any]) -> None:
        op = head.get("op")
        if op == "hello":
            channel.sendall(frames.encode({**self.hello, "t": "res", "id": head["id"]}))
            return
        found = self.answers.get(str(op).replace(".", "_"), {} if op == "ping" else None)
        if callable(found):
            found = found(head, channel)
        if isinstance(found, dict):
            found = frames.encode({"t": "res", "id": head.get("id"), **found})
        if isinstance(found, bytes):
            with contextlib.suppress(OSError, EOFError):
                channel.sendall(found)


@contextlib.contextmanager
def client(place: Place, host: Mimic, *, trust: str = "stranger", far: bool = False) -> Iterator[AgentClient]:
    """gpunb's real client at the end of a real SSH connection to the mimic.

    How far the host is decides the form of a transfer; on a busy machine any host is far.
    """
    with serving(place, host) as (port, _):
        found = AgentClient.connect(endpoint(place, port), trust=trust, patience=2.0)
        found.round_trip = lambda: 1.0 if far else 0.0  # type: ignore[method-assign]
        try:
            yield found
        finally:
            found.close()


def variables(*items: Mapping[str, Any], data: bytes = b"") -> Callable[[paramiko.Channel], None]:
    """A transfer of variables as a hostile kernel describes it."""
    import json

    text = json.dumps(list(items)).encode()

    def send(channel: paramiko.Channel) -> None:
        channel.sendall(struct.pack(">Q", len(text)) + text + data)

    return send

"""A line answers in the order it is asked; who asks must not mix its answers up."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from gpunb.agent.shared import file_frames as wire
from gpunb.sync.planning.plan import Item
from gpunb.sync.stream.host_files import HostWriter


class Sequential:
    """A host's end that answers each frame as it comes, like the agent's."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: deque[tuple[int, memoryview]] = deque()

    def send(self, kind: bytes, *parts: Any) -> None:
        body = b"".join(parts)
        if kind == b"Q":
            self.asked.append("confirm")
            self.answers.append((ord("Q"), memoryview(body)))
        elif kind == b"H":
            self.asked.append("digests")
            self.answers.append((ord("H"), memoryview(bytes(wire.DIGEST))))
            self.answers.append((ord("Z"), memoryview(b"")))

    def post(self, op: str, **args: Any) -> None:
        self.asked.append(op)
        self.answers.append((ord("J"), memoryview(json.dumps({}).encode())))

    def receive(self) -> tuple[int, memoryview]:
        return self.answers.popleft()


def test_what_an_answer_leads_to_is_asked_before_the_next_files_digests() -> None:
    """A large file's end is asked for when its last piece is confirmed, also if another one is begun then."""
    line = Sequential()
    writer = HostWriter(line, wire.PLAIN)  # type: ignore[arg-type]
    first = Item("a", "file", 10, 0, 0o600)
    ended: list[str] = []
    writer.confirm(lambda: writer.finish(first, ended.append))
    second = Item("b", "file", wire.BLOCK, 0, 0o600)
    writer.ask_base(second)
    assert writer.base(second) == [bytes(wire.DIGEST)]
    writer.settle()
    assert ended == [""]
    assert line.asked == ["confirm", "finish", "digests"]
    assert not line.answers

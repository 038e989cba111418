"""One tool call: a line of the verbs' grammar in a process of its own, and what it answers."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb import isolated
from gpunb.sessions.access.renter import VARIABLE
from gpunb.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Answer", "answer", "environment", "harmless", "line", "verb"]

CALL_S = 300.0
TEXT_MOST = 4000  # characters of one text
ROWS_MOST = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb answered: its ``--json``, or its error's type, message, bill and next step."""

    data: Any = None
    error: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        """The error in sentences, as a terminal shows it; "" if there is none."""
        if self.error is None:
            return ""
        parts = [self.error.get("message"), self.error.get("bill"), self.error.get("next")]
        heads = ("error", "bill", "next")
        return "\n".join(f"{head}: {plain(part)}" for head, part in zip(heads, parts, strict=True) if part)


def line(argv: Sequence[str]) -> list[str]:
    """The command of a verb and its words."""
    return isolated.argv("gpunb", argv[0], "--json", *argv[1:])


def environment(agent: str) -> dict[str, str]:
    """The environment of this process, and the agent that the verb works for."""
    return {**os.environ, VARIABLE: agent}


def verb(argv: Sequence[str], agent: str, *, timeout: float = CALL_S) -> Answer:
    """Run a verb and wait for its answer; a verb that takes longer than `timeout` seconds is ended."""
    try:
        ran = subprocess.run(
            line(argv),
            env=environment(agent),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(error={"type": "Timeout", "message": f"{argv[0]} has not answered in {timeout:g} s"})
    return answer(ran.stdout, ran.stderr)


def answer(out: bytes, err: bytes) -> Answer:
    """Read what a verb printed."""
    try:
        data = json.loads(out)
    except ValueError:
        text = (err or out).decode("utf-8", "replace").strip()[-TEXT_MOST:]
        return Answer(error={"type": "Failed", "message": text or "it printed nothing"})
    if isinstance(data, dict) and isinstance(data.get("error"), dict):
        return Answer(error=data["error"])
    return Answer(data=harmless(data))


def harmless(value: Any) -> Any:
    """Bound and clean what clouds and hosts may have written: no terminal codes, no hidden marks."""
    if isinstance(value, str):
        return plain(value, TEXT_MOST)
    if isinstance(value, dict):
        return {plain(key, 200): harmless(one) for key, one in value.items()}
    return [harmless(one) for one in value[:ROWS_MOST]] if isinstance(value, list) else value

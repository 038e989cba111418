"""Questions to the person at the client, by MCP elicitation in the form of the client's protocol version.

Until 2025-11-25 the server sends a request and waits. From 2026-07-28 on the call ends with the question as
its result (``InputRequiredResult``), and the client calls again with the answer. A yes is of the question
that was shown, and of one call: who sends it twice is asked again.
"""

from __future__ import annotations

import secrets
import shlex
import time
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.elicitation import render_elicitation_schema
from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from pydantic import BaseModel, Field, StrictBool, ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp.server.mcpserver import Context

__all__ = ["ANSWER_S", "Asked", "Questions", "Yes", "asked"]

ANSWER_S = 600.0  # an answer that comes later is to a price of long ago
BY_ROUNDS = "2026-07-28"
KEY = "confirm"
CAN_NOT = "a person must confirm this ([agent] confirm), and this client can't ask"
FAILED = "a person must confirm this, and the client could not ask"
ODD = "the answer is neither yes nor no"
NO = "the answer was no"
CANCELLED = "the question was put away without an answer"
LATE = "there was no answer in ten minutes"


class Yes(BaseModel):
    """A person's answer to the question."""

    yes: StrictBool = Field(description="Whether it is to be done")


class Asked(Exception):
    """The client is to put a question, and to call again."""

    def __init__(self, result: InputRequiredResult) -> None:
        super().__init__()
        self.result = result


class Questions:
    """The questions that are open, each for one answer."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, float]] = {}

    def put(self, text: str, now: float) -> str:
        """A new question; returns the mark that its answer must have."""
        self._open = {mark: one for mark, one in self._open.items() if now - one[1] < 10 * ANSWER_S}
        mark = secrets.token_hex(8)
        self._open[mark] = (text, now)
        return mark

    def take(self, mark: str, text: str, now: float) -> bool | None:
        """Close a question: whether it was this one and recent; None if it is not open, or another."""
        was, at = self._open.pop(mark, ("", 0.0))
        return None if was != text else now - at <= ANSWER_S


_questions = Questions()


async def asked(context: Context[Any], question: str, argv: Sequence[str]) -> str:
    """Put a question; returns why it is no yes, "" if it is one.

    Raises
    ------
    Asked
        The client puts it, and calls again.
    """
    capabilities = context.client_capabilities
    can = None if capabilities is None else capabilities.elicitation
    if can is None or (can.form is None and can.url is not None):
        return CAN_NOT
    if (context.protocol_version or "") >= BY_ROUNDS:
        return _by_rounds(context, question, argv)
    try:
        with anyio.fail_after(ANSWER_S):
            answer = await context.elicit(question, Yes)
    except TimeoutError:
        return LATE
    except (ValueError, ValidationError):
        return ODD
    except Exception:  # noqa: BLE001 - the client's own trouble, of whatever kind
        return FAILED
    return _verdict(answer.action, yes=answer.action == "accept" and answer.data.yes)


def _by_rounds(context: Context[Any], question: str, argv: Sequence[str]) -> str:
    # a rental's question tells its price; those of an end and an extension the cost so far, which grows
    text = shlex.join([*argv, question] if argv[0] == "rent" else argv)
    now = time.monotonic()
    answer = (context.input_responses or {}).get(KEY)
    recent = _questions.take(context.request_state or "", text, now) if answer is not None else None
    if recent is None:
        params = ElicitRequestFormParams(message=question, requested_schema=render_elicitation_schema(Yes))
        requests: Any = {KEY: ElicitRequest(params=params)}
        mark = _questions.put(text, now)
        raise Asked(InputRequiredResult(input_requests=requests, request_state=mark))
    if not recent:
        return LATE
    if not isinstance(answer, ElicitResult):
        return ODD
    if answer.action != "accept":
        return _verdict(answer.action, yes=False)
    try:
        return _verdict("accept", yes=Yes.model_validate(answer.content).yes)
    except ValidationError:
        return ODD


def _verdict(action: str, *, yes: bool) -> str:
    if action == "cancel":
        return CANCELLED
    return "" if yes else NO

"""Values received from the agent: runs, records, the host."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared.frames import END_STATES
from gpunb.errors import ProtocolError
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ID = re.compile(r"[a-z0-9]{1,64}")
_YEAR_5000 = 95_617_584_000.0

__all__ = ["HostInfo", "Record", "RunInfo", "cleaned"]


def cleaned(head: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reduce the texts in the head of a record or note to one printable line each."""
    return {key: one_line(value) if isinstance(value, str) else value for key, value in head.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInfo:
    """The host as described by its agent; `folder` is the session's folder there, ``~/.gpunb`` or its own."""

    agent: str
    pid: int
    python: str
    python_version: str
    home: str
    folder: str
    hostname: str


@dataclass(frozen=True, slots=True)
class Record:
    """One numbered record of a run.

    Attributes
    ----------
    number
        Counts from 1 within the run.
    kind
        "start", "stream", "msg", "input", "answered", "note", "lost" or "end".
    """

    number: int
    kind: str
    head: Mapping[str, Any]
    parts: Sequence[memoryview] = field(repr=False)

    @property
    def size(self) -> int:
        """Total bytes of the parts."""
        return sum(len(part) for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """A summary of a run. Times are Unix seconds by the local clock.

    The host sends ages instead of times: its own clock may be wrong, or be stepped during a run.

    `state` is "queued", "running", "ok", "error", "cancelled", "timeout" or
    "died"; `last` is the number of its last record, `size` its journal's bytes.
    A job that asked for `wants` GPUs holds `gpus`; `attempt` counts its starts.
    `waiting` is the prompt of an unanswered ``input()``, or None.
    """

    id: str
    kind: str
    name: str
    state: str
    created: float | None
    started: float | None
    ended: float | None
    exit_code: int | None
    last: int
    size: int
    why: str
    wants: int = 0
    gpus: tuple[str, ...] = ()
    attempt: int = 1
    waiting: str | None = None
    waiting_since: float | None = None

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.state in END_STATES

    @classmethod
    def parse(cls, raw: Mapping[str, Any], who: str = "the agent") -> RunInfo:
        """Parse a run in an answer of `who`; a wrong type is a `ProtocolError`."""
        try:
            ages = raw.get("ages") or {}
            return cls(
                id=_id(raw["run"]),
                kind=_text(raw["kind"], 16),
                name=_text(raw.get("name", ""), 400),
                state=_text(raw["state"], 16),
                created=_time(raw.get("created"), ages.get("created")),
                started=_time(raw.get("started"), ages.get("started")),
                ended=_time(raw.get("ended"), ages.get("ended")),
                exit_code=None if raw.get("exit") is None else _count(raw["exit"], -(2**31)),
                last=_count(raw.get("last", 0)),
                size=_count(raw.get("size", 0)),
                why=_text(raw.get("why", ""), 2000),
                wants=_count(raw.get("wants") or 0),
                gpus=tuple(_text(name, 64) for name in list(raw.get("gpus") or [])[:64]),
                attempt=_count(raw.get("attempt") or 1),
                waiting=None if raw.get("waiting") is None else _text(raw["waiting"], 2000),
                waiting_since=_time(None, ages.get("waiting")),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as err:
            msg = f"{who} described a run as {one_line(raw, 300)}"
            raise ProtocolError(msg) from err


def _text(value: object, limit: int) -> str:
    if not isinstance(value, str):
        raise TypeError
    return one_line(value, limit)


def _id(value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError
    return value


def _count(value: Any, least: int = 0) -> int:
    number = int(value)
    if not least <= number < 2**60:
        raise ValueError
    return number


def _time(value: Any, age: Any) -> float | None:
    """Unix seconds by the local clock: from `age` if given, else the host's own `value`."""
    past = _number(age)
    return _number(value) if past is None else max(0.0, time.time() - past)


def _number(value: Any) -> float | None:
    """A time in Unix seconds; None if it is beyond the calendar."""
    if value is None:
        return None
    found = float(value)
    return found if 0 <= found < _YEAR_5000 else None

"""Validation of the agent's answers, once, where they are received.

A host is a stranger, and an agent may be of another version or hostile. The fields that the layers
above read have the type that they expect, or the request fails with one clear error that names the
host; other fields pass unchecked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gpunb.errors import ProtocolError
from gpunb.hints import typed
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["checked", "odd", "tame"]

_MOST = 2**60
_YEAR_5000 = 95_617_584_000.0


def _whole(value: object) -> bool:
    return type(value) is int and abs(value) < _MOST


def _number(value: object) -> bool:
    """Whether `value` is a finite number that a float holds."""
    return (_whole(value) or type(value) is float) and math.isfinite(value)  # type: ignore[arg-type]


def _count(value: object) -> bool:
    return _whole(value) and value >= 0  # type: ignore[operator]


def _moment(value: object) -> bool:
    """Whether `value` is a time in Unix seconds before the year 5000."""
    return _number(value) and 0 <= value < _YEAR_5000  # type: ignore[operator]


def _text(value: object) -> bool:
    return isinstance(value, str)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _object(value: object) -> bool:
    return isinstance(value, dict)


def _objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


#: The fields that are read of each answer: a check for each that is present and not null.
SHAPES: Mapping[str, Mapping[str, Callable[[object], bool]]] = {
    "answer": {"taken": _flag},
    "before": {"n": _count},
    "comms": {"part": _text},
    "examine": {"gpus": _objects, "work": _objects, "slices": _texts},
    "folder_changes": {"there": _flag, "many": _flag, "whole": _flag, "number": _count},
    "folder_read": {"why": _texts},
    "folder_write": {"there": _flag},
    "info": {"run": _text},
    "interrupt": {"run": _text},
    "kernel": {"reply": _object},
    "runs": {"runs": _objects},
    "source": {"code": _text, "argv": _texts, "shell": _text},
    "telemetry": {"samples": _objects, "time": _moment},
}


def checked(op: str, answer: dict[str, Any], host: str) -> dict[str, Any]:
    """Validate `answer` to the request `op`; return it without the fields that are null.

    Raises
    ------
    ProtocolError
        A field has an invalid value; names the host, the request, the field and the value.
    """
    result = {name: value for name, value in tame(answer).items() if value is not None}
    for name, is_fine in SHAPES.get(op, {}).items():
        if name in result and not is_fine(result[name]):
            raise odd(host, f"{op!r} with {name} = {one_line(repr(result[name]), 200)}")
    return result


def tame(value: Any) -> Any:
    """Replace NaN, infinities and integers beyond a float in a JSON value by null."""
    if isinstance(value, dict):
        return {name: tame(one) for name, one in value.items()}
    if isinstance(value, list):
        return [tame(one) for one in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if _number(value) else None
    return value


def odd(host: str, what: str) -> ProtocolError:
    """The error for an invalid answer."""
    msg = f"the agent on {host} answered {what}, which is not a valid answer"
    return ProtocolError(
        msg,
        bill="the instance may still run and be billed",
        hint="another version of gpunb may have started it, or the host can't be trusted: "
        + typed("down")
        + " ends it",
    )

"""Cleaning of a cloud's text for a log line, a table or an error; ids that go into a path."""

from __future__ import annotations

import re

from gpunb.errors import BadInput
from gpunb.text import one_line

__all__ = ["clean", "segment"]

# of ids: letters, digits, "_" and "-", and dots inside
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


def clean(value: object, limit: int = 200) -> str:
    """Return `value` as one line of at most `limit` characters, see `gpunb.text.one_line`."""
    return one_line(value, limit)


def segment(value: str, title: str) -> str:
    """Return an id of the cloud called `title` as one segment of a path; what is no id is a `BadInput`."""
    if not _SEGMENT.fullmatch(value):
        msg = f"{clean(value, 80)!r} is not an id of {title}"
        raise BadInput(msg)
    return value

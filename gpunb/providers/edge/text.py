"""Cleaning of a cloud's text for a log line, a table or an error."""

from __future__ import annotations

from gpunb.text import one_line

__all__ = ["clean"]


def clean(value: object, limit: int = 200) -> str:
    """Return `value` as one line of at most `limit` characters, see `gpunb.text.one_line`."""
    return one_line(value, limit)

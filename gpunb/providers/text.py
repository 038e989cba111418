"""Text that came from outside, made fit for a log line, a table or an error."""

from __future__ import annotations

import re

__all__ = ["clean"]

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# C0, DEL, C1, and the marks that turn the writing direction or hide text
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def clean(value: object, limit: int = 200) -> str:
    """`value` as one line of at most `limit` characters, without terminal escapes.

    HTML stays as it is: who shows it in a page escapes it.
    """
    text = value if isinstance(value, str) else str(value)
    if len(text) <= limit and text.isprintable():
        return text
    text = text[: 8 * limit + 1024]  # a megabyte of text is not worth a regex
    text = _CONTROL.sub(" ", _ANSI.sub("", text)).strip()
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"

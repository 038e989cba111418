"""Lexer of the query language, and error messages with a caret under the place.

The input is bounded before it is parsed: length here, depth and the number of
comparisons in the parser. Every error points at its character.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from gpunb.errors import BadInput

__all__ = ["KEYWORDS", "LONGEST_QUERY", "Token", "fault", "tokens"]

LONGEST_QUERY = 4000
KEYWORDS = frozenset(("and", "or", "not", "in", "order", "by", "limit", "asc", "desc"))

_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>[-+]?\$?[-+]?(?:\d[\d_]*(?:\.\d+)?|\.\d+)(?:[eE][-+]\d+)?[\w$%]*(?:-\w+)*)"
    r"|(?P<word>[^\W\d][\w.:]*?(?=\.\.)|[^\W\d][\w.:]*(?:-[\w.:]+)*)"
    r"|(?P<string>\"[^\"]*\"|'[^']*')"
    r"|(?P<op><=|>=|!=|<>|==|\.\.|&&|\|\||[=<>~(),/!])"
)
_WINDOW = 60


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the query, "word", "number", "string", "op" or "end", with its position."""

    kind: str
    text: str
    start: int
    end: int

    def keyword(self) -> str:
        """The keyword that the token is, in lower case, or ""."""
        low = self.text.lower()
        return low if self.kind == "word" and low in KEYWORDS else ""


def _shown(text: str) -> str:
    return "".join(mark if mark.isprintable() else "�" for mark in text)


def _width(text: str) -> int:
    """Return the columns that `text` takes in a terminal."""
    wide = sum(1 for mark in text if unicodedata.east_asian_width(mark) in "WF")
    return len(text) + wide - sum(1 for mark in text if unicodedata.combining(mark))


def fault(text: str, start: int, end: int, what: str, *, hint: str | None = None) -> BadInput:
    """Return the error `what`, with the query's line and a caret under ``text[start:end]``."""
    left = max(0, start - _WINDOW)
    right = min(len(text), max(end, start + 1) + _WINDOW)
    before = ("…" if left else "") + _shown(text[left:start])
    line = before + _shown(text[start:right]) + ("…" if right < len(text) else "")
    marks = "^" * max(1, min(_width(_shown(text[start:end])), 2 * _WINDOW))
    msg = f"query: {what}\n  {line}\n  {' ' * _width(before)}{marks}"
    return BadInput(msg, hint=hint)


def tokens(text: str) -> list[Token]:
    """Split `text` into tokens, the last one of kind "end".

    Raises
    ------
    BadInput
        It is too long, has a quote that is not closed, or a character that is no part of the language.
    """
    if len(text) > LONGEST_QUERY:
        what = f"it has {len(text)} characters; a query may have {LONGEST_QUERY}"
        raise fault(text, LONGEST_QUERY, LONGEST_QUERY + 1, what)
    result: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            mark = text[at]
            if mark in "\"'":
                raise fault(text, at, len(text), "this quote is not closed")
            label = repr(mark) if mark.isprintable() and mark.isascii() else f"U+{ord(mark):04X}"
            what = f"the character {label} has no meaning here"
            raise fault(text, at, at + 1, what, hint="put text in quotes, as in gpu = 'H100 SXM'")
        kind = match.lastgroup or ""
        if kind != "space":
            result.append(Token(kind, match[0], at, match.end()))
        at = match.end()
    result.append(Token("end", "", len(text), len(text)))
    return result

"""git's ignore patterns, matched as git does: one path at a time, from the top down.

pathspec's patterns also match what lies below a matched folder, which gives
other answers than git for ``data/**`` and for a negated folder (compared with
``git check-ignore``, pathspec 1.1.1). Rules here come from gitignore(5) and
from git's dir.c and wildmatch.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Pattern", "Patterns"]

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t\\n\\r\\f\\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of an ignore file."""

    number: int  # of the line, from 1
    text: str
    negated: bool
    folders_only: bool
    by_name: bool  # no slash inside: matches the last name, at any depth
    regex: re.Pattern[str]


class Patterns:
    """The patterns of one ignore file, or of one option; the last that matches decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        parsed = (_parse(number, line) for number, line in enumerate(lines, 1))
        self._last_first = [p for p in parsed if p is not None][::-1]
        self.hit: set[int] = set()
        """The numbers of those that have matched something."""

    def decide(self, path: str, *, folder: bool) -> Pattern | None:
        """Return the pattern that decides on `path` (relative to the file's folder), or None.

        Only `path` itself is looked at: git asks for each folder above first,
        and never below one that is left out.
        """
        name = path.rpartition("/")[2]
        for pattern in self._last_first:
            if (folder or not pattern.folders_only) and pattern.regex.fullmatch(
                name if pattern.by_name else path
            ):
                self.hit.add(pattern.number)
                return pattern
        return None

    def __bool__(self) -> bool:
        return bool(self._last_first)

    def __iter__(self) -> Iterator[Pattern]:
        return iter(self._last_first)


def _parse(number: int, line: str) -> Pattern | None:
    text = line.removesuffix("\r")
    if text.startswith("#"):
        return None
    kept = re.sub(r"((?:\\.|[^\\ ]|\\$| +(?=[^ ]))*) *", r"\1", text, count=1, flags=re.DOTALL)
    body = kept
    negated = body.startswith("!")
    body = body[1:] if negated else body
    folders_only = body.endswith("/")
    body = body[:-1] if folders_only else body
    by_name = "/" not in body
    source = _translate(body.removeprefix("/"))
    if not body or source is None:
        return None
    return Pattern(number, kept, negated, folders_only, by_name, re.compile(source, re.DOTALL))


def _translate(glob: str) -> str | None:
    """Translate `glob` to a regular expression; None if it can match nothing."""
    out, at, end = [], 0, len(glob)
    # git compares the part before the first special character by itself, so
    # that ** right behind it counts as if at the beginning
    plain = len(re.split(r"[*?\[\\]", glob, maxsplit=1)[0])
    while at < end:
        char = glob[at]
        if char == "*":
            stars = at
            while at < end and glob[at] == "*":
                at += 1
            whole = at - stars >= 2 and (stars == plain or glob[stars - 1] == "/")
            if whole and at == end:
                out.append(".*")
            elif whole and glob[at] == "/":
                out.append("(?:.*/)?")
                at += 1
            else:
                out.append("[^/]*")
            continue
        at += 1
        if char == "?":
            out.append("[^/]")
        elif char == "[":
            found = _bracket(glob, at)
            if found is None:
                return None
            text, at = found
            out.append(text)
        elif char == "\\":
            if at == end:
                return None
            out.append(re.escape(glob[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def _bracket(glob: str, at: int) -> tuple[str, int] | None:
    """Translate the character class that starts after its bracket at `at`; also return its end."""
    negated = glob[at : at + 1] in ("!", "^")
    at += negated
    parts: list[str] = []
    previous: str | None = None  # what a range could begin with
    first = True
    while True:
        char = glob[at : at + 1]
        if not char:
            return None
        if char == "]" and not first:
            break
        first = False
        if char == "[" and glob[at + 1 : at + 2] == ":":
            close = glob.find(":]", at + 2)
            name = glob[at + 2 : close]
            if close < 0 or name not in _POSIX:
                return None
            parts.append(_POSIX[name])
            at, previous = close + 2, None
            continue
        is_range = char == "-" and previous is not None and glob[at + 1 : at + 2] not in ("", "]")
        if is_range:
            at += 1
            char = glob[at]
        if char == "\\":
            at += 1
            char = glob[at : at + 1]
            if not char:
                return None
        at += 1
        if is_range and previous is not None:
            if previous <= char:
                parts.append(f"{re.escape(previous)}-{re.escape(char)}")
            previous = None
        else:
            parts.append(re.escape(char))
            previous = char
    inside = "".join(parts)
    if negated:
        return f"[^/{inside}]", at + 1
    return (f"(?!/)[{inside}]" if inside else "(?!)"), at + 1

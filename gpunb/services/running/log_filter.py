"""Filters of a run's output: kept as text, cut to the last lines, or searched by a pattern."""

from __future__ import annotations

import re
import warnings
from collections import deque
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.output import Sink

__all__ = ["Filtered", "KeptText", "pattern", "play_text"]

LONGEST = 200  # characters of a pattern
LINE = 4_096  # characters of a line that are searched: the host decides how long its lines are
PIECE = 1 << 16  # characters of a kept text that are read at once
REPEATS = 3  # repeats without an upper limit in one pattern


def pattern(verb: str, text: str) -> re.Pattern[str]:
    """Compile a regular expression, refusing those that could take for ever on a host's line.

    Raises
    ------
    BadInput
        It is too long, not a regular expression, or has a repeat inside a repeat.
    """
    if len(text) > LONGEST:
        msg = f"{verb} --grep takes at most {LONGEST} characters, and this has {len(text)}"
        raise BadInput(msg)
    try:
        made = re.compile(text)
    except (re.error, OverflowError, RecursionError) as err:
        msg = f"{verb} --grep {text!r} is not a regular expression: {err}"
        raise BadInput(msg, hint="put a backslash before a character that is meant as it is") from err
    if _depth(_parsed(text)) > 1 or _count(_parsed(text)) > REPEATS:
        why = f"a repeat inside a repeat, or more than {REPEATS} of them"
        msg = f"{verb} --grep {text!r} could take for ever: {why}"
        raise BadInput(msg, hint="search for less, and pipe the rest through grep")
    return made


def _parsed(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sre_parse  # re's own parser, under its old name in all versions

    return sre_parse.parse(text)


def _unlimited(item: Any) -> bool:
    name, value = item
    return str(name) in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and int(value[1]) > 100


def _inner(item: Any) -> list[Any]:
    """The sub-items of an item of a parsed pattern."""
    result: list[Any] = []

    def search(value: Any) -> None:
        if type(value).__name__ == "SubPattern":
            result.extend(value)
        elif isinstance(value, (list, tuple)):
            for one in value:
                search(one)

    search(item[1])
    return result


def _depth(items: Any) -> int:
    return max((int(_unlimited(item)) + _depth(_inner(item)) for item in items), default=0)


def _count(items: Any) -> int:
    return sum(int(_unlimited(item)) + _count(_inner(item)) for item in items)


class Filtered:
    """A sink that passes on the lines that match a pattern, and gpunb's own messages.

    Parameters
    ----------
    inner
        The sink that gets them.
    wanted
        None passes everything on.
    """

    def __init__(self, inner: Sink, wanted: re.Pattern[str] | None) -> None:
        self.inner = inner
        self.wanted = wanted
        self._open: dict[str, str] = {"stdout": "", "stderr": ""}

    def stream(self, name: str, text: str) -> None:
        """Pass on matching whole lines; an incomplete last one is held back."""
        if self.wanted is None:
            self.inner.stream(name, text)
            return
        *whole, rest = (self._open[name] + text).split("\n")
        for line in whole:
            self._line(name, line)
        self._open[name] = _settle(rest)[-65_536:] if len(rest) > 65_536 else rest

    def _line(self, name: str, line: str) -> None:
        text = _settle(line)
        if self.wanted is not None and self.wanted.search(text[:LINE]):
            self.inner.stream(name, f"{text}\n")

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Pass on if its text form matches."""
        text = str(content.get("data", {}).get("text/plain", ""))
        if self.wanted is None or self.wanted.search(text[:LINE]):
            self.inner.display(content, update=update)

    def result(self, content: dict[str, Any]) -> None:
        """Pass on if its text form matches."""
        text = str(content.get("data", {}).get("text/plain", ""))
        if self.wanted is None or self.wanted.search(text[:LINE]):
            self.inner.result(content)

    def clear(self, *, wait: bool) -> None:
        """Ignored with a pattern: lines that matched stay."""
        if self.wanted is None:
            self.inner.clear(wait=wait)

    def ask(self, prompt: str, *, password: bool) -> str:
        """Ask through the inner sink."""
        return self.inner.ask(prompt, password=password)

    def note(self, text: str) -> None:
        """Pass on gpunb's message."""
        self.inner.note(text)

    def finish(self) -> None:
        """Pass on the last line if it is incomplete and matches."""
        for name, rest in self._open.items():
            if rest:
                self._line(name, rest)
                self._open[name] = ""
        self.inner.finish()


class KeptText:
    """A sink that keeps the last lines instead of showing them.

    A line that was overwritten by carriage returns (a progress bar) is kept in its last state.
    """

    def __init__(self, lines: int | None = None) -> None:
        self.limit = lines
        self._done: deque[tuple[str, str]] = deque(maxlen=lines)
        self._open: dict[str, str] = {"stdout": "", "stderr": ""}

    def stream(self, name: str, text: str) -> None:
        """Split the text into lines and keep the last."""
        *whole, rest = (self._open[name] + text).split("\n")
        self._done.extend((name, _settle(line) + "\n") for line in whole)
        self._open[name] = _settle(rest) if len(rest) > 65_536 else rest

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Keep its text form."""
        text = content.get("data", {}).get("text/plain")
        if text and not update:
            self.stream("stdout", f"{text}\n")

    def result(self, content: dict[str, Any]) -> None:
        """Keep its text form."""
        self.display(content, update=False)

    def clear(self, *, wait: bool) -> None:
        """Ignored: a log keeps what was printed."""

    def ask(self, prompt: str, *, password: bool) -> str:  # noqa: ARG002
        """Never called: logs only watch."""
        return ""

    def note(self, text: str) -> None:
        """Keep gpunb's message."""
        self.stream("stderr", f"gpunb: {text}\n")

    def finish(self) -> None:
        """Close the last lines."""
        for name, rest in self._open.items():
            if rest:
                self._done.append((name, _settle(rest)))
                self._open[name] = ""

    def text(self) -> str:
        """The kept lines as one text."""
        return "".join(line for _, line in self._done)

    def replay(self, sink: Sink) -> None:
        """Send the kept lines to a sink."""
        for name, line in self._done:
            sink.stream(name, line)
        sink.finish()


def play_text(file: Path, sink: Sink) -> None:
    """Send the text of a run that is kept in `file` to a sink, in pieces."""
    with file.open(encoding="utf-8", errors="replace", newline="") as text:
        while piece := text.read(PIECE):
            sink.stream("stdout", piece)
    sink.finish()


def _settle(line: str) -> str:
    return line.removesuffix("\r").rpartition("\r")[2]

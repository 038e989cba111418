"""Hints on what to type next, with commands that each frontend writes in its own way."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Literal, NamedTuple

from gpunb.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Command", "Frontend", "Hint", "typed", "written"]

Frontend = Literal["terminal", "notebook"]
_PREFIX = {"terminal": "gpunb", "notebook": "%gpu"}


class Command(NamedTuple):
    """A command: a verb and its arguments, as a shell splits them."""

    verb: str
    args: tuple[str, ...] = ()

    def at(self, frontend: Frontend) -> str:
        """Format the line to type in that frontend."""
        return " ".join([_PREFIX[frontend], self.verb, *self.args])


class Hint(str):
    """A string with commands in it. Its value is the terminal's text; joined with ``+`` it stays a hint.

    Attributes
    ----------
    parts
        Texts and commands, in their order.
    """

    __slots__ = ("parts",)
    parts: tuple[str | Command, ...]

    def __new__(cls, *parts: str | Command) -> Hint:  # noqa: PYI034 - a text has no other subclass
        """Create a hint of texts, hints and commands."""
        flat: list[str | Command] = []
        for part in parts:
            flat += part.parts if isinstance(part, Hint) else [part]
        made = super().__new__(cls, _joined(flat, "terminal"))
        made.parts = tuple(flat)
        return made

    def __add__(self, other: str) -> Hint:
        """Append `other`."""
        return Hint(self, other)

    def __radd__(self, other: str) -> Hint:
        """Prepend `other`."""
        return Hint(other, self)

    def __getnewargs__(self) -> tuple[str | Command, ...]:  # type: ignore[override]
        """Return the parts, for pickle and copy."""
        return self.parts

    @property
    def commands(self) -> list[Command]:
        """The commands in the hint."""
        return [part for part in self.parts if isinstance(part, Command)]

    def plain(self) -> Hint:
        """A copy without terminal codes and hidden marks."""
        return Hint(
            *(
                Command(plain(part.verb), tuple(map(plain, part.args)))
                if isinstance(part, Command)
                else plain(part)
                for part in self.parts
            )
        )

    def at(self, frontend: Frontend) -> str:
        """Format the text as it is typed in that frontend."""
        return _joined(self.parts, frontend)


def _joined(parts: Iterable[str | Command], frontend: Frontend) -> str:
    return "".join(part.at(frontend) if isinstance(part, Command) else part for part in parts)


def typed(line: str, *args: object) -> Hint:
    """Create a hint of one command to type.

    Parameters
    ----------
    line
        The verb and words that are used as they are: ``"extend"``, ``"login CLOUD --stdin"``.
    args
        Words that may need quotes: names, paths.
    """
    verb, *words = line.split(" ")
    return Hint(Command(verb, (*words, *(shlex.quote(str(arg)) for arg in args))))


def written(text: str, frontend: Frontend) -> str:
    """Format `text` for that frontend, whether it contains commands or not."""
    return text.at(frontend) if isinstance(text, Hint) else text

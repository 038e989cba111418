"""What to type next: commands as a verb and its words, which each frontend writes in its own way."""

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
    """A verb and its words, as a shell would take them."""

    verb: str
    args: tuple[str, ...] = ()

    def at(self, frontend: Frontend) -> str:
        """The line to type."""
        return " ".join([_PREFIX[frontend], self.verb, *self.args])


class Hint(str):
    """A text with commands in it. As a text it is the terminal's; joined with ``+`` it stays a hint.

    Attributes
    ----------
    parts
        Texts and commands, in their order.
    """

    __slots__ = ("parts",)
    parts: tuple[str | Command, ...]

    def __new__(cls, *parts: str | Command) -> Hint:  # noqa: PYI034 - a text has no other subclass
        """Of texts, hints and commands."""
        flat: list[str | Command] = []
        for part in parts:
            flat += part.parts if isinstance(part, Hint) else [part]
        made = super().__new__(cls, _joined(flat, "terminal"))
        made.parts = tuple(flat)
        return made

    def __add__(self, other: str) -> Hint:
        """With `other` behind it."""
        return Hint(self, other)

    def __radd__(self, other: str) -> Hint:
        """With `other` before it."""
        return Hint(other, self)

    def __getnewargs__(self) -> tuple[str | Command, ...]:  # type: ignore[override]
        """For pickle and copy."""
        return self.parts

    @property
    def commands(self) -> list[Command]:
        """The commands in it."""
        return [part for part in self.parts if isinstance(part, Command)]

    def plain(self) -> Hint:
        """Without terminal codes and hidden marks."""
        return Hint(
            *(
                Command(plain(part.verb), tuple(map(plain, part.args)))
                if isinstance(part, Command)
                else plain(part)
                for part in self.parts
            )
        )

    def at(self, frontend: Frontend) -> str:
        """As it is typed there."""
        return _joined(self.parts, frontend)


def _joined(parts: Iterable[str | Command], frontend: Frontend) -> str:
    return "".join(part.at(frontend) if isinstance(part, Command) else part for part in parts)


def typed(line: str, *args: object) -> Hint:
    """A command to type.

    Parameters
    ----------
    line
        The verb and words that stand as they are: ``"extend"``, ``"login CLOUD --stdin"``.
    args
        Words that may need quotes: names, paths.
    """
    verb, *words = line.split(" ")
    return Hint(Command(verb, (*words, *(shlex.quote(str(arg)) for arg in args))))


def written(text: str, frontend: Frontend) -> str:
    """`text` as it is shown there, whether it has commands in it or not."""
    return text.at(frontend) if isinstance(text, Hint) else text

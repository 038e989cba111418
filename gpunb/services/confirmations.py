"""A yes: who can say it, and to what. One rule for every door.

What costs, and what ends something, is done after a yes to the question that was shown. A yes is ``--yes``,
the answer of somebody who was asked, or a token that was given with the question. Silence, a closed input and
a page that can't ask are none: then it is refused, with the line that says yes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gpunb.errors import ConfirmationNeeded

__all__ = ["Asker", "Question", "confirmed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What will be done, to the work and to the bill.

    Attributes
    ----------
    text
        All of it in sentences, as every door shows it.
    rows
        The same as names and values, for a door that shows a table; may be empty.
    prompt
        The last sentence, under such a table.
    usd
        US dollars that it can cost from here on; None if nobody can say.
    needed
        Whether it has to be asked: what neither costs nor ends anything does not.
    undone
        What holds without a yes, for the line on the bill.
    """

    text: str
    rows: tuple[tuple[str, str], ...] = ()
    prompt: str = "go on?"
    usd: float | None = None
    needed: bool = True
    undone: str = "nothing was changed"


class Asker(Protocol):
    """A door, as far as it can ask."""

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there who can answer now."""

    def put(self, question: Question) -> bool:
        """Ask; whether the answer was yes."""


def confirmed(question: Question, asker: Asker, *, yes: bool) -> bool:
    """Whether to go on.

    Parameters
    ----------
    yes
        Whether it was said beforehand: ``--yes``.

    Raises
    ------
    ConfirmationNeeded
        It has to be asked, and nobody can answer.
    """
    if yes or not question.needed:
        return True
    if asker.can_ask:
        return asker.put(question)
    raise ConfirmationNeeded.of(question.text, bill=question.undone)

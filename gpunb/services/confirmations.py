"""A yes: who can say it, and to what. One rule for every door.

What costs, and what ends something, is done after a yes to the question that was shown. A yes is ``--yes``,
the answer of somebody who was asked, or a token that was given with the question. Silence, a closed input and
a page that can't ask are none: then it is refused, with the line that says yes.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gpunb.errors import ConfirmationNeeded, ConfirmationRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LIFE_S", "MOST", "Asker", "Question", "Tokens", "confirmed"]

LIFE_S = 120.0
MOST = 256
HINT = "POST confirm with the same arguments gives one"


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
    prompt: str = "Continue?"
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


@dataclass(frozen=True, slots=True)
class _Kept:
    user: str
    action: str
    arguments: str
    until: float
    holds: Any


class Tokens:
    """Questions that were put to a page; each may be answered once. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, life_s: float = LIFE_S) -> None:
        self.clock = clock
        self.life_s = life_s
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def issue(self, user: str, action: str, arguments: Mapping[str, Any], holds: Any = None) -> str:
        """A token for exactly that; `holds` is what the action will find with it (the offer)."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._sweep()
            while len(self._kept) >= MOST:
                del self._kept[next(iter(self._kept))]
            until = self.clock() + self.life_s
            self._kept[token] = _Kept(user, action, _canonical(arguments), until, holds)
        return token

    def use(self, token: str | None, user: str, action: str, arguments: Mapping[str, Any]) -> Any:
        """What the token holds; it is used up.

        Raises
        ------
        ConfirmationNeeded, ConfirmationRefused
            There is none, or it does not fit. One that somebody else presents stays good.
        """
        if not token:
            msg = f"{action}: needs a confirmation token, since it touches the bill"
            raise ConfirmationNeeded(msg, bill="nothing was changed", hint=HINT)
        with self._lock:
            self._sweep()
            kept = self._kept.get(token)
            why, other = "", False
            if kept is None:
                why = "is unknown, used up or older than it may be"
            elif not hmac.compare_digest(kept.user.encode(), user.encode()):
                why = "belongs to another user"
            else:
                del self._kept[token]
                other = kept.action != action or kept.arguments != _canonical(arguments)
                if kept.action != action:
                    why = f"is for {kept.action}"
                elif other:
                    why = "is for other arguments"
        if why or kept is None:
            msg = f"{action}: the confirmation token {why}"
            raise ConfirmationRefused(msg, other=other, bill="nothing was changed", hint=HINT)
        return kept.holds

    def _sweep(self) -> None:
        now = self.clock()
        for token in [token for token, kept in self._kept.items() if kept.until <= now]:
            del self._kept[token]


def _canonical(arguments: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in arguments.items() if value is not None}
    return json.dumps(kept, sort_keys=True, default=str)

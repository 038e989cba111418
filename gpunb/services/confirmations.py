"""Confirmation of actions that cost or end something: one rule for all frontends.

An action that costs or ends something is done after a yes to the question that was shown. A yes is ``--yes``,
the user's answer, or a token that was given with the question. No answer, a closed input and a page that
can't ask are none: then the action is refused, with the command that says yes.
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
    """The question before an action: its effect on the work and on the bill.

    Attributes
    ----------
    text
        All of it in sentences, as every frontend shows it.
    rows
        The same as names and values, for a frontend that shows a table; may be empty.
    prompt
        The last sentence, under such a table.
    usd
        US dollars that it can cost from here on; None if unknown.
    needed
        Whether it must be asked: not for an action that neither costs nor ends anything.
    undone
        The state without a yes, for the line on the bill.
    """

    text: str
    rows: tuple[tuple[str, str], ...] = ()
    prompt: str = "Continue?"
    usd: float | None = None
    needed: bool = True
    undone: str = "nothing was changed"


class Asker(Protocol):
    """A frontend's ability to ask the user."""

    @property
    def can_ask(self) -> bool:
        """Whether the user can answer now."""

    def put(self, question: Question) -> bool:
        """Ask the question; returns whether the answer was yes."""


def confirmed(question: Question, asker: Asker, *, yes: bool) -> bool:
    """Ask the question if needed; returns whether to go on.

    Parameters
    ----------
    yes
        Whether the yes was given beforehand: ``--yes``.

    Raises
    ------
    ConfirmationNeeded
        It must be asked, and no answer can be given here.
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
    """Single-use tokens of questions shown by a page. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, life_s: float = LIFE_S) -> None:
        self.clock = clock
        self.life_s = life_s
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def issue(self, user: str, action: str, arguments: Mapping[str, Any], holds: Any = None) -> str:
        """Create a token for this action and arguments; `holds` is passed on to the action (the offer)."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._sweep()
            while len(self._kept) >= MOST:
                del self._kept[next(iter(self._kept))]
            until = self.clock() + self.life_s
            self._kept[token] = _Kept(user, action, _canonical(arguments), until, holds)
        return token

    def use(self, token: str | None, user: str, action: str, arguments: Mapping[str, Any]) -> Any:
        """Use up the token; returns what it holds.

        Raises
        ------
        ConfirmationNeeded, ConfirmationRefused
            There is none, or it does not fit. A token presented by another user stays valid.
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

"""Questions that were asked and may be answered once.

What a page may make gpunb do with money is what was put to the user in words, there, a moment
ago: the answer names the question by a token that nobody can guess, and is taken once.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from gpunb.errors import WrongState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["EXPIRES_S", "Confirmations"]

EXPIRES_S = 120.0
MOST = 32


class Confirmations:
    """The open questions of one widget.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, tuple[float, str, dict[str, Any]]] = {}

    def ask(self, action: str, args: Mapping[str, Any]) -> str:
        """A token for `action` with exactly `args`; the oldest question makes room for it."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            while len(self._open) >= MOST:
                del self._open[next(iter(self._open))]
            self._open[token] = (self._clock() + EXPIRES_S, action, dict(args))
        return token

    def take(self, token: str, action: str, args: Mapping[str, Any]) -> None:
        """Use up the answer to the question that was asked.

        Raises
        ------
        WrongState
            No such question is open any more, or it was about something else.
        """
        with self._lock:
            until, asked, about = self._open.pop(token, (0.0, "", {}))
        if until < self._clock():
            why = "it is too long ago" if asked else "it was answered already, or never asked"
        elif (asked, about) != (action, dict(args)):
            why = "the question was about something else"
        else:
            return
        msg = f"{action} was not confirmed: {why}"
        raise WrongState(msg, bill="nothing was changed", hint="click it again")

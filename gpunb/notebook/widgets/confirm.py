"""Confirmation questions of widgets, each answered at most once.

A page can make gpunb spend money only by an action that it has just asked the user about: the
answer names the question by an unguessable token, and is accepted once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gpunb.errors import ConfirmationNeeded, ConfirmationRefused, WrongState
from gpunb.services.confirmations import LIFE_S, MOST, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["EXPIRES_S", "MOST", "Confirmations"]

EXPIRES_S = LIFE_S
_NOBODY = ""  # one user only: whoever sees a notebook's page has its kernel


class Confirmations:
    """The open confirmation questions of one widget.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = Tokens(clock, EXPIRES_S)

    def ask(self, action: str, args: Mapping[str, Any], holds: Any = None) -> str:
        """Issue a token for `action` with exactly `args`; the oldest question may be dropped for it.

        Parameters
        ----------
        holds
            An object that `take` returns, such as the offer as it was shown.
        """
        return self._tokens.issue(_NOBODY, action, args, holds)

    def take(self, token: str, action: str, args: Mapping[str, Any]) -> Any:
        """Use up a question's token, and return what the question holds.

        Raises
        ------
        WrongState
            No such question is open any more, or it was about something else.
        """
        try:
            return self._tokens.use(token, _NOBODY, action, args)
        except ConfirmationNeeded as err:
            why = "it was answered already, never asked, or asked too long ago"
            if isinstance(err, ConfirmationRefused) and err.other:
                why = "the question was about something else"
            msg = f"{action} was not confirmed: {why}"
            raise WrongState(msg, bill="nothing was changed", hint="click it again") from err

"""Questions that a widget has asked and that may be answered once.

What a page may make gpunb do with money is what was put to the user in words, there, a moment
ago: the answer names the question by a token that nobody can guess, and is taken once.
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
_NOBODY = ""  # who sees a notebook's page, has its kernel


class Confirmations:
    """The open questions of one widget.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = Tokens(clock, EXPIRES_S)

    def ask(self, action: str, args: Mapping[str, Any], holds: Any = None) -> str:
        """A token for `action` with exactly `args`; the oldest question makes room for it.

        Parameters
        ----------
        holds
            What the answer will find with it: what was shown, as it was shown.
        """
        return self._tokens.issue(_NOBODY, action, args, holds)

    def take(self, token: str, action: str, args: Mapping[str, Any]) -> Any:
        """Use up the answer to the question that was asked; what the question holds.

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

"""Which notebooks send their plain cells to a host: what ``%gpu on`` sets and ``%gpu off`` takes back."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunb.remote import AgentClient

__all__ = ["Mode", "current", "turn_off", "turn_on"]


@dataclass(slots=True)
class Mode:
    """Where plain cells go.

    Attributes
    ----------
    session_id, name
        The session. It is looked up by its id, so that another one of the
        same name is never meant.
    client
        The line that completion uses; it never opens one itself.
    """

    session_id: str
    name: str
    client: AgentClient | None = None


_modes: weakref.WeakKeyDictionary[Any, Mode] = weakref.WeakKeyDictionary()


def current(shell: Any) -> Mode | None:
    """The mode of `shell`; None while its cells run here."""
    return _modes.get(shell)


def turn_on(shell: Any, mode: Mode) -> None:
    """Send plain cells to the host from the next one on."""
    _modes[shell] = mode


def turn_off(shell: Any) -> Mode | None:
    """Run plain cells here again; what was on before."""
    return _modes.pop(shell, None)

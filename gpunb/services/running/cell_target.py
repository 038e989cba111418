"""Which notebooks send their plain cells to a host: what ``%gpu on`` sets and ``%gpu off`` takes back."""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunb.remote import AgentClient

__all__ = ["Mode", "begins", "current", "ran", "told", "turn_off", "turn_on"]

KEPT = 1000  # cells of a notebook whose place is remembered


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
_ran: weakref.WeakKeyDictionary[Any, dict[str, str]] = weakref.WeakKeyDictionary()


def current(shell: Any) -> Mode | None:
    """The mode of `shell`; None while its cells run here."""
    return _modes.get(shell)


def turn_on(shell: Any, mode: Mode) -> None:
    """Send plain cells to the host from the next one on."""
    _modes[shell] = mode


def turn_off(shell: Any) -> Mode | None:
    """Run plain cells here again; what was on before."""
    return _modes.pop(shell, None)


def ran(shell: Any, name: str) -> None:
    """Remember that the cell that is being executed ran on the session called `name`.

    Fronts name the cell in the request's metadata (``cellId``: JupyterLab, Notebook 7, VS Code);
    of others nothing is kept.
    """
    cell = _cell(shell)
    if cell:
        kept = _ran.setdefault(shell, {})
        kept.pop(cell, None)
        kept[cell] = name
        for old in list(kept)[:-KEPT]:
            del kept[old]


def begins(shell: Any) -> None:
    """A cell is executed anew: where it ran before counts no more."""
    _ran.get(shell, {}).pop(_cell(shell), None)


def _cell(shell: Any) -> str:
    get_parent = getattr(shell, "get_parent", None)
    metadata = get_parent().get("metadata", {}) if callable(get_parent) else {}
    cell = metadata.get("cellId") if isinstance(metadata, dict) else None
    return cell if isinstance(cell, str) and len(cell) <= 100 else ""


def told(shell: Any) -> str:
    """What JupyterLab asks for, as JSON: ``on``, a session's id and name; ``cells``, which ran where."""
    found = current(shell)
    on = None if found is None else [found.session_id, found.name]
    return json.dumps({"on": on, "cells": _ran.get(shell, {})})

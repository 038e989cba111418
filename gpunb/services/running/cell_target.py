"""The target of a notebook's plain cells: set to a host by ``%gpu on``, reset by ``%gpu off``."""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunb.remote import AgentClient

__all__ = ["Mode", "begins", "current", "ran", "told", "turn_off", "turn_on"]

KEPT = 1000  # cells of a notebook whose session is remembered


@dataclass(slots=True)
class Mode:
    """The session that plain cells are sent to.

    Attributes
    ----------
    session_id, name
        The session. It is looked up by its id, so that another one of the
        same name is never meant.
    client
        The agent client that completion uses; it never opens one itself.
    """

    session_id: str
    name: str
    client: AgentClient | None = None


_modes: weakref.WeakKeyDictionary[Any, Mode] = weakref.WeakKeyDictionary()
_ran: weakref.WeakKeyDictionary[Any, dict[str, str]] = weakref.WeakKeyDictionary()


def current(shell: Any) -> Mode | None:
    """The current target of `shell`; None while its cells run here."""
    return _modes.get(shell)


def turn_on(shell: Any, mode: Mode) -> None:
    """Send plain cells to the host from the next one on."""
    _modes[shell] = mode


def turn_off(shell: Any) -> Mode | None:
    """Run plain cells here again; returns the previous target."""
    return _modes.pop(shell, None)


def ran(shell: Any, name: str) -> None:
    """Record that the cell being executed ran on the session called `name`.

    Frontends name the cell in the request's metadata (``cellId``: JupyterLab, Notebook 7, VS Code);
    for others nothing is recorded.
    """
    cell = _cell(shell)
    if cell:
        kept = _ran.setdefault(shell, {})
        kept.pop(cell, None)
        kept[cell] = name
        for old in list(kept)[:-KEPT]:
            del kept[old]


def begins(shell: Any) -> None:
    """Forget where the cell ran before: it is executed again."""
    _ran.get(shell, {}).pop(_cell(shell), None)


def _cell(shell: Any) -> str:
    get_parent = getattr(shell, "get_parent", None)
    metadata = get_parent().get("metadata", {}) if callable(get_parent) else {}
    cell = metadata.get("cellId") if isinstance(metadata, dict) else None
    return cell if isinstance(cell, str) and len(cell) <= 100 else ""


def told(shell: Any) -> str:
    """State for JupyterLab as JSON: ``on``, a session's id and name; ``cells``, which ran where."""
    mode = current(shell)
    on = None if mode is None else [mode.session_id, mode.name]
    return json.dumps({"on": on, "cells": _ran.get(shell, {})})

"""Where a project begins here, and where it lies on a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.errors import BadInput

if TYPE_CHECKING:
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["MARKERS", "bind", "bound", "is_left_out", "keep", "known", "place", "root"]

MARKERS = ("gpunb.toml", "pyproject.toml", ".git")
"""What is in the first folder of a project."""

_PLACE, _BOUND = "project", "here"
"""Kinds of events in the ledger: where a folder lies on the host, and which folder is bound."""


def root(start: Path) -> Path:
    """The project's folder: the nearest one from `start` upwards that has one of `MARKERS`, else `start`.

    A folder that the project's rules leave out is a project of its own.

    Parameters
    ----------
    start
        A folder, or a file in it.

    Raises
    ------
    BadInput
        It would be the home folder, one above it, or ``/``.
    """
    folder = start.expanduser().resolve()
    if not folder.is_dir():
        folder = folder.parent
    for path in (folder, *folder.parents):
        if _too_much(path):
            break
        if any((path / name).exists() for name in MARKERS):
            if is_left_out(path, folder):  # such as build/: no part of it would be on the host
                break
            return path
    why = _too_much(folder)
    if why:
        msg = f"{folder} is {why}, and it is never taken as a project"
        raise BadInput(msg, hint="change to the project's own folder, or make one with a gpunb.toml in it")
    return folder


def is_left_out(top: Path, path: Path) -> bool:
    """Whether the rules of the project `top` leave out `path` in it, or a folder above that."""
    from gpunb.sync.planning.rules import Rules

    rules, above = Rules(top), top
    for name in path.relative_to(top).parts:
        above /= name
        if rules.why_out(above.relative_to(top).as_posix(), folder=above.is_dir()) is not None:
            return True
    return False


def _too_much(folder: Path) -> str:
    home = Path.home().resolve()
    if folder == home:
        return "your home folder"
    if folder == Path(folder.anchor):
        return "the whole disk"
    return "a folder above your home folder" if folder in home.parents else ""


def place(ledger: Ledger, session: Session, folder: Path) -> str:
    """The folder on the host, relative to its home, that corresponds to `folder` here.

    It has the folder's name; a second folder of that name on one session gets a number. What was answered
    once holds for the session's life.
    """
    here = str(folder.expanduser().resolve())
    taken = known(ledger, session)
    if here in taken:
        return taken[here]
    name = Path(here).name.lstrip(".") or "project"
    numbered = (name if n == 1 else f"{name}-{n}" for n in range(1, len(taken) + 2))
    result = next(one for one in numbered if one not in taken.values())
    keep(ledger, session, Path(here), result)
    return result


def keep(ledger: Ledger, session: Session, folder: Path, there: str) -> None:
    """Note that `folder` here has the place `there` on the session's host."""
    if known(ledger, session).get(str(folder)) != there:
        ledger.note(session.id, _PLACE, f"{there}={folder}")


def known(ledger: Ledger, session: Session) -> dict[str, str]:
    """The folders here that have a place on the session's host, each with that place."""
    pairs = (event.detail.partition("=") for event in ledger.events(session.id) if event.kind == _PLACE)
    return {path: there for there, _, path in pairs}


def bind(ledger: Ledger, session: Session, folder: Path | None) -> None:
    """Bind `folder` to the session; None ends that."""
    if bound(ledger, session) != folder:
        ledger.note(session.id, _BOUND, json.dumps(str(folder) if folder else None))


def bound(ledger: Ledger, session: Session) -> Path | None:
    """The folder that is bound to the session; None if none is."""
    for event in reversed(ledger.events(session.id)):
        if event.kind == _BOUND:
            data = json.loads(event.detail)
            return Path(data) if data else None
    return None

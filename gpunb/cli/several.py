"""Verbs that take several sessions in one call: ``stop a b``, ``start a b``, ``down a b``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpunb import log
from gpunb.cli.command import complete_sessions
from gpunb.errors import GpunbError
from gpunb.presentation.result import Block, Note
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.cli.context import Context
    from gpunb.sessions.model import Session

__all__ = ["chosen", "each", "names"]


def names(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Add to a verb the argument ``names``, and ``named`` for those given by ``-s``."""
    fn = click.option(
        "-s",
        "--session",
        "named",
        multiple=True,
        metavar="SESSION",
        shell_complete=complete_sessions,
        hidden=True,
    )(fn)
    return click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_sessions)(fn)


def chosen(context: Context, given: Sequence[str]) -> list[Session]:
    """The sessions with these whole names or ids, each once; without any the only one or the one rented here.

    The name of a group stands for all of its live members.

    Raises
    ------
    SessionNotFound, SessionOver, SessionAmbiguous
        One of them does not exist; nothing was done to the others yet.
    """
    if not given:
        return [context.session(None)]
    found: dict[str, Session] = {}
    for name in given:
        group = context.ledger.find_group(name)
        for session in group.live if group is not None and group.alive else [context.session(name)]:
            found[session.id] = session
    return list(found.values())


def each(
    verb: str,
    sessions: Sequence[Session],
    act: Callable[[Session], tuple[dict[str, Any], list[Block]]],
) -> tuple[list[dict[str, Any]], list[Block], bool]:
    """Call `act` on each session, also after a failure; returns all data and blocks, and whether any failed.

    The only one's failure is raised.
    """
    data: list[dict[str, Any]] = []
    blocks: list[Block] = []
    failed = False
    for session in sessions:
        try:
            row, shown = act(session)
        except ANY as err:
            if len(sessions) == 1:
                raise
            failed = True
            log.get(__name__).warning("%s %s: %s", verb, session.name, err, exc_info=True)
            row = {"session": session.name, "error": words(err)}
            shown = [Note(clean(f"{session.name}: {words(err)}"), "bad")]
            if isinstance(err, GpunbError):
                lines = ("bill: ", err.bill), ("next: ", err.hint)
                shown += [Note(what + text, "warn") for what, text in lines if text]
        data.append(row)
        blocks += shown
    return data, blocks, failed

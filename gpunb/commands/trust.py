"""``trust``: how far a session's host is trusted; only the user changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.commands.result import Note, Result, Table
from gpunb.commands.verb import complete_sessions, did_you_mean, verb
from gpunb.errors import BadInput

if TYPE_CHECKING:
    from gpunb.commands.context import Context

__all__ = ["LEVELS", "command", "rank"]

#: From the least to the most, and what each means.
LEVELS = {
    "stranger": "a marketplace host: what it shows is made harmless, pickles and secrets are refused",
    "datacenter": "a verified data centre: rich output as it is, secrets may go there, pickles are refused",
    "own": "your own machine, or one you trust like it: everything passes",
}


def rank(level: str) -> int:
    """The place of `level` among `LEVELS`; an unknown word is a stranger's."""
    return list(LEVELS).index(level) if level in LEVELS else 0


@verb("trust", example="trust\ntrust train datacenter\ntrust own")
@click.argument("words", nargs=-1, metavar="[SESSION] [LEVEL]", shell_complete=complete_sessions)
def command(context: Context, *, words: tuple[str, ...]) -> Result:
    """Show how far a session's host is trusted, or set it: stranger, datacenter or own.

    A new session has what its cloud's facts say: a marketplace host is a stranger, a verified data
    centre a datacenter, this machine your own. Nothing but this verb changes it. It holds for what
    the host sends from now on, also in notebooks that are open.
    """
    name, level = _parsed(context, words)
    session = context.session(name)
    if level is None:
        return Result(
            {"session": session.name, "trust": session.trust},
            Note(f"{session.name} is a {session.trust}: {LEVELS.get(session.trust, '')}"),
            Table(["level", "what it means"], [[key, text] for key, text in LEVELS.items()]),
        )
    was = session.trust
    if level != was:
        context.ledger.update(session.id, trust=level)
        context.ledger.note(session.id, "trust", f"{was} -> {level}, set by the user")
    return Result(
        {"session": session.name, "trust": level, "was": was},
        Note(f"{session.name} was {was} and is {level} now: {LEVELS[level]}", "ok"),
    )


def _parsed(context: Context, words: tuple[str, ...]) -> tuple[str | None, str | None]:
    """The session's name and the level, as far as they were given."""
    if len(words) > 2:
        msg = f"trust takes a session and a level; {words[2]!r} is one word too many"
        raise BadInput(msg, hint="gpunb trust SESSION datacenter")
    if not words:
        return None, None
    if len(words) == 2:
        name, level = words
    elif words[0] in LEVELS and all(one.name != words[0] for one in context.ledger.sessions()):
        return None, words[0]
    else:
        return words[0], None
    if level not in LEVELS:
        msg = f"trust {name} {level!r}: a level is one of {', '.join(LEVELS)}"
        raise BadInput(msg, hint=did_you_mean(level, list(LEVELS)))
    return name, level

"""``trust``: show or set a session's trust level; only the user changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import complete_sessions, verb
from gpunb.errors import BadInput, WrongState
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result, Table
from gpunb.text import did_you_mean
from gpunb.trust import LEVELS

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.model import Session

__all__ = ["command"]


@verb("trust", example="trust\ntrust train datacenter\ntrust own\ntrust train --host-key SHA256:…")
@click.argument("words", nargs=-1, metavar="[SESSION] [LEVEL]", shell_complete=complete_sessions)
@click.option(
    "--host-key",
    metavar="SHA256:…",
    help="The host's new SSH key, as the provider's console shows it: connect with that one from now on.",
)
def command(context: Context, *, words: tuple[str, ...], host_key: str | None) -> Result:
    """Show how far a session's host is trusted, or set it: stranger, datacenter or own.

    A new session has what its cloud's facts say: a marketplace host is a stranger, a verified data
    centre a datacenter, this machine your own. Nothing but this verb changes it. It holds for what
    the host sends from now on, also in notebooks that are open.
    """
    name, level = _parsed(context, words)
    if host_key is not None and level is not None:
        msg = f"trust {level} --host-key: takes no level; a host's level and its key are set one at a time"
        raise BadInput(msg, hint="ask for one at a time")
    session = context.session(name)
    if host_key is not None:
        return _new_key(context, session, host_key)
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


def _new_key(context: Context, session: Session, told: str) -> Result:
    """Pin the host key that the user vouches for, and continue a start that was blocked by it."""
    from gpunb.sessions import lifecycle
    from gpunb.sessions.access import host_keys
    from gpunb.sessions.model import SessionState
    from gpunb.ssh import fingerprint

    if session.state is SessionState.STOPPED:
        msg = f"session {session.name} is stopped: its host shows no key"
        raise WrongState(msg, hint=typed("start", session.name))
    with context.progress(f"looking at the key of {session.name}"):
        line = host_keys.new_host_key(session, told)
    key = f"{line.split()[0]} {fingerprint(line)}"
    context.ledger.note(session.id, "host-key", f"{key}, by the word of the user")
    if session.state in {SessionState.BOOTING, SessionState.REACHABLE}:
        with context.progress(f"start {session.name}") as progress:
            provider = context.provider(session.provider)
            session = lifecycle.resume(context.ledger, provider, session, progress=progress)
    return Result(
        {"session": session.name, "host_key": line, "state": session.state.value},
        Note(f"{session.name} is reached by the key {key} from now on; it is {session.state.value}", "ok"),
    )


def _parsed(context: Context, words: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Parse the session's name and the level, as far as given."""
    if len(words) > 2:
        msg = f"trust takes a session and a level; {words[2]!r} is one word too many"
        raise BadInput(msg, hint=typed("trust SESSION datacenter"))
    if not words:
        return None, None
    if len(words) == 2:
        name, level = words
    elif words[0] in LEVELS and all(session.name != words[0] for session in context.ledger.sessions()):
        return None, words[0]
    else:
        return words[0], None
    if level not in LEVELS:
        msg = f"trust {name} {level!r}: a level is one of {', '.join(LEVELS)}"
        raise BadInput(msg, hint=did_you_mean(level, list(LEVELS)))
    return name, level

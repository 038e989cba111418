"""Resolution of session names: whole names for verbs that act, prefixes for those that only read.

With prefixes, a name that is over, one letter too few or a letter of a random id would mean another
session, and end it. So `acting` and `whole` take nothing but whole names and ids, over live and ended
sessions alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.errors import BadInput, SessionAmbiguous, SessionNotFound, SessionOver
from gpunb.hints import typed
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.sessions.model import Session

__all__ = ["acting", "default", "listed", "reading", "whole"]

_ENDING = {SessionState.ENDING, SessionState.UNKNOWN}


def whole(name: str, live: Sequence[Session], over: Sequence[Session]) -> Session:
    """The session with exactly this name or id: a live one, else the one that ended last.

    Parameters
    ----------
    live, over
        Oldest first.

    Raises
    ------
    SessionNotFound
        There is none; ``close`` lists live ones that may be meant.
    SessionAmbiguous
        It is the name of one live session and the id of another, or that of a group.
    """
    _not_empty(name)
    for group in (live, over[::-1]):
        exact = [session for session in group if name in {session.name, session.id}]
        if len({session.id for session in exact}) > 1 and group is live:
            msg = f"{name!r} could mean {listed(exact)}"
            raise SessionAmbiguous(
                msg, asked=name, hint="type the other's id: " + typed("ps --json") + " has it"
            )
        if exact:
            return exact[0]
    members = [session for session in live if session.group == name]
    if members:
        msg = f"{name} is a group: say which member, {listed(members)}"
        raise SessionAmbiguous(msg, asked=name, close=[session.name for session in members])
    raise _unknown(name, live, over)


def acting(name: str, live: Sequence[Session], over: Sequence[Session]) -> Session:
    """The live session with exactly this name or id.

    Raises
    ------
    SessionOver
        That one has ended; the message lists the live ones.
    SessionNotFound, SessionAmbiguous
        As `whole`.
    """
    session = whole(name, live, over)
    if session.alive:
        return session
    msg = f"session {name} has ended already ({session.state.value}); {_alive(live)}"
    err = SessionOver(
        msg,
        asked=name,
        close=_close(name, live),
        bill="it costs nothing any more, and nothing was changed",
        hint=typed("show", name)
        + " tells what it was"
        + ("" if live else "; " + typed("rent") + " starts another"),
    )
    raise err


def reading(name: str, live: Sequence[Session], over: Sequence[Session]) -> Session:
    """The session for `name` in a verb that only reads: prefixes match, whole names come first.

    Raises
    ------
    SessionNotFound, SessionAmbiguous
    """
    try:
        return whole(name, live, over)
    except SessionNotFound:
        for group in (live, over[::-1]):
            close = [
                session for session in group if session.name.startswith(name) or session.id.startswith(name)
            ]
            if len(close) == 1:
                return close[0]
            if close:
                msg = f"{name!r} could mean {listed(close)}"
                raise SessionAmbiguous(msg, asked=name, hint="type more of the name") from None
        raise


def default(live: Sequence[Session], here: Sequence[str] = ()) -> Session:
    """The default session without a name: the only live one, else the one rented here.

    Parameters
    ----------
    here
        The caller's marks, `gpunb.sessions.access.renter.marks`, the nearest first.

    Raises
    ------
    SessionNotFound
        None lives.
    SessionAmbiguous
        Several do, and not exactly one of them was rented here; ``proposed`` is the latest that was.
    """
    usable = [session for session in live if session.state not in _ENDING]
    if len(usable) == 1 or len(live) == 1:
        return (usable or list(live))[0]
    if not live:
        msg = "there is no live session"
        raise SessionNotFound(msg, hint=typed("rent") + " starts one")
    own = _rented_here(usable, here)
    if len(own) == 1:
        return own[0]
    msg = f"several sessions are alive: {listed(live)}; which one?"
    raise SessionAmbiguous(
        msg,
        close=[session.name for session in (usable or live)],
        proposed=max(own, key=lambda one: one.created).name if own else "",
        hint="add -s NAME",
    )


def listed(sessions: Sequence[Session], most: int = 8) -> str:
    """List names and states for a message."""
    shown = ", ".join(f"{session.name} ({session.state.value})" for session in sessions[:most])
    return shown if len(sessions) <= most else f"{shown} and {len(sessions) - most} more"


def _rented_here(live: Sequence[Session], here: Sequence[str]) -> list[Session]:
    """The sessions that the nearest of `here` has rented."""
    for mark in here:
        sessions = [session for session in live if mark in session.renter.split()]
        if sessions:
            return sessions
    return []


def _unknown(name: str, live: Sequence[Session], over: Sequence[Session]) -> SessionNotFound:
    close = _close(name, live)
    begins = [
        session.name for session in live if session.name.startswith(name) or session.id.startswith(name)
    ]
    rule = f" ({name!r} is only the beginning of one)" if begins else ""
    msg = f"there is no session {name!r}{rule}" + (f"; {_alive(live)}" if live else "")
    hint = (typed("ps --all") + " lists them") if live or over else (typed("rent") + " starts one")
    return SessionNotFound(msg, asked=name, close=close, hint=hint)


def _close(name: str, live: Sequence[Session]) -> list[str]:
    """Names of live sessions that may have been meant."""
    begins = [
        session.name for session in live if session.name.startswith(name) or session.id.startswith(name)
    ]
    if begins:
        return begins
    from difflib import get_close_matches

    return get_close_matches(name, [session.name for session in live], n=1, cutoff=0.6)


def _alive(live: Sequence[Session]) -> str:
    return f"there is {listed(live)}" if live else "no session is alive"


def _not_empty(name: str) -> None:
    if not name:
        msg = "a session's name can't be empty"
        raise BadInput(msg)

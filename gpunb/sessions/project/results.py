"""What runs wrote into a project comes home: after each run, and before its session ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.errors import SyncError
from gpunb.hints import typed
from gpunb.sessions.project.bringing import Limits, bring
from gpunb.sessions.project.host_folder import HostFolder
from gpunb.sessions.project.state import State, locked
from gpunb.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpunb.sessions.model import Session
    from gpunb.sessions.project.report import Brought
    from gpunb.sync import bring as saves

__all__ = ["BOUND", "bring_back", "bring_home", "fetch"]

BOUND = 2 << 30
"""Bytes that come back before the end without having been named."""


def bring_back(session: Session, root: Path, place: str, limits: Limits, *, whole: bool = False) -> Brought:
    """Bring what is new in `place` on the host since the last time to `root`, as far as `limits` allow.

    Parameters
    ----------
    whole
        Look at all that is there, also what was left there before.

    Raises
    ------
    Unreachable, HostError
        The connection broke; the same call goes on.
    """
    from gpunb.sessions.access import host_access

    with locked(session.id, root):
        state = State.load(session.id, root)
        host = HostFolder(host_access.agent(session), place, state.token)
        return fetch(session, root, host, state, limits, whole=whole)


def fetch(
    session: Session, root: Path, host: HostFolder, state: State, limits: Limits, *, whole: bool = False
) -> Brought:
    """Bring what is new, and save the state, whose lock the caller has."""
    changes = host.changes(0 if whole else state.number)
    out = bring(root, host, state, changes, limits, word=session.name, trusted=session.trust == "own")
    if out.vanished:
        out.vanished = state.sent
        state.forget()
    state.save()
    return out


def bring_home(
    session: Session, root: Path, place: str, *, last: bool, without: Sequence[str] = ()
) -> saves.Brought:
    """Bring all that came to be there before the session ends: what was left there by earlier runs, too.

    What could run here comes under a name that nothing runs. What is over `BOUND` counts as failed.

    Parameters
    ----------
    last
        The end comes whatever the outcome: without a bound.
    without
        Paths that are brought by themselves.

    Raises
    ------
    SyncError
        `root` can't be made.
    Unreachable, HostError
    """
    from gpunb.sync.bring import Brought

    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        msg = f"the folder {root} can't be made: {err.strerror or err}"
        raise SyncError(msg) from err
    most = None if last else BOUND
    limits = Limits(each=None, total=most, files=None, aside=True, without=without)
    came = bring_back(session, root, place, limits, whole=True)
    out = Brought([str(root)], len(came.taken) + len(came.beside), came.moved, came.moved, came.beside)
    out.left, out.failed = came.left, came.failed
    if came.vanished:
        out.left.append((place, "the folder is gone there"))
    if came.many:
        out.failed.append((place, "it holds too many files to come by itself"))
    for path, size in came.big:
        again = typed("sync", f"{session.name}:{place}/{path}", str(root / path))
        why = f"{bytes_text(size)}; more than {bytes_text(BOUND)} comes if named: {again}"
        out.failed.append((path, why))
    return out

"""The checkpoint of a run, as it came home last: whole, in gpunb's own folder.

Each copy is made beside the last one, of which it takes what has not changed, and takes its place when it is
whole: a machine that is taken in the middle of it spoils nothing.
"""

from __future__ import annotations

import os
import shutil
import threading
from typing import TYPE_CHECKING

from gpunb import paths
from gpunb.sessions.attempts import chain
from gpunb.sessions.foreign_errors import ANY, words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.timeouts import Timing
    from gpunb.sessions.model import Session

__all__ = ["EVERY_S", "KIND", "due", "folder", "keep", "kept", "remove"]

EVERY_S = 300.0
"""Seconds between two copies."""

KIND = "checkpoint"
"""The kind of event that says that a copy came home."""


def folder(ledger: Ledger, session: Session) -> Path:
    """Where the checkpoint of the session's run is kept here, the same for all of its machines."""
    return paths.home() / "checkpoints" / chain.first(ledger, session).id


def kept(ledger: Ledger, session: Session) -> Path | None:
    """The last whole copy; None if none came home yet."""
    base = folder(ledger, session)
    return next((path for path in (base / "last", base / "before") if path.is_dir()), None)


def due(ledger: Ledger, session: Session, now: float, tried: float) -> bool:
    """Whether another copy is due: its run goes on, and neither it nor the last try is young."""
    if not session.again.get("there"):
        return False
    note = ledger.run(session.id, session.ends_with)
    return note is not None and note.ended is None and now - max(note.started, tried) >= EVERY_S


def keep(ledger: Ledger, session: Session, host: HostAccess, timing: Timing) -> str:
    """Bring the checkpoint home, within the time for results; returns why it did not come, or "".

    The host has no such folder before the run writes its first one: that is no failure, and leaves the last.
    """
    base = folder(ledger, session)
    source = str(session.again["there"])
    out: list[str] = []

    def work() -> None:
        try:
            out.append(_copy(base, lambda new: host.mirror(session, source, new)))
        except ANY as err:
            out.append(words(err))

    thread = threading.Thread(target=work, name=f"gpunb-checkpoint-{session.name}", daemon=True)
    thread.start()
    thread.join(timing.save_s)
    why = out[0] if out else f"not finished within {timing.save_s:.0f} s"
    if not why:
        ledger.note(session.id, KIND, str(base / "last"))
    return why


def remove(ledger: Ledger, session: Session) -> None:
    """Remove the copies of a run that has succeeded, once its end is confirmed and all results are home."""
    note = ledger.run(session.id, session.ends_with) if session.again else None
    receipt = ledger.receipt(session.id)
    if note is None or note.state != "ok" or receipt is None or receipt.unsaved or not receipt.saved:
        return
    shutil.rmtree(folder(ledger, session), ignore_errors=True)


def _copy(base: Path, fill: Callable[[Path], bool]) -> str:
    paths.private_dir(base)
    new, last, before = base / "new", base / "last", base / "before"
    shutil.rmtree(new, ignore_errors=True)
    seed = last if last.is_dir() else before
    if seed.is_dir():  # what has not changed does not travel again; a file that changes gets a new inode
        shutil.copytree(seed, new, copy_function=os.link, symlinks=True)
    else:
        new.mkdir(mode=0o700)
    if not fill(new):
        return "there is none on its host yet"
    if last.is_dir():
        shutil.rmtree(before, ignore_errors=True)
        last.rename(before)
    new.rename(last)
    shutil.rmtree(before, ignore_errors=True)
    return ""

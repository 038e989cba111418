"""Before the end: bring back what the user asked for, within a limit, and say what could not be."""

from __future__ import annotations

import json
import threading
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gpunb.progress import SILENT, Progress
from gpunb.sessions.model import Session, SessionState, Transfer
from gpunb.sessions.trouble import ANY, words

if TYPE_CHECKING:
    from gpunb.sessions.ledger import Ledger
    from gpunb.sessions.reach import Reach
    from gpunb.sessions.timing import Timing

__all__ = ["fetch_saves", "target_of"]


def target_of(session: Session, path: str) -> Path:
    """Where the host's `path` comes to lie here: a relative one keeps its folders, an absolute its name."""
    base = Path(session.save_to) if session.save_to else Path.cwd()
    remote = PurePosixPath(path)
    if remote.is_absolute() or ".." in remote.parts or path.startswith("~"):
        return base / (remote.name or "root")
    return base / remote


def fetch_saves(
    ledger: Ledger, session: Session, host: Reach, timing: Timing, progress: Progress = SILENT
) -> list[tuple[str, str]]:
    """Bring back each path of ``session.save``; returns (path, reason) of those that failed.

    Outcomes are noted in the session's history, from which the receipt takes them.
    """
    if not session.save or session.state is SessionState.ENDING:
        return []
    clock = ledger.clock
    end = clock.time() + timing.save_s
    failed: list[tuple[str, str]] = []
    for path in session.save:
        target = target_of(session, path)
        progress.say(f"bringing back {path} to {target}")
        started = clock.time()
        left = max(0.0, end - started)
        done, reason = _within(left, session, path, target, host=host, progress=progress)
        ended = clock.time()
        if reason:
            failed.append((path, reason))
            ledger.note(session.id, "unsaved", json.dumps([path, reason]))
            continue
        ledger.note(session.id, "saved", path)
        ledger.add_transfer(
            Transfer(
                session_id=session.id, direction="down", bytes=done, started=started, ended=ended, what=path
            )
        )
    return failed


def _within(
    limit: float, session: Session, path: str, target: Path, *, host: Reach, progress: Progress
) -> tuple[int, str]:
    """(bytes, "") or (0, reason). A transfer that hangs is cut off by closing its connection."""
    out: list[tuple[int, str]] = []

    def work() -> None:
        try:
            out.append((host.fetch(session, path, target, progress), ""))
        except ANY as err:  # told, not swallowed
            out.append((0, words(err)))

    if limit <= 0:
        return 0, "no time was left for it"
    thread = threading.Thread(target=work, name=f"gpunb-save-{session.name}", daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        host.drop(session.id)
        thread.join(5.0)
        return 0, f"not finished within {limit:.0f} s"
    return out[0]

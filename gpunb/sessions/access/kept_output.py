"""The output of the run that a session ends with, kept here: with the host it would be gone.

It is taken before the host is let go, however the session ends, and `logs` and `attach` show it afterwards.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gpunb import log, paths
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.model import SessionState
from gpunb.text import plain

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["keep_output", "last_lines", "output_file"]

OUTPUT_S = 60.0
"""Seconds for the run's output: the lease does not wait for it."""

LINES = 10
LINES_MOST = 1000  # characters
LINES_S = 20.0


def output_file(session_id: str, run_id: str) -> Path:
    """Where the output of a run is kept here after its host is gone."""
    return paths.session_dir(session_id) / "output" / f"{run_id}.txt"


def keep_output(ledger: Ledger, session: Session, host: HostAccess) -> None:
    """Keep what the run has printed so far, for a limited time; all of it, if it has ended."""
    run_id = session.ends_with
    note = ledger.run(session.id, run_id) if run_id else None
    if note is None:
        return
    file = output_file(session.id, run_id)
    if note.ended is not None and file.is_file():
        return

    def work() -> None:
        part = file.with_suffix(".part")
        try:
            paths.private_dir(file.parent)
            host.keep_output(session, run_id, part)
            part.replace(file)
        except ANY as err:
            log.get(__name__).warning("the output of run %s can't be kept: %s", run_id, words(err))

    thread = threading.Thread(target=work, name=f"gpunb-output-{session.name}", daemon=True)
    thread.start()
    thread.join(OUTPUT_S)


def last_lines(ledger: Ledger, session_id: str, run_id: str, host: HostAccess) -> str:
    """The last lines that a run has printed, without what looks like a secret; "" if they can't be had soon.

    They are a stranger's words: no terminal codes, no hidden marks, at most `LINES` lines.
    """
    texts: list[str] = []

    def work() -> None:
        try:
            file = output_file(session_id, run_id)
            if file.is_file():
                with file.open("rb") as kept:
                    before = max(0, file.stat().st_size - 8 * LINES_MOST)
                    kept.seek(before)
                    if before:
                        kept.readline()  # half a line may be half a secret
                    texts.append(kept.read().decode("utf-8", "replace"))
            elif (session := ledger.get(session_id)).state is SessionState.READY:
                texts.append(host.last_output(session, run_id))
        except ANY as err:
            log.get(__name__).warning("the last lines of run %s can't be had: %s", run_id, words(err))

    thread = threading.Thread(target=work, name=f"gpunb-lines-{run_id}", daemon=True)
    thread.start()
    thread.join(LINES_S)
    lines = log.redact(plain("".join(texts[:1]))).strip().splitlines()[-LINES:]
    return "\n".join(lines)[-LINES_MOST:]

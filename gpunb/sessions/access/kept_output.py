"""The output of the run that a session ends with, kept here: with the host it would be gone.

It is taken before the host is let go, however the session ends, and `logs` and `attach` show it afterwards.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gpunb import log, paths
from gpunb.sessions.foreign_errors import ANY, words

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["keep_output", "output_file"]

OUTPUT_S = 60.0
"""Seconds for the run's output: the lease does not wait for it."""


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

"""Sessions that end with their run (`once`): when it is time, and their results before that.

The run's id is in the session's row before anything is rented. So the end belongs to the supervisor as much
as to the client that waits for it: whoever takes the claim first brings the results back and ends the
session. Results that do not come end nothing before the lease does.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb import log, paths
from gpunb.errors import LedgerError
from gpunb.progress import SILENT, Progress
from gpunb.sessions.cost.lease import Due
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.lifecycle.fetch_results import fetch_saves
from gpunb.sessions.lifecycle.taking_down import settle_work
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.timeouts import Timing
    from gpunb.sessions.model import Session

__all__ = ["AGAIN_S", "RUN", "UNSTARTED_S", "bring_home", "output_file", "run_over", "started"]

RUN = "run"
"""Why such a session ends, in its receipt."""

AGAIN_S = 120.0
"""Seconds between two attempts to bring the results back."""

OUTPUT_S = 60.0
"""Seconds for the run's output."""

UNSTARTED_S = 300.0
"""Seconds without any work after which the client that was to start the run is taken for dead."""


def started(ledger: Ledger, session: Session) -> bool:
    """Whether the run that the session ends with was ever begun: only then there are results."""
    return ledger.run(session.id, session.ends_with) is not None


def run_over(ledger: Ledger, session: Session, now: float) -> Due | None:
    """Why a session that ends with its run must end at `now`; None while that runs, or is being prepared."""
    if not session.ends_with or session.state is not SessionState.READY:
        return None
    note = ledger.run(session.id, session.ends_with)
    if note is not None:
        return None if note.ended is None else Due(why=RUN, text="its run has ended")
    if ledger.open_runs(session.id) or now - session.active_at < UNSTARTED_S:
        return None
    return Due(why=RUN, text="its run was never started")


def output_file(session_id: str, run_id: str) -> Path:
    """Where the output of a run is kept here after its host is gone."""
    return paths.session_dir(session_id) / "output" / f"{run_id}.txt"


def _keep_output(ledger: Ledger, session: Session, host: HostAccess) -> None:
    """Keep the run's output here, for a limited time: results come first, and the lease does not wait."""
    run_id = session.ends_with
    if not run_id or not started(ledger, session):
        return
    file = output_file(session.id, run_id)

    def work() -> None:
        try:
            paths.private_dir(file.parent)
            host.keep_output(session, run_id, file)
        except ANY as err:
            log.get(__name__).warning("the output of run %s can't be kept: %s", run_id, words(err))

    thread = threading.Thread(target=work, name=f"gpunb-output-{session.name}", daemon=True)
    thread.start()
    thread.join(OUTPUT_S)


def bring_home(
    ledger: Ledger,
    session: Session,
    host: HostAccess,
    timing: Timing,
    progress: Progress = SILENT,
) -> list[tuple[str, str]] | None:
    """Bring the results of a session whose run has ended back; returns (path, reason) of what did not come.

    This process keeps its claim on the session if all came, for the end that follows.

    Returns
    -------
    list or None
        None if another process does it.
    """
    if not ledger.claim(session.id, timing.save_s + timing.confirm_s):
        return None
    done = False
    try:
        _keep_output(ledger, session, host)
        settle_work(session, host, timing.agent_s)
        failed = fetch_saves(ledger, session, host, timing, progress, absent_ok=True)
        done = not failed
        return failed
    finally:
        if not done:
            with suppress(LedgerError):
                ledger.release(session.id)

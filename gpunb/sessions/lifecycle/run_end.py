"""Sessions that end with their run (`once`): when it is time, and their results before that.

The run's id is in the session's row before anything is rented. So the end belongs to the supervisor as much
as to the client that waits for it: whoever takes the claim first brings the results back and ends the
session. Results that do not come end nothing before the lease does.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb.errors import LedgerError
from gpunb.progress import SILENT, Progress
from gpunb.sessions.access.kept_output import keep_output
from gpunb.sessions.cost.lease import Due
from gpunb.sessions.lifecycle.fetch_results import fetch_saves
from gpunb.sessions.lifecycle.taking_down import settle_work
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.timeouts import Timing
    from gpunb.sessions.model import Session

__all__ = ["AGAIN_S", "RUN", "UNSTARTED_S", "bring_home", "run_over", "started"]

RUN = "run"
"""Why such a session ends, in its receipt."""

AGAIN_S = 120.0
"""Seconds between two attempts to bring the results back."""

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
        keep_output(ledger, session, host)
        settle_work(session, host, timing.agent_s)
        failed = fetch_saves(ledger, session, host, timing, progress, absent_ok=True)
        done = not failed
        return failed
    finally:
        if not done:
            with suppress(LedgerError):
                ledger.release(session.id)

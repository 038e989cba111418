"""Saving files of a stopped machine before its end: from its disk, or else it is started once.

`--save` is a promise that a stop does not undo. Where the cloud gives the files of a stopped machine (Vast)
nothing is started, and those of an interrupted one come, too. Else, and where that fails, the machine is
started, early enough for all of it to fall within the lease, and a cloud that refuses it is asked again
until then; where it can't be (taken by another user, no money left), that is on the receipt as ``unsaved``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.errors import HostError, SyncError
from gpunb.progress import SILENT
from gpunb.providers.base import Capability
from gpunb.sessions import lifecycle
from gpunb.sessions.cost.lease import Due
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.lifecycle.fetch_results import fetch_saves
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from gpunb.progress import Progress
    from gpunb.providers.base import Provider
    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.timeouts import Timing
    from gpunb.sessions.model import Cost, Session

__all__ = ["AGAIN_S", "EARLY_S", "files_due", "from_disk", "started_for_files", "unfetchable"]

EARLY_S = 1200.0  # boot, and the time for the files
AGAIN_S = 120.0  # between two starts for the files, where the cloud refused the first
MARK, REFUSED = "start-to-save", "start-refused"
DISK, MOST_READS = "disk-read", 2  # each read may be billed traffic


def unfetchable(session: Session, cost: Cost) -> str:
    """Why the files of a stopped `session` can't be saved by starting it once, or ""."""
    if session.cloud_state == "interrupted":
        return "the cloud gave its machine to another customer"
    if session.cloud_state == "offline":
        return "its host is offline"
    budget = session.lease.budget_usd
    if budget is not None and session.lease.counted(cost) + session.usd_h * EARLY_S / 3600.0 > budget:
        return "its budget does not carry a start"
    return ""


def files_due(session: Session, cost: Cost, now: float) -> Due | None:
    """The early end of a stopped `session` with files to save, so that its start falls within the lease."""
    if session.state is not SessionState.STOPPED or not session.save or session.lease.deadline is None:
        return None
    if now < session.lease.deadline - EARLY_S or unfetchable(session, cost):
        return None
    return Due(why="deadline", text="its time is nearly over, and its files come first")


def from_disk(  # noqa: PLR0917 - what every end takes
    ledger: Ledger,
    provider: Provider,
    session: Session,
    host: HostAccess,
    timing: Timing,
    progress: Progress = SILENT,
    *,
    last: bool = False,
) -> str:
    """Bring the files of a stopped `session` without a start; returns "" if all came, else why not.

    Parameters
    ----------
    last
        As in `fetch_saves`; it is then tried no more than `MOST_READS` times.
    """
    disk = host.kept_disk(provider)
    if disk is None:
        return f"{provider.title}'s stopped machines give no files to this one"
    if session.cloud_state == "offline":
        return "its host is offline"
    if last and sum(event.kind == DISK for event in ledger.events(session.id)) >= MOST_READS:
        return f"its disk was read {MOST_READS} times"
    if last:
        ledger.note(session.id, DISK, ", ".join(session.save))
    failed = fetch_saves(ledger, session, disk, timing, progress, last=last)
    return "; ".join(f"{path}: {reason}" for path, reason in failed)


def started_for_files(
    ledger: Ledger, provider: Provider, session: Session, host: HostAccess, timing: Timing
) -> Session:
    """Start `session` once if it is stopped; if only its agent fails, its files can still be saved.

    Raises
    ------
    SyncError
        It can't be started: the files stay on its disk.
    """
    if session.state is not SessionState.STOPPED:
        return session
    why = unfetchable(session, ledger.cost(session.id))
    if not why and not provider.can(Capability.STOP):
        why = f"{provider.title} can't start it again"
    tried = [event.kind for event in ledger.events(session.id) if event.kind in {MARK, REFUSED}]
    if not why and tried[-1:] == [MARK]:
        why = "it was started for them before, and that failed"
    if why:
        msg = f"{session.name} is stopped: {why}"
        raise SyncError(msg)
    ledger.note(session.id, MARK, ", ".join(session.save))
    try:
        return lifecycle.start(ledger, provider, session, host=host, timing=timing)
    except ANY as err:
        session = ledger.get(session.id)
        if isinstance(err, HostError) and session.state is SessionState.REACHABLE:
            return session
        if session.state is SessionState.STOPPED:  # it costs nothing to ask again
            ledger.note(session.id, REFUSED, words(err))
        raise

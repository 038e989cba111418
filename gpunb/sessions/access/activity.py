"""Session activity: the runs and transfers that restart a session's idle time.

The ledger's own runs count while the host says that they execute; transfers and commands count while
they move. A run not started from here, or one that waits for an answer, keeps no session alive.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError
from gpunb.sessions.access.host_access import HOST
from gpunb.sessions.model import WAITING, Transfer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.sessions.access.host_access import HostAccess, Pulse
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["at_work", "moving", "observe"]

BEAT_S = 30.0
# A run is recorded before it is sent, and a broken connection is retried for ten minutes: a run that
# the host does not list after that never arrived.
LOST_S = 900.0


def observe(ledger: Ledger, session: Session, pulse: Pulse, at: float) -> None:
    """Update the ledger's runs and last activity from what the host reported at `at`."""
    active = session.lease.count_ssh and pulse.logins
    for note in ledger.open_runs(session.id):
        seen = pulse.runs.get(note.id)
        if seen is None:
            if at - note.started > LOST_S:
                ledger.finish_run(note.id, "died", note.started)
        elif seen.over:
            ledger.finish_run(note.id, seen.state, seen.ended)
        elif seen.waiting is not None:
            ledger.mark_run(note.id, WAITING)
            if note.active:
                ledger.touch(session.id, min(max(seen.waiting_since or 0.0, note.started), at))
        else:
            if note.state != seen.state:
                ledger.mark_run(note.id, seen.state)
                note.state = seen.state
            active = active or note.active
    if active:
        ledger.touch(session.id, at)


@contextlib.contextmanager
def at_work(
    ledger: Ledger, session: Session, *, host: HostAccess = HOST, beat_s: float = BEAT_S
) -> Iterator[None]:
    """Record activity every `beat_s` seconds while the body works on the host.

    Both the ledger and the host get it: the host's own watchdog would end the kernel.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(beat_s):
            with contextlib.suppress(GpunbError):  # the work goes on without a record of it
                ledger.touch(session.id)
                host.touch(session)

    ledger.touch(session.id)
    thread = threading.Thread(target=beat, name=f"gpunb-at-work-{session.name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(1.0)  # it may hang in a dead connection, and is a daemon
        ledger.touch(session.id)


@contextlib.contextmanager
def moving(
    ledger: Ledger,
    session: Session,
    direction: str,
    what: str = "",
    *,
    host: HostAccess = HOST,
    beat_s: float = BEAT_S,
) -> Iterator[Transfer]:
    """Record activity (`at_work`) while the body moves files, and the transfer afterwards.

    Fill in ``bytes``, ``files`` and ``state`` of the yielded transfer. One that breaks off is
    recorded as "failed", with the bytes that were filled in until then.

    Parameters
    ----------
    direction
        "up" to the host, "down" from it.
    """
    transfer = Transfer(
        session_id=session.id, direction=direction, bytes=0, started=ledger.clock.time(), what=what
    )
    try:
        with at_work(ledger, session, host=host, beat_s=beat_s):
            yield transfer
    except BaseException:
        transfer.state = "failed"
        raise
    finally:
        transfer.ended = ledger.clock.time()
        ledger.add_transfer(transfer)

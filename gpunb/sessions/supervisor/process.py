"""The supervisor process: the only one at a time that enforces leases and confirms ends.

Hosted by the Jupyter server, or detached as ``gpunb supervise``. Killing it loses nothing:
the next one reads the ledger and continues.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gpunb import log
from gpunb.errors import LedgerDamaged, LedgerError, LedgerTooNew
from gpunb.sessions.access.host_access import HOST, HostAccess
from gpunb.sessions.foreign_errors import ANY
from gpunb.sessions.notices.outbox import Outbox
from gpunb.sessions.notices.wakeups import WakeUps
from gpunb.sessions.supervisor.sweep import Looked, Supervision
from gpunb.sessions.supervisor.watchers import COMMAND, LEADER_TTL_S, Duties, ensure, presence, unwatched

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.providers.base import Provider
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.timeouts import Timing

__all__ = [
    "COMMAND",
    "LEADER_TTL_S",
    "TICK_S",
    "Looked",
    "Supervision",
    "ensure",
    "run",
    "unwatched",
]

TICK_S = 15.0
HURRY_S = 3.0  # between two looks, however often a cloud calls
_notes = log.get(__name__)


def run(
    ledger: Ledger,
    providers: Callable[[str], Provider],
    *,
    kind: str = "detached",
    host: HostAccess = HOST,
    timing: Timing | None = None,
    tick_s: float = TICK_S,
    stop: threading.Event | None = None,
    forever: bool = False,
    each: Callable[[Looked], None] | None = None,
    renew: Callable[[str], object] | None = None,
    wakeups: WakeUps | None = None,
) -> None:
    """Supervise until no session and no orphan of ours is left or expected, or `stop` is set.

    While another supervisor is alive this one stands by and takes over when it dies; meanwhile it
    serves the clouds that the other can't. No error of a cloud, a host, a row or a setting ends it.

    Parameters
    ----------
    kind
        "detached" or "server", shown by ``ps`` and ``doctor``.
    forever
        Go on also when nothing is left (the Jupyter server does).
    each
        Called after each tick with its result.
    renew
        Called with the name of a cloud that refused the key: `providers` then creates it again.
    wakeups
        Takes a cloud's calls that something has changed there; None makes one.

    Raises
    ------
    LedgerDamaged, LedgerTooNew
        The ledger can't be used any more, and this process knows of no lease to keep. Other trouble
        with it is waited out.
    """
    halt = stop or threading.Event()
    with (
        ThreadPoolExecutor(max_workers=64, thread_name_prefix="gpunb-end") as pool,
        ThreadPoolExecutor(max_workers=32, thread_name_prefix="gpunb-host") as hosts,
        ThreadPoolExecutor(max_workers=16, thread_name_prefix="gpunb-look") as clouds,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="gpunb-notice") as notices,
        presence(ledger),
    ):
        watch = Supervision(
            ledger,
            providers,
            host=host,
            timing=timing,
            pool=pool,
            hosts=hosts,
            clouds=clouds,
            tick_s=tick_s,
            list_s=4.0 * tick_s,
            sweep_s=20.0 * tick_s,
            pulse_s=4.0 * tick_s,
            renew=renew,
        )
        beat = threading.Thread(
            target=_beat, args=(ledger, kind, halt), name="gpunb-supervisor-beat", daemon=True
        )
        beat.start()
        duties = Duties(ledger)
        outbox = Outbox(ledger, providers, pool=notices, host=host)
        wakeups = wakeups or WakeUps(ledger.clock)
        ledger.last_resort = True
        try:
            while not halt.is_set():
                begun = time.monotonic()
                try:
                    for cloud in wakeups.taken():
                        watch.hurry(cloud)
                    if _look(ledger, watch, duties, outbox, wakeups, kind, each) or forever:
                        # a tick waits for a cloud that does not answer: leases elsewhere don't wait twice
                        left = tick_s - (time.monotonic() - begun)
                        wakeups.wait(halt, max(tick_s / 5.0, left), least=min(tick_s / 5.0, HURRY_S))
                        continue
                    # `ensure` starts no other supervisor while a leader lives: sessions rented since the last
                    # tick rely on this process until it has resigned
                    ledger.resign()
                    outbox.look(watch.capped, watch.crossed, last=True)
                    if not ledger.sessions():
                        return
                except LedgerTooNew:
                    raise
                except LedgerDamaged:
                    if not watch.remembers():
                        raise
                    _notes.exception("the ledger is damaged; its leases are kept from memory")
                    halt.wait(tick_s)
                except LedgerError as err:  # full, locked, away for a moment
                    _notes.error("the ledger can't be used now: %s", err.message)
                    halt.wait(tick_s)
                except ANY:  # whatever it was: leases are enforced at the next tick
                    _notes.exception("a look failed; the next is in %g s", tick_s)
                    halt.wait(tick_s)
        finally:
            halt.set()
            wakeups.close()
            beat.join(10.0)
            try:
                ledger.resign()
            except LedgerError as err:
                _notes.error("could not resign: %s", err.message)


def _look(  # noqa: PLR0917
    ledger: Ledger,
    watch: Supervision,
    duties: Duties,
    outbox: Outbox,
    wakeups: WakeUps,
    kind: str,
    each: Callable[[Looked], None] | None,
) -> int:
    """One tick, over all clouds or those that the leader can't serve; returns how much is left to watch."""
    leads = _leads(ledger, kind)
    wakeups.serve(on=leads)
    mine = None if leads else duties.left_over()
    if not leads and not mine:
        return len(ledger.sessions())
    if leads:
        ledger.refill_reserve()
    looked = watch.tick(mine)
    _tell(looked)
    try:
        duties.tell(watch.blind, leads=leads, served=mine or set())
    except LedgerError as err:
        _notes.error("the ledger can't be told who watches what: %s", err.message)
    if leads:
        outbox.look(watch.capped, watch.crossed)
    if each is not None:
        each(looked)
    return looked.sessions + looked.orphans + (watch.awaited() if leads else 0)


def _leads(ledger: Ledger, kind: str) -> bool:
    """Whether this process must act: it leads, or an unwritable ledger shows no other leader."""
    try:
        return ledger.lead(kind, LEADER_TTL_S)
    except LedgerTooNew:
        raise
    except LedgerError as err:
        _notes.error("the ledger can't be told who watches: %s", err.message)
    try:
        leader = ledger.leader()
    except LedgerError:
        return True
    return leader is None or leader.owner == ledger.owner


def _beat(ledger: Ledger, kind: str, halt: threading.Event) -> None:
    """Renew the heartbeat while a tick takes long."""
    while not halt.wait(LEADER_TTL_S / 4.0):
        leader = None
        try:
            leader = ledger.leader()
            if leader is not None and leader.owner == ledger.owner:
                ledger.lead(kind, LEADER_TTL_S)
        except LedgerError:
            continue


def _tell(looked: Looked) -> None:
    for name, why in looked.ended:
        _notes.warning("ending %s: %s", name, why)
    for name in looked.over:
        _notes.warning("%s is over, confirmed", name)
    for line in looked.errors:
        _notes.error("%s", line)

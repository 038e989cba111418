"""The supervisor: the one process at a time that enforces leases and follows ends until they are true.

Hosted by the Jupyter server, or detached as ``gpunb supervise``. Killing it loses nothing:
whoever is next reads the ledger and goes on.
"""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gpunb import isolated, log, paths
from gpunb.errors import LedgerDamaged, LedgerError, LedgerTooNew, SessionError
from gpunb.sessions.reach import HOST, Reach
from gpunb.sessions.watching import Looked, Watch

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Sequence

    from gpunb.providers.base import Provider
    from gpunb.sessions.ledger import Ledger
    from gpunb.sessions.timing import Timing

__all__ = ["COMMAND", "LEADER_TTL_S", "TICK_S", "Looked", "Watch", "ensure", "run"]

TICK_S = 15.0
LEADER_TTL_S = 90.0
COMMAND = tuple(isolated.argv("gpunb", "supervise"))


def run(
    ledger: Ledger,
    providers: Callable[[str], Provider],
    *,
    kind: str = "detached",
    host: Reach = HOST,
    timing: Timing | None = None,
    tick_s: float = TICK_S,
    stop: threading.Event | None = None,
    forever: bool = False,
    each: Callable[[Looked], None] | None = None,
) -> None:
    """Supervise until no session and no orphan of ours is left or may still show up, or `stop` is set.

    While another supervisor is alive this one stands by and takes over when it dies.

    Parameters
    ----------
    kind
        "detached" or "server", shown by ``ps`` and ``doctor``.
    forever
        Go on also when nothing is left (the Jupyter server does).
    each
        Called after each tick with what it saw.

    Raises
    ------
    LedgerDamaged, LedgerTooNew
        The ledger can't be used any more. Other trouble with it is waited out.
    """
    halt = stop or threading.Event()
    notes = log.get(__name__)
    with (
        ThreadPoolExecutor(max_workers=64, thread_name_prefix="gpunb-end") as pool,
        ThreadPoolExecutor(max_workers=32, thread_name_prefix="gpunb-host") as hosts,
        ThreadPoolExecutor(max_workers=16, thread_name_prefix="gpunb-look") as clouds,
    ):
        watch = Watch(
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
        )
        beat = threading.Thread(
            target=_beat, args=(ledger, kind, halt), name="gpunb-supervisor-beat", daemon=True
        )
        beat.start()
        try:
            while not halt.is_set():
                try:
                    if ledger.lead(kind, LEADER_TTL_S):
                        looked = watch.tick()
                        _tell(notes, looked)
                        if each is not None:
                            each(looked)
                        left = looked.sessions + looked.orphans + watch.awaited()
                    else:
                        left = len(ledger.sessions())
                    if not left and not forever:
                        # `ensure` starts nobody while a leader lives: whoever rented since the last
                        # look relies on this process until it has resigned
                        ledger.resign()
                        if not ledger.sessions():
                            return
                        continue
                except (LedgerDamaged, LedgerTooNew):
                    raise
                except LedgerError as err:  # full, locked, away for a moment
                    notes.error("the ledger can't be used now: %s", err.message)
                halt.wait(tick_s)
        finally:
            halt.set()
            beat.join(10.0)
            try:
                ledger.resign()
            except LedgerError as err:
                notes.error("could not resign: %s", err.message)


def ensure(ledger: Ledger, command: Sequence[str] = COMMAND) -> bool:
    """Start a detached supervisor if none is alive and a session needs one; whether it was started.

    It outlives this process, and ends after the last session.

    Raises
    ------
    SessionError
        It can't be started: nothing would end a lease when this process is gone.
    """
    if ledger.leader() is not None or not ledger.sessions():
        return False
    folder = paths.private_dir(paths.home() / "log")
    try:
        with open(folder / "supervise.out", "ab", opener=paths.private_opener) as out:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd=paths.home(),
                env={**os.environ, "GPUNB_HOME": str(paths.home())} if "GPUNB_HOME" in os.environ else None,
            )
    except OSError as err:
        msg = f"the supervisor can't be started: {err.strerror or err}"
        raise SessionError(msg, hint="run `gpunb supervise` in a terminal of its own") from err
    _children.append(child)
    return True


# It outlives us on purpose; dropping the handle would make Python warn of a child not waited for.
_children: list[subprocess.Popen[bytes]] = []


def _beat(ledger: Ledger, kind: str, halt: threading.Event) -> None:
    """Keep the heartbeat while a tick takes long."""
    while not halt.wait(LEADER_TTL_S / 4.0):
        leader = None
        try:
            leader = ledger.leader()
            if leader is not None and leader.owner == ledger.owner:
                ledger.lead(kind, LEADER_TTL_S)
        except LedgerError:
            continue


def _tell(notes: logging.Logger, looked: Looked) -> None:
    for name, why in looked.ended:
        notes.warning("ending %s: %s", name, why)
    for name in looked.over:
        notes.warning("%s is over, confirmed", name)
    for line in looked.errors:
        notes.error("%s", line)

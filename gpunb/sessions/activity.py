"""Activity that lasts: a transfer that moves keeps its session from being idle."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError
from gpunb.sessions.model import Transfer
from gpunb.sessions.reach import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.sessions.ledger import Ledger
    from gpunb.sessions.model import Session
    from gpunb.sessions.reach import Reach

__all__ = ["moving"]

BEAT_S = 30.0


@contextlib.contextmanager
def moving(
    ledger: Ledger,
    session: Session,
    direction: str,
    what: str = "",
    *,
    host: Reach = HOST,
    beat_s: float = BEAT_S,
) -> Iterator[Transfer]:
    """Note activity every `beat_s` seconds while the body moves files; record the transfer after.

    Both the ledger and the host are told: the host's own watchdog would end the kernel.

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
    done = threading.Event()

    def beat() -> None:
        while not done.wait(beat_s):
            with contextlib.suppress(GpunbError):  # the transfer goes on without a note of it
                ledger.touch(session.id)
                host.touch(session)

    ledger.touch(session.id)
    thread = threading.Thread(target=beat, name=f"gpunb-moving-{session.name}", daemon=True)
    thread.start()
    try:
        yield transfer
    except BaseException:
        transfer.state = "failed"
        raise
    finally:
        done.set()
        thread.join(1.0)  # it may hang in a dead connection, and is a daemon
        transfer.ended = ledger.clock.time()
        ledger.add_transfer(transfer)

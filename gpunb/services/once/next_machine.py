"""``python -m gpunb.services.once.next_machine SESSION``: the next machine of a run whose machine was taken.

The supervisor starts it (`gpunb.sessions.attempts.starting`). The session is in the ledger before: this
process rents for it, sends project and checkpoint, and begins the run; it can die at any point of that.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb import log
from gpunb.errors import BadInput, GpunbError, LimitReached, NoFunds
from gpunb.services import renting_flow
from gpunb.services.once import flow
from gpunb.services.once.asked import Asked
from gpunb.services.workspace import Workspace
from gpunb.sessions.attempts import chain
from gpunb.sessions.lifecycle.ending import begin_end
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["go_on", "main"]

CLAIM_S = 120.0
BEAT_S = 30.0
FIRST_S, MOST_S = 60.0, 900.0  # from one search for a machine to the next


def go_on(context: Workspace, session_id: str) -> None:
    """Rent a machine for the session, unless it has one, and begin its run there.

    If none fits, or none comes up, the session stays requested, with the reason, and is tried again later.
    """
    ledger = context.ledger
    with _in_hand(ledger, session_id) as mine:
        session = ledger.get(session_id)
        if not mine or not session.follows or chain.waits_for(ledger, session) is not None:
            return
        try:
            asked = Asked.of(session.again.get("asked", {}))
            os.chdir(asked.cwd)
            task = asked.task(session.ends_with)
        except (GpunbError, OSError) as err:  # the project is gone, or is another one by now
            why = err.message if isinstance(err, GpunbError) else f"{err.filename}: {err.strerror}"
            begin_end(ledger, session.id, f"its run can't be begun again: {why}")
            return
        if session.state is SessionState.REQUESTED:
            try:
                made = _rent(context, session, asked)
            except GpunbError as err:
                _later(ledger, session_id, err)
                return
            if not ledger.claim(made.id, CLAIM_S):
                return
        session = ledger.get(session_id)
        if session.state is SessionState.READY and ledger.run(session.id, session.ends_with) is None:
            flow.begin(context, session, task, detach=True)


def _rent(context: Workspace, session: Session, asked: Asked) -> Session:
    """Rent what the first machine was asked for, in the time and for the money that are left."""
    ledger = context.ledger
    lease = chain.settled(ledger, session).lease
    deadline = math.inf if lease.deadline is None else lease.deadline
    left = deadline - ledger.clock.time()
    wish = asked.wish(
        length=left,
        idle_s=math.inf if lease.idle_s is None else lease.idle_s,
        budget_usd=math.inf if lease.budget_usd is None else lease.budget_usd,
        save=session.save,
    )
    inside = {**wish.inside, "requested": session.id, "until": deadline}
    made = renting_flow.rent(context, replace(wish, inside=inside), yes=True)
    if made is None:
        msg = "nothing was rented"
        raise BadInput(msg)
    return made


def _later(ledger: Ledger, session_id: str, err: GpunbError) -> None:
    """Note why there is no machine, and when the next search is."""
    session = ledger.get(session_id)
    if session.state is not SessionState.REQUESTED:
        return
    pause = min(MOST_S, FIRST_S * 2.0 ** min(session.tries, 10))
    if isinstance(err, (LimitReached, NoFunds)):
        pause = MOST_S
    ledger.update(
        session_id,
        tries=session.tries + 1,
        next_try=ledger.clock.time() + pause,
        detail=f"no machine yet: {err.message}",
    )


@contextmanager
def _in_hand(ledger: Ledger, session_id: str) -> Iterator[bool]:
    """Hold the claim on the session, and yield whether this process has it."""
    done = threading.Event()

    def hold() -> None:
        while not done.wait(BEAT_S):
            with suppress(GpunbError):
                ledger.claim(session_id, CLAIM_S)

    mine = ledger.claim(session_id, CLAIM_S)
    thread = threading.Thread(target=hold, name=f"gpunb-next-{session_id}", daemon=True)
    if mine:
        thread.start()
    try:
        yield mine
    finally:
        done.set()
        if mine:
            thread.join(2.0)
            with suppress(GpunbError):
                ledger.release(session_id)


def main() -> int:
    """Go on with the session whose id is the only word."""
    log.setup(0)
    with Workspace() as context:
        try:
            go_on(context, sys.argv[1])
        except GpunbError as err:
            log.get(__name__).error("session %s: its run can't be begun: %s", sys.argv[1], err.message)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

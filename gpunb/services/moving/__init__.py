"""A session moved to another machine: rented, filled, verified, and only then put in the old one's place.

What was rented for it is in the ledger with the session that it is to replace, before the create call. Until
the switch every failure ends the new machine and leaves the old session as it is; if this process dies, the
supervisor does that. The switch is one transaction: the new session takes the name and what is left of
the lease, and the old one begins to end.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpunb.errors import Cancelled, GpunbError, OutcomeUnknown
from gpunb.services import renting_flow
from gpunb.services.moving import bound, content, rented_with, stopped, terms
from gpunb.services.moving.terms import Target
from gpunb.sessions import lifecycle
from gpunb.sessions.access.activity import at_work
from gpunb.sessions.access.host_access import HOST
from gpunb.sessions.model import SessionState
from gpunb.units import costs_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpunb.services.workspace import Workspace
    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Receipt, Session

__all__ = ["Moved", "Target", "hand_over", "move"]

CLAIM_S = 120.0
BEAT_S = 30.0


@dataclass(slots=True, kw_only=True)
class Moved:
    """What a move did.

    Attributes
    ----------
    session
        The session as it is now, on its new machine.
    carried
        What was copied, and what was left and why.
    receipt
        The old machine's; None if its cloud has not confirmed the end yet, see `unconfirmed`.
    """

    session: Session
    carried: content.Carried
    receipt: Receipt | None = None
    unconfirmed: OutcomeUnknown | None = None


def move(context: Workspace, session: Session, target: Target, *, yes: bool) -> Moved | None:
    """Move `session` to a machine that fits `target`, after one question; None if the answer was no.

    Raises
    ------
    WrongState, BadInput
        It can't be moved now; nothing was rented.
    GpunbError
        As `gpunb.services.renting_flow.rent`; or a step failed: ``bill`` has what became of the new machine.
    """
    ledger = context.ledger
    terms.check(ledger, session)
    if session.state is SessionState.STOPPED:
        stopped.check(context, session, target)
        session = lifecycle.refresh(ledger, context.provider(session.provider), session)
        terms.check(ledger, session)  # an interrupted one starts again when its cloud likes
    had = rented_with.read(ledger, session)
    had.check(session, target)
    runs = session.state is SessionState.READY
    disk = None if runs else stopped.look(context, session, target, had.places)
    with ExitStack() as busy:

        def agreed() -> None:
            if runs:
                content.idle(context.agent(session), session)
                busy.enter_context(at_work(ledger, session))  # else it could end as idle while the new boots

        wish = replace(terms.wish(ledger, session, target, had, disk), agreed=agreed)
        made = renting_flow.rent(context, wish, yes=yes)
        if made is None:
            return None

        def copied() -> content.Carried:
            came = content.Carried()
            if disk is not None:
                carried = stopped.carry(context, session, made, disk)
            else:
                bound.bring_first(ledger, session, came)
                paths = [*target.paths, *content.saved_apart(session)]
                carried = content.carry(
                    context, session, made, paths=paths, install=target.packages, mounts=had.places
                )
                content.idle(context.agent(session), session)
            bound.carry(ledger, session, made)
            carried.left.update(had.left(target) | came.left)
            return carried

        return hand_over(context, session, made, copied, switched=_shown)


def _shown(ledger: Ledger, now: Session) -> None:
    from gpunb.sessions.integrations import kernelspecs

    kernelspecs.sweep(ledger.sessions())
    kernelspecs.install(now)


def hand_over(
    context: Workspace,
    session: Session,
    made: Session,
    copied: Callable[[], content.Carried],
    *,
    switched: Callable[[Ledger, Session], object],
    host: HostAccess = HOST,
) -> Moved:
    """Fill `made`, put it in the place of `session`, and end that; or end `made` if anything fails before.

    Parameters
    ----------
    copied
        Fills `made`; raises if it is not what `session` has.
    switched
        Called with the ledger and the session as it is now, before the old machine ends.

    Raises
    ------
    GpunbError
        What failed; ``bill`` has what became of the new machine.
    """
    ledger = context.ledger
    try:
        with _in_hand(ledger, made), at_work(ledger, made, host=host):
            carried = copied()
            # a stopped one that runs again meanwhile has newer files: it is not put aside
            was = ledger.get(session.id) if session.state is SessionState.READY else session
            now = ledger.switch(was, made, terms.rest(ledger, session, made))
    except BaseException as err:
        raise _broken_off(context, session, made, err, host) from err
    with suppress(GpunbError):  # the supervisor does it, too
        host.arm(now)
    switched(ledger, now)
    done = Moved(session=ledger.get(now.id), carried=carried)
    try:
        with context.progress(f"ending the old machine of {now.name}") as progress:
            done.receipt = lifecycle.down(
                ledger,
                context.provider(session.provider),
                session,
                host=host,
                progress=progress,
                save=False,
                why=f"moved to {now.gpu or now.provider}",
            )
    except OutcomeUnknown as err:
        done.unconfirmed = err
    return done


@contextmanager
def _in_hand(ledger: Ledger, made: Session) -> Iterator[None]:
    """Hold the claim on the new session: without it the supervisor ends it."""
    done = threading.Event()

    def hold() -> None:
        while not done.wait(BEAT_S):
            with suppress(GpunbError):
                ledger.claim(made.id, CLAIM_S)

    ledger.claim(made.id, CLAIM_S)
    thread = threading.Thread(target=hold, name=f"gpunb-move-{made.name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(2.0)
        with suppress(GpunbError):
            ledger.release(made.id)


def _broken_off(
    context: Workspace, session: Session, made: Session, err: BaseException, host: HostAccess
) -> BaseException:
    """End the new machine; returns the error with what is known of both."""
    ledger = context.ledger
    with suppress(GpunbError):
        if not ledger.get(made.id).moves_from:  # the switch was committed: the new machine is the session
            return err
    stays = f"{session.name} goes on as it was and {costs_text(session.hourly)}"
    try:
        with context.progress(f"ending {made.name}") as progress:
            provider = context.provider(made.provider)
            lifecycle.down(
                ledger,
                provider,
                made,
                host=host,
                progress=progress,
                save=False,
                why="its move was broken off",
            )
    except (GpunbError, KeyboardInterrupt) as trouble:
        words = getattr(trouble, "bill", "") or "its end is not confirmed yet"
        bill = f"{stays}; the new machine: {words}"
    else:
        bill = f"{stays}; the new machine is confirmed gone"
    if isinstance(err, KeyboardInterrupt):
        return Cancelled(f"the move of {session.name} was cancelled", bill=bill)
    if isinstance(err, GpunbError):
        err.bill = bill
    return err

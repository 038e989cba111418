"""A session moved to another machine: rented, filled, verified, and only then put in the old one's place.

What was rented for it is in the ledger with the session that it is to replace, before the create call. Until
the switch every failure ends the new machine and leaves the old session as it is; if this process dies, the
supervisor does that. The switch is one transaction: the new session takes the name and what is left of
the lease, and the old one begins to end.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, Cancelled, GpunbError, OutcomeUnknown, WrongState
from gpunb.hints import typed
from gpunb.services import renting_flow
from gpunb.services.moving import content
from gpunb.sessions import lifecycle
from gpunb.sessions.access.activity import at_work
from gpunb.sessions.access.host_access import HOST
from gpunb.sessions.model import SessionState
from gpunb.units import costs_text, duration_text, hourly_text, money_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gpunb.services.workspace import Workspace
    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Lease, Receipt, Session

__all__ = ["Moved", "Target", "hand_over", "move"]

LEAST_S = 600.0  # a lease with less left is not worth a move
CLAIM_S = 120.0
BEAT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a session is to move.

    Attributes
    ----------
    query, flags, offer, disk
        The search, as in `gpunb.services.renting_flow.Wish`; without a cloud the session's own is asked.
    paths
        Folders of the host that are copied beside what is visible in its home folder.
    packages
        Whether packages that the new machine lacks are installed there.
    """

    query: Sequence[str] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    offer: str | None = None
    disk: str | None = None
    paths: Sequence[str] = ()
    packages: bool = True


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
    _check(context, session)
    with ExitStack() as busy:

        def agreed() -> None:
            content.idle(context.agent(session), session)
            busy.enter_context(at_work(ledger, session))  # else it could end as idle while the new one boots

        made = renting_flow.rent(context, replace(_wish(ledger, session, target), agreed=agreed), yes=yes)
        if made is None:
            return None

        def copied() -> content.Carried:
            carried = content.carry(context, session, made, paths=target.paths, install=target.packages)
            content.idle(context.agent(session), session)
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
            now = ledger.switch(ledger.get(session.id), made, _rest(ledger, session, made))
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


def _check(context: Workspace, session: Session) -> None:
    bill = "nothing was rented"
    if session.state is not SessionState.READY:
        hint = typed("start", session.name) + " first" if session.state is SessionState.STOPPED else None
        msg = f"move: {session.name} is {session.state.value}, and its files can only be copied while it runs"
        raise WrongState(msg, bill=f"{bill}; it {costs_text(session.hourly)}", hint=hint)
    if session.ends_with:
        msg = f"move: {session.name} ends with its run {session.ends_with}, which can't be moved"
        raise WrongState(msg, bill=bill)
    left = _left_s(context.ledger, session)
    if left is not None and left < LEAST_S:
        msg = f"move: the lease of {session.name} ends in {duration_text(max(0.0, left))}"
        raise BadInput(msg, bill=bill, hint=typed("extend", session.name, "2h") + " first")


def _left_s(ledger: Ledger, session: Session) -> float | None:
    deadline = session.lease.deadline
    return None if deadline is None else deadline - ledger.clock.time()


def _left_usd(ledger: Ledger, session: Session) -> float | None:
    """What is left of a budget that the user chose; a default one grows with the machine's price."""
    lease = session.lease
    if not lease.budget_set:
        return None
    if lease.budget_usd is None:
        return float("inf")
    return max(0.0, lease.budget_usd - lease.counted(ledger.cost(session.id)))


def _wish(ledger: Ledger, session: Session, target: Target) -> renting_flow.Wish:
    left_s, left_usd = _left_s(ledger, session), _left_usd(ledger, session)
    flags = dict(target.flags)
    flags["cloud"] = tuple(flags.get("cloud") or ()) or (session.provider,)
    lease = f"the {duration_text(left_s)}" if left_s is not None else "the time"
    money = f" and {money_text(left_usd)}" if left_usd is not None and left_usd != float("inf") else ""
    before = (
        f"Move {session.name} to another machine for {lease}{money} that its lease has left: files, packages "
        f"and plain variables are copied, then its present machine ({hourly_text(session.hourly)}) ends for "
        "good; until the copy is verified both are billed"
    )
    same = tuple(flags["cloud"]) == (session.provider,)
    return renting_flow.Wish(
        query=target.query,
        flags=flags,
        offer=target.offer,
        length=left_s,
        disk=target.disk or (f"{session.disk_gb:g}" if session.disk_gb else None),
        idle_s=float("inf") if session.lease.idle_s is None else session.lease.idle_s,
        budget_usd=left_usd,
        python=session.python or None,
        save=session.save,
        count_ssh=session.lease.count_ssh,
        before=before,
        inside={
            "image": (session.image or None) if same else None,
            "save_to": session.save_to or None,
            "ports": tuple(session.ports),
            "moves_from": session.id,
        },
    )


def _rest(ledger: Ledger, session: Session, made: Session) -> Lease:
    """The lease of the new session from the switch on: the old one's end, and what is left of its budget."""
    lease = ledger.get(made.id).lease
    deadline, end = session.lease.deadline, lease.deadline
    if deadline is not None:
        end = deadline if end is None else min(end, deadline)
    left = _left_usd(ledger, session)
    budget = lease.budget_usd if left is None else (None if left == float("inf") else left)
    return replace(lease, deadline=end, budget_usd=budget)


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

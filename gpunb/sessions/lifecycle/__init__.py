"""The lifecycle: rent, down, stop, start, refresh and resume move a session from state to state.

Every step is in the ledger before and after its effect, so that `resume` can finish it from
any process. Time comes from the ledger's clock, the host is reached through an object
that tests replace.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb.errors import (
    AuthFailed,
    Cancelled,
    GpunbError,
    HostError,
    InstanceGone,
    LedgerError,
    LedgerUnwritable,
    OutcomeUnknown,
    ProviderError,
    SettingsError,
    SyncError,
    WrongState,
)
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.providers.base import Capability, Instance, InstanceState, Offer, Presence, Provider
from gpunb.providers.keys import find, variable
from gpunb.sessions.access.host_access import HOST, Reach
from gpunb.sessions.cost.lease import extend
from gpunb.sessions.cost.receipts import build_receipt, write_receipt
from gpunb.sessions.cost.segments import opening, pays_traffic
from gpunb.sessions.foreign_errors import ANY
from gpunb.sessions.lifecycle.bringup import bring_up, see
from gpunb.sessions.lifecycle.ending import Listing, begin_end, clear_up, end, settle
from gpunb.sessions.lifecycle.fetch_results import fetch_saves
from gpunb.sessions.lifecycle.rental import Rental, RentRequest
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.lifecycle.unrecorded_ends import end_unrecorded
from gpunb.sessions.model import OVER, Receipt, Session, SessionState
from gpunb.sessions.supervisor.watchers import unwatched
from gpunb.units import costs_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.sessions.ledger.sessions import Ledger

__all__ = [
    "RentRequest",
    "Timing",
    "apply",
    "check_start",
    "check_stop",
    "down",
    "extend",
    "refresh",
    "rent",
    "resume",
    "start",
    "stop",
]

_HALTED = {InstanceState.STOPPED, InstanceState.INTERRUPTED}
_S = SessionState


def rent(
    ledger: Ledger,
    provider: Provider,
    offers: Sequence[Offer],
    request: RentRequest,
    *,
    progress: Progress = SILENT,
    host: Reach = HOST,
    timing: Timing | None = None,
    watch: Callable[[Ledger], object] | None = None,
) -> Session:
    """Rent the first of `offers` that comes up; returns the ready session.

    For each offer: the intent is committed, one create call is sent, its answer is committed.
    A lost answer is looked up by the label, never sent again; a host that does not boot is
    ended, and confirmed gone, before the next offer is tried.

    Parameters
    ----------
    watch
        Called once the session is in the ledger and before anything is rented:
        `gpunb.sessions.supervisor.process.ensure`, where no server supervises.

    Raises
    ------
    BadInput
        The request breaks a rule; nothing was sent.
    OfferGone
        All offers failed, with a reason for each; what was rented is confirmed gone.
    OutcomeUnknown
        It is not known whether something is rented. The session stays in the ledger (unknown
        or ending), and the supervisor finishes it.
    Cancelled
        Ctrl-C, or another process ended the session; ``bill`` says what was confirmed.
    AuthFailed, NoFunds, QuotaExhausted, NotSupported, RateLimited
        The provider refused; nothing was rented.
    """
    rental = Rental(
        ledger, provider, request, host=host, timing=timing or Timing(), progress=progress, watch=watch
    )
    return rental.run(offers)


def down(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    progress: Progress = SILENT,
    save: bool = True,
    why: str = "down",
    host: Reach = HOST,
    timing: Timing | None = None,
) -> Receipt:
    """Bring back what was asked for, destroy, wait until the provider agrees; the receipt.

    Safe to call again, from any process: an ended session gives its receipt.

    Parameters
    ----------
    save
        Whether ``session.save`` is brought back first.

    Raises
    ------
    SyncError
        Something could not be brought back. Nothing was ended then.
    OutcomeUnknown
        The provider did not confirm the end in time. The session stays ending, its
        provisional receipt is stored, and the supervisor goes on.
    Cancelled
        Ctrl-C while waiting; ``bill`` says what was confirmed.
    AuthFailed, SettingsError
        This process can't end anything at the cloud: no key, a wrong one, a proxy that can't be
        used. Nothing was ended, on the host neither.
    """
    times = timing or Timing()
    session = ledger.get(session.id)
    if session.state in OVER:
        return ledger.receipt(session.id) or build_receipt(ledger, None, session)
    _may_end(provider, session)
    again = session.state is _S.BOOTING and session.ready is not None  # being started, with its files
    if save and session.save and (again or session.state in {_S.READY, _S.REACHABLE}):
        _save_or_refuse(ledger, session, host, times, progress)
    elif save and session.save and session.state is _S.STOPPED:
        msg = f"session {session.name} is stopped: {', '.join(session.save)} can't be brought back from it"
        raise SyncError(
            msg,
            bill=f"nothing was ended; it {costs_text(session.hourly)}",
            hint=typed("start", session.name) + " first, or " + typed("down", session.name, "--no-save"),
        )
    ledger.last_resort = True
    mine = False
    try:
        mine = ledger.claim(session.id, times.claim_s)
        session = _drive_down(ledger, provider, session, why=why, host=host, timing=times, progress=progress)
    except LedgerUnwritable as err:
        raise _end_unrecorded(ledger, provider, session, err, times, progress) from err
    finally:
        if mine:
            with suppress(LedgerError):
                ledger.release(session.id)
    if session.state in OVER:
        return ledger.receipt(session.id) or write_receipt(ledger, provider, session, why=why)
    write_receipt(ledger, None, session, why=why)
    raise _not_gone(ledger, session, provider)


def _end_unrecorded(  # noqa: PLR0917
    ledger: Ledger,
    provider: Provider,
    session: Session,
    err: LedgerUnwritable,
    timing: Timing,
    progress: Progress,
) -> LedgerUnwritable:
    """End it although the ledger can't be told; the error that says what came of that."""
    gone = end_unrecorded(
        provider, session, clock=ledger.clock, within=timing.confirm_s, timing=timing, progress=progress
    )
    if gone:
        msg = f"{provider.title} confirms that {session.name} is gone, but the ledger can't record it: "
        bill = "confirmed: nothing is rented"
    else:
        msg = f"{provider.title} was asked to end {session.name} and has not confirmed it; besides, "
        bill = _unconfirmed(session, provider)
    return LedgerUnwritable(
        msg + err.message, bill=bill, hint=f"{err.hint}; then " + typed("ps") if err.hint else typed("ps")
    )


def _may_end(provider: Provider, session: Session) -> None:
    """Ask the cloud before anything is ended whether it listens to this process at all."""
    try:
        _check_key(provider)
        provider.instances()
    except (AuthFailed, SettingsError) as err:
        err.bill = f"nothing was ended; {session.name} goes on and {costs_text(session.hourly)}"
        if isinstance(err, AuthFailed):
            name = variable(provider.name)
            err.hint = (
                f"set {name} in this terminal, or "
                + typed("login", provider.name)
                + "; then "
                + typed("down")
                + " again"
            )
        raise
    except ANY:  # down, gone, unreadable: the end finds out, and tries again
        return


def _check_key(provider: Provider) -> None:
    if provider.needs_key and provider.config.key is None and find(provider.name) is None:
        msg = f"there is no key for {provider.title}"
        raise AuthFailed(msg, provider=provider.name)


def _drive_down(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    why: str,
    host: Reach,
    timing: Timing,
    progress: Progress,
) -> Session:
    was = session.state
    try:
        session = begin_end(ledger, session.id, why)
        if was in {_S.READY, _S.REACHABLE}:
            shut_down(ledger, session, host, timing.agent_s)
        host.drop(session.id)
        return end(
            ledger,
            provider,
            session.id,
            why=why,
            within=timing.confirm_s,
            timing=timing,
            progress=progress,
        )
    except KeyboardInterrupt as err:
        session = ledger.get(session.id)
        over = session.state in OVER
        if session.state is was and was is not _S.ENDING and not over:
            msg = f"interrupted before {session.name} was asked to end"
            raise Cancelled(
                msg, bill=f"it goes on and {costs_text(session.hourly)}", hint=typed("down", session.name)
            ) from err
        msg = f"interrupted while waiting for the end of {session.name}"
        bill = "confirmed: nothing is rented" if over else _unconfirmed(session, provider)
        raise Cancelled(msg, bill=bill, hint=typed("ps") + " shows it until it is confirmed gone") from err


def _not_gone(ledger: Ledger, session: Session, provider: Provider) -> OutcomeUnknown:
    msg = f"{provider.title} has not confirmed that {session.name} is gone"
    tries = "gpunb keeps trying, and ps shows it"
    if unwatched(ledger, session.provider):
        tries = "no supervisor tries again by itself now: " + typed("supervise") + " does"
    hint = f"{tries}; or look for {session.label} on {provider.title}'s own page"
    return OutcomeUnknown(msg, provider=provider.name, bill=_unconfirmed(session, provider), hint=hint)


def _unconfirmed(session: Session, provider: Provider) -> str:
    what = f"instance {session.instance_id}" if session.instance_id else f"the label {session.label}"
    return (
        f"NOT confirmed: {what} at {provider.title} may still cost {price_text(session.usd_h)}/h "
        "until the supervisor has ended it"
    )


def _save_or_refuse(
    ledger: Ledger, session: Session, host: Reach, timing: Timing, progress: Progress
) -> None:
    progress.say("letting the kernels end")
    settle_work(session, host, timing.agent_s)
    try:
        failed = fetch_saves(ledger, session, host, timing, progress)
    except LedgerUnwritable as err:
        failed = [(", ".join(session.save), err.message)]
    if failed:
        lines = "; ".join(f"{path}: {reason}" for path, reason in failed)
        msg = f"could not bring back from {session.name}: {lines}"
        raise SyncError(
            msg,
            bill=f"nothing was ended; it goes on and {costs_text(session.hourly)}",
            hint="try again, or " + typed("down", session.name, "--no-save"),
        )


def settle_work(session: Session, host: Reach, limit: float) -> None:
    """Let the host's kernels end before files are brought back: they flush, and run atexit. Not for long."""

    def work() -> None:
        with suppress(Exception):  # the save tells what is wrong with the host
            host.settle(session)

    thread = threading.Thread(target=work, name=f"gpunb-settle-{session.name}", daemon=True)
    thread.start()
    thread.join(limit)


def shut_down(ledger: Ledger, session: Session, host: Reach, limit: float) -> None:
    """Read its traffic and let the agent end its work, but not for long: the destroy does it anyway."""

    def work() -> None:
        if pays_traffic(session):
            with suppress(Exception):
                pulse = host.pulse(session)
                if pulse.net is not None:
                    ledger.meter(session.id, *pulse.net)
        with suppress(Exception):
            host.shutdown(session)

    thread = threading.Thread(target=work, name=f"gpunb-shutdown-{session.name}", daemon=True)
    thread.start()
    thread.join(limit)


def check_stop(provider: Provider, session: Session) -> None:
    """Refuse what `stop` would refuse, before anything is touched."""
    provider.need(Capability.STOP)
    if session.state not in {_S.READY, _S.REACHABLE}:
        msg = f"session {session.name} is {session.state.value}: only a ready one can be stopped"
        raise WrongState(msg)


def check_start(ledger: Ledger, session: Session) -> None:
    """Refuse what `start` would refuse, before anything is touched."""
    if session.state is not _S.STOPPED:
        msg = f"session {session.name} is {session.state.value}, not stopped"
        raise WrongState(msg)
    if session.lease.deadline is not None and session.lease.deadline <= ledger.clock.time():
        msg = f"the time of session {session.name} is over"
        raise WrongState(msg, hint=typed("extend", session.name, "2h") + ", then start it")


def stop(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    progress: Progress = SILENT,
    host: Reach = HOST,
    timing: Timing | None = None,
) -> Session:
    """Stop the instance and keep its disk, which is usually billed; the lease goes on.

    Raises
    ------
    NotSupported
        This cloud can't.
    WrongState
        The session is not ready.
    OutcomeUnknown
        The provider does not say that it stopped; the session stays as it was.
    """
    times = timing or Timing()
    session = ledger.get(session.id)
    check_stop(provider, session)
    shut_down(ledger, session, host, times.agent_s)
    host.drop(session.id)
    ledger.note(session.id, "stop", f"asking {provider.title} to stop instance {session.instance_id}")
    provider.stop(session.instance_id)
    until = ledger.clock.time() + times.confirm_s
    step = 0
    while True:
        session = refresh(ledger, provider, session, host=host, timing=times)
        if session.state is _S.STOPPED:
            return session
        if session.state not in {_S.READY, _S.REACHABLE}:
            msg = f"session {session.name} is {session.state.value} by now"
            raise WrongState(msg, hint=typed("ps"))
        if ledger.clock.time() >= until:
            msg = f"{provider.title} does not say that {session.name} stopped ({session.cloud_state})"
            raise OutcomeUnknown(
                msg,
                provider=provider.name,
                bill=f"it is counted at {price_text(session.usd_h)}/h",
                hint=typed("ps"),
            )
        progress.say(f"waiting for {provider.title} to stop {session.name}")
        ledger.clock.sleep(times.pause(step))
        step += 1


def start(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    progress: Progress = SILENT,
    host: Reach = HOST,
    timing: Timing | None = None,
) -> Session:
    """Start a stopped session and wait until it is ready again, at its new address.

    Its disk holds the user's work: whatever fails here, nothing is destroyed.

    Raises
    ------
    WrongState
        The session is not stopped, or its lease is over.
    HostError, ProviderError
        It did not come up; the message says what that costs.
    """
    times = timing or Timing()
    session = ledger.get(session.id)
    check_start(ledger, session)
    now = ledger.clock.time()
    ledger.claim(session.id, times.claim_s)
    try:
        # the meter runs from here: counted too early rather than too late
        session = ledger.transition(session, _S.BOOTING, "starting")
        ledger.open_segments(opening(session, None, now))
        try:
            provider.start(session.instance_id)
        except ProviderError as err:
            if err.effect == "none":
                session = ledger.transition(session, _S.STOPPED, err.message)
                err.bill = err.bill or f"it stays stopped and {costs_text(session.stopped_usd_h)}"
            raise
        return bring_up(
            ledger,
            provider,
            session,
            host=host,
            timing=times,
            boot_s=times.boot_s,
            progress=progress,
            each=lambda: _renew(ledger, session.id, times),
        )
    except (HostError, ProviderError) as err:
        session = refresh(ledger, provider, session, host=host, timing=times)
        if err.bill is None:
            cost = f"{price_text(session.hourly)}/h until its lease ends"
            err.bill = f"{session.name} is {session.state.value} and costs {cost}"
        raise
    finally:
        with suppress(LedgerError):
            ledger.release(session.id)


def _renew(ledger: Ledger, session_id: str, timing: Timing) -> None:
    ledger.claim(session_id, timing.claim_s)


def refresh(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    host: Reach = HOST,
    timing: Timing | None = None,
) -> Session:
    """Ask the provider how the instance stands and bring the ledger up to that.

    A provider that can't answer changes nothing.
    """
    session = ledger.get(session.id)
    if not session.instance_id or session.state in OVER:
        return session
    try:
        instance: Instance | None = provider.get(session.instance_id)
    except InstanceGone:
        try:
            if provider.presence(session.instance_id) is not Presence.GONE:
                return session
        except ProviderError:
            return session
        instance = None
    except ProviderError:
        return session
    return apply(ledger, provider, session, instance, host=host, timing=timing or Timing())


def apply(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    instance: Instance | None,
    *,
    host: Reach = HOST,
    timing: Timing,
) -> Session:
    """Bring the ledger up to what the provider says: `instance`, or None for confirmed gone."""
    try:
        if instance is None or instance.state is InstanceState.GONE:
            return _vanished(ledger, provider, session, host, timing)
        session = see(ledger, session, instance)
        if instance.state in _HALTED and session.state in {_S.READY, _S.REACHABLE}:
            return _halted(ledger, session, instance, host)
        if instance.state in _HALTED and session.state is _S.BOOTING and session.ready is not None:
            old = ledger.clock.time() - session.state_at >= timing.lookup_s
            return _halted(ledger, session, instance, host) if old else session
        if instance.state is InstanceState.RUNNING and session.state is _S.STOPPED:
            # started outside of gpunb, or by a process that died right after
            session = ledger.transition(session, _S.BOOTING, "it runs again")
            ledger.open_segments(opening(session, instance, ledger.clock.time()))
    except WrongState:
        return ledger.get(session.id)  # another process saw it first
    return session


def _halted(ledger: Ledger, session: Session, instance: Instance, host: Reach) -> Session:
    host.drop(session.id)
    what = instance.message or instance.raw_state or instance.state.value
    session = ledger.transition(session, _S.STOPPED, what, armed="")
    ledger.open_segments(opening(session, instance, ledger.clock.time(), state=_S.STOPPED))
    return session


def _vanished(ledger: Ledger, provider: Provider, session: Session, host: Reach, timing: Timing) -> Session:
    if session.state is _S.ENDING:
        return session  # its end is confirmed by end_step, with all that belongs to it
    sent = max((one.sent for one in ledger.intents(session.id)), default=0.0)
    if ledger.clock.time() - sent < timing.lag(provider):
        return session  # a replica that has not heard of it yet, even if another one has
    host.drop(session.id)
    if session.state not in {_S.BOOTING, _S.REACHABLE, _S.READY, _S.STOPPED}:
        return session
    why = f"{provider.title} no longer has it, and gpunb did not end it"
    session = ledger.transition(session, _S.GONE, why, cloud_state=InstanceState.GONE.value)
    ledger.add_failure(session.provider, str(session.offer.get("machine_id", "")), "vanished")
    clear_up(ledger, provider, session, why="vanished")
    return session


def resume(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    progress: Progress = SILENT,
    host: Reach = HOST,
    timing: Timing | None = None,
) -> Session:
    """Finish what another process left half done; returns the session as it is then.

    A create whose answer was never read is looked up: found, it is brought up, since nobody
    was told that it failed. What was reported as unknown is ended when it shows up. A session
    that a living process works on is left alone.

    Raises
    ------
    OutcomeUnknown
        It still is not certain how it stands.
    """
    times = timing or Timing()
    session = ledger.get(session.id)
    if session.state in OVER or not ledger.claim(session.id, times.claim_s):
        return session
    try:
        return _resume(ledger, provider, session, progress=progress, host=host, timing=times)
    finally:
        with suppress(LedgerError):
            ledger.release(session.id)


def _resume(
    ledger: Ledger, provider: Provider, session: Session, *, progress: Progress, host: Reach, timing: Timing
) -> Session:
    if session.state is _S.REQUESTED:
        return ledger.transition(session, _S.FAILED, "its rent was broken off before anything was sent")
    if session.state in {_S.CREATING, _S.UNKNOWN}:
        unknown = session.state is _S.UNKNOWN
        session = _resolve(ledger, provider, session, timing, progress)
        if session.state is _S.BOOTING and unknown:
            return _finish(ledger, provider, session, "found again", host=host, timing=timing)
    if session.state in {_S.BOOTING, _S.REACHABLE}:
        try:
            return bring_up(
                ledger,
                provider,
                session,
                host=host,
                timing=timing,
                boot_s=timing.boot_of(ledger, session),
                progress=progress,
                each=lambda: _renew(ledger, session.id, timing),
            )
        except (HostError, ProviderError) as err:
            if session.ready is not None:
                raise
            return _finish(ledger, provider, session, f"boot failed: {err.message}", host=host, timing=timing)
    if session.state is _S.ENDING:
        return _finish(ledger, provider, session, session.detail, host=host, timing=timing)
    return refresh(ledger, provider, session, host=host, timing=timing)


def _resolve(
    ledger: Ledger, provider: Provider, session: Session, timing: Timing, progress: Progress
) -> Session:
    until = ledger.clock.time() + timing.lookup_s * 1.5
    step = 0
    while True:
        session = settle(ledger, Listing(provider), session, timing)
        if session.state not in {_S.CREATING, _S.UNKNOWN}:
            return session
        if not ledger.intents(session.id, unresolved=True):
            return ledger.transition(session, _S.FAILED, "confirmed: nothing came of its create call")
        if ledger.clock.time() >= until:
            if session.state is _S.CREATING:
                session = ledger.transition(session, _S.UNKNOWN, "the provider does not say")
            msg = f"{provider.title} does not say what became of {session.name}"
            raise OutcomeUnknown(msg, provider=provider.name, bill=session.alarm, hint=typed("ps"))
        progress.say(f"looking for {session.label} in the list of {provider.title}")
        ledger.clock.sleep(timing.pause(step))
        step += 1


def _finish(
    ledger: Ledger, provider: Provider, session: Session, why: str, *, host: Reach, timing: Timing
) -> Session:
    with suppress(GpunbError, OSError):
        host.drop(session.id)
    session = end(ledger, provider, session.id, why=why, within=timing.confirm_s, timing=timing)
    if session.state not in OVER:
        raise _not_gone(ledger, session, provider)
    return session

"""down: save files, destroy the instance, wait for the provider's confirmation, write the receipt."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb.errors import (
    AuthFailed,
    Cancelled,
    LedgerError,
    LedgerUnwritable,
    OutcomeUnknown,
    SettingsError,
    SyncError,
)
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.providers.keys import find, variable
from gpunb.sessions.access.host_access import HOST, HostAccess
from gpunb.sessions.access.kept_output import keep_output
from gpunb.sessions.cost.receipts import build_receipt, write_receipt
from gpunb.sessions.cost.segments import pays_traffic
from gpunb.sessions.foreign_errors import ANY
from gpunb.sessions.lifecycle.ending import begin_end, end
from gpunb.sessions.lifecycle.fetch_results import awaited, fetch_saves
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.lifecycle.unrecorded_ends import end_unrecorded
from gpunb.sessions.model import OVER, Receipt, Session, SessionState
from gpunb.sessions.supervisor.watchers import unwatched
from gpunb.units import costs_text, price_text

if TYPE_CHECKING:
    from gpunb.providers.base import Provider
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["down", "not_gone", "settle_work", "shut_down"]

_S = SessionState


def down(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    progress: Progress = SILENT,
    save: bool = True,
    why: str = "down",
    host: HostAccess = HOST,
    timing: Timing | None = None,
) -> Receipt:
    """Save files, destroy the instance, wait for the provider's confirmation; returns the receipt.

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
    mine = False
    with suppress(LedgerError):  # a supervisor that ends it with its run would break the save off
        mine = ledger.claim(session.id, times.claim_s)
    try:
        return _down(
            ledger, provider, session, save=save, why=why, host=host, timing=times, progress=progress
        )
    finally:
        if mine:
            with suppress(LedgerError):
                ledger.release(session.id)


def _down(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    save: bool,
    why: str,
    host: HostAccess,
    timing: Timing,
    progress: Progress,
) -> Receipt:
    again = session.state is _S.BOOTING and session.ready is not None  # it is being started to save its files
    if save and (again or session.state in {_S.READY, _S.REACHABLE}) and awaited(ledger, session):
        try:
            _save_or_refuse(ledger, session, host, timing, progress)
        except SyncError:
            if ledger.get(session.id).state not in {*OVER, _S.ENDING}:  # else another process was faster
                raise
    elif save and session.save and session.state is _S.STOPPED:
        _save_stopped_or_refuse(ledger, provider, session, host, timing, progress)
    ledger.last_resort = True
    try:
        session = _drive_down(ledger, provider, session, why=why, host=host, timing=timing, progress=progress)
    except LedgerUnwritable as err:
        raise _end_unrecorded(ledger, provider, session, err, timing, progress) from err
    if session.state in OVER:
        return ledger.receipt(session.id) or write_receipt(ledger, provider, session, why=why)
    write_receipt(ledger, None, session, why=why)
    raise not_gone(ledger, session, provider)


def _end_unrecorded(  # noqa: PLR0917
    ledger: Ledger,
    provider: Provider,
    session: Session,
    err: LedgerUnwritable,
    timing: Timing,
    progress: Progress,
) -> LedgerUnwritable:
    """End the session without the ledger; returns the error with the outcome."""
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
    """Check that this process can use the cloud before anything is ended."""
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
    except ANY:  # down, gone, unreadable: `end` finds out, and tries again
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
    host: HostAccess,
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


def not_gone(ledger: Ledger, session: Session, provider: Provider) -> OutcomeUnknown:
    """The error for an end that the provider has not confirmed."""
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
    ledger: Ledger, session: Session, host: HostAccess, timing: Timing, progress: Progress
) -> None:
    progress.say("letting the kernels end")
    settle_work(session, host, timing.agent_s)
    try:
        failed = fetch_saves(ledger, session, host, timing, progress)
    except LedgerUnwritable as err:
        failed = [(", ".join(awaited(ledger, session)), err.message)]
    if failed:
        lines = "; ".join(f"{path}: {reason}" for path, reason in failed)
        msg = f"could not bring back from {session.name}: {lines}"
        raise SyncError(
            msg,
            bill=f"nothing was ended; it goes on and {costs_text(session.hourly)}",
            hint="try again, or " + typed("down", session.name, "--no-save"),
        )


def _save_stopped_or_refuse(  # noqa: PLR0917
    ledger: Ledger,
    provider: Provider,
    session: Session,
    host: HostAccess,
    timing: Timing,
    progress: Progress,
) -> None:
    from gpunb.sessions.lifecycle.rescue import from_disk

    progress.say(f"looking into {session.name}, which is stopped")
    why = from_disk(ledger, provider, session, host, timing, progress)
    if why:
        msg = f"session {session.name} is stopped: {', '.join(session.save)} can't be brought back ({why})"
        raise SyncError(
            msg,
            bill=f"nothing was ended; it {costs_text(session.hourly)}",
            hint=typed("start", session.name) + " first, or " + typed("down", session.name, "--no-save"),
        )


def settle_work(session: Session, host: HostAccess, limit: float) -> None:
    """Shut the host's kernels down before files are saved, for a limited time: they flush and run atexit."""

    def work() -> None:
        with suppress(Exception):  # the save reports what is wrong with the host
            host.settle(session)

    thread = threading.Thread(target=work, name=f"gpunb-settle-{session.name}", daemon=True)
    thread.start()
    thread.join(limit)


def shut_down(ledger: Ledger, session: Session, host: HostAccess, limit: float) -> None:
    """Read the traffic and let the agent end its work, for a limited time: the destroy does it anyway.

    The output of the run that the session ends with comes first: it is gone with the host.
    """
    keep_output(ledger, session, host)

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

"""stop and start: the machine stops and runs again, its disk stays."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb.errors import HostError, LedgerError, OutcomeUnknown, ProviderError, WrongState
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.providers.base import Capability, Provider
from gpunb.sessions.access.host_access import HOST, HostAccess
from gpunb.sessions.cost import limits
from gpunb.sessions.cost.segments import opening
from gpunb.sessions.lifecycle.bringup import bring_up
from gpunb.sessions.lifecycle.catching_up import refresh
from gpunb.sessions.lifecycle.taking_down import shut_down
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.model import Session, SessionState
from gpunb.units import costs_text, price_text

if TYPE_CHECKING:
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["check_start", "check_stop", "start", "stop"]

_S = SessionState


def check_stop(provider: Provider, session: Session) -> None:
    """Raise the errors of `stop` before anything is changed."""
    provider.need(Capability.STOP)
    if session.state not in {_S.READY, _S.REACHABLE}:
        msg = f"session {session.name} is {session.state.value}: only a ready one can be stopped"
        raise WrongState(msg)


def check_start(ledger: Ledger, session: Session) -> None:
    """Raise the errors of `start` before anything is changed."""
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
    host: HostAccess = HOST,
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
    host: HostAccess = HOST,
    timing: Timing | None = None,
) -> Session:
    """Start a stopped session and wait until it is ready again, at its new address.

    Its disk holds the user's work: whatever fails here, nothing is destroyed.

    Raises
    ------
    WrongState
        The session is not stopped, or its lease is over.
    LimitReached
        It would cost more than a cap over all sessions allows.
    HostError, ProviderError
        It did not come up; the message says what that costs.
    """
    times = timing or Timing()
    session_id = session.id
    session = ledger.get(session_id)
    check_start(ledger, session)
    now = ledger.clock.time()
    ledger.claim(session.id, times.claim_s)
    try:
        # cost is counted from here: too early rather than too late
        session = ledger.transition(
            session, _S.BOOTING, "starting", admit=lambda: limits.admit(ledger, session_id)
        )
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
            each=lambda: ledger.claim(session.id, times.claim_s),
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

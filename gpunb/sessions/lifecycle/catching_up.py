"""refresh and resume: update the ledger from the provider, and finish interrupted work."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb.errors import (
    GpunbError,
    HostError,
    InstanceGone,
    LedgerError,
    OutcomeUnknown,
    ProviderError,
    WrongState,
)
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.providers.base import Instance, InstanceState, Presence, Provider
from gpunb.sessions.access.host_access import HOST, HostAccess
from gpunb.sessions.cost.segments import opening
from gpunb.sessions.lifecycle.bringup import bring_up, record_instance
from gpunb.sessions.lifecycle.ending import Listing, clear_up, end, resolve_lost_create
from gpunb.sessions.lifecycle.taking_down import not_gone
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.model import OVER, Session, SessionState

if TYPE_CHECKING:
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["apply", "refresh", "resume"]

_HALTED = {InstanceState.STOPPED, InstanceState.INTERRUPTED}
_S = SessionState


def refresh(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    host: HostAccess = HOST,
    timing: Timing | None = None,
) -> Session:
    """Query the provider for the instance and update the ledger.

    If the provider can't answer, nothing changes.
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
    host: HostAccess = HOST,
    timing: Timing,
) -> Session:
    """Update the ledger from the provider's answer: `instance`, or None for confirmed gone."""
    try:
        if instance is None or instance.state is InstanceState.GONE:
            return _vanished(ledger, provider, session, host, timing)
        session = record_instance(ledger, session, instance)
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


def _halted(ledger: Ledger, session: Session, instance: Instance, host: HostAccess) -> Session:
    host.drop(session.id)
    what = instance.message or instance.raw_state or instance.state.value
    session = ledger.transition(session, _S.STOPPED, what, armed="")
    ledger.open_segments(opening(session, instance, ledger.clock.time(), state=_S.STOPPED))
    return session


def _vanished(
    ledger: Ledger, provider: Provider, session: Session, host: HostAccess, timing: Timing
) -> Session:
    if session.state is _S.ENDING:
        return session  # its end is confirmed by end_step, with all that belongs to it
    sent = max((intent.sent for intent in ledger.intents(session.id)), default=0.0)
    if ledger.clock.time() - sent < timing.lag(provider):
        return session  # may be a lagging replica, even if another one has shown it
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
    host: HostAccess = HOST,
    timing: Timing | None = None,
) -> Session:
    """Finish work that another process left unfinished; returns the updated session.

    A create whose answer was never read is looked up: found, it is brought up, since no failure
    was reported. An instance reported as unknown is ended when it shows up. A session
    that a live process works on is left alone.

    Raises
    ------
    OutcomeUnknown
        The outcome is still not certain.
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
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    progress: Progress,
    host: HostAccess,
    timing: Timing,
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
                each=lambda: ledger.claim(session.id, timing.claim_s),
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
        session = resolve_lost_create(ledger, Listing(provider), session, timing)
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
    ledger: Ledger, provider: Provider, session: Session, why: str, *, host: HostAccess, timing: Timing
) -> Session:
    with suppress(GpunbError, OSError):
        host.drop(session.id)
    session = end(ledger, provider, session.id, why=why, within=timing.confirm_s, timing=timing)
    if session.state not in OVER:
        raise not_gone(ledger, session, provider)
    return session

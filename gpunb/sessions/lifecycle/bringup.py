"""Bringing an instance up to a ready session: running, reachable, agent, lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.errors import (
    GpunbError,
    HostKeyChanged,
    InstanceGone,
    ProviderError,
    Unreachable,
    WrongState,
)
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress, Steps
from gpunb.providers.base import Instance, InstanceState, Presence, Provider
from gpunb.sessions import start_check
from gpunb.sessions.cost.lease import cut
from gpunb.sessions.cost.segments import opening
from gpunb.sessions.model import Session, SessionState
from gpunb.units import price_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.timeouts import Timing

__all__ = ["BootFailed", "Unfit", "bring_up", "enter", "record_instance"]

STARTED = "start"  # the event that has the seconds of each step
_DEAD = {InstanceState.FAILED, InstanceState.GONE, InstanceState.ENDING}
_HALTED = {InstanceState.STOPPED, InstanceState.INTERRUPTED}


class BootFailed(Unreachable):
    """The instance did not become reachable in time, or its provider reports that it failed."""


class Unfit(BootFailed):
    """The request can't come up on any offer: another one would fail the same way."""


def record_instance(
    ledger: Ledger, session: Session, instance: Instance, *, since: float | None = None
) -> Session:
    """Record what the provider shows of the instance: address, prices, its own state.

    Parameters
    ----------
    since
        When it was last seen not to run; the start of its present state if None. The gpu
        is counted from there, where booting is free.
    """
    changed: dict[str, Any] = {
        "cloud_state": instance.state.value,
        "seen": True,
        "host": instance.host or session.host,
        "port": instance.port or session.port,
        # a row without an address has no login name of its own, only its cloud's default
        "user": (instance.user if instance.host or not session.user else "") or session.user,
    }
    if instance.ports:  # a list may hold less than the detail call
        changed["ports"] = dict(instance.ports)
    if instance.image and not session.image:  # the cloud's or the provider's default
        changed["image"] = instance.image
    priced = instance.usd_h > 0 and instance.usd_h != session.usd_h
    if priced:
        changed["usd_h"] = instance.usd_h
    if instance.stopped_usd_h > 0:
        changed["stopped_usd_h"] = instance.stopped_usd_h
    if instance.ends is not None and instance.ends != session.contract_end:
        changed["offer"] = {**session.offer, "ends": instance.ends}
    shorter = cut(session.lease, instance.ends if instance.ends is not None else session.contract_end)
    if shorter is not None:
        changed["lease"] = shorter
        ledger.note(session.id, "contract", f"{session.provider} ends the contract; the lease ends before")
    if all(getattr(session, key) == value for key, value in changed.items()):
        return session
    began = (
        instance.state is InstanceState.RUNNING
        and session.cloud_state != instance.state.value
        and session.state is SessionState.BOOTING
    )
    first, before = not session.seen, session.cloud_state
    session = ledger.update(session.id, **changed)
    if not session.offline_billed:
        _offline(ledger, session, instance, before)
    corrected = priced and first and session.state is SessionState.BOOTING
    if corrected:
        # a price other than its offer's holds from the start, not from now on
        ledger.correct_segments(opening(session, instance, session.state_at))
        ledger.note(
            session.id, "price", f"{session.provider} bills {price_text(instance.usd_h)}/h, not as offered"
        )
    if began:
        ledger.open_segments(opening(session, instance, session.state_at if since is None else since))
    elif (
        priced
        and not corrected
        and session.state in {SessionState.BOOTING, SessionState.REACHABLE, SessionState.READY}
    ):
        ledger.open_segments(opening(session, instance, ledger.clock.time()))
        ledger.note(session.id, "price", f"{session.provider} bills {price_text(instance.usd_h)}/h")
    return session


def _offline(ledger: Ledger, session: Session, instance: Instance, before: str) -> None:
    """Close the segments of an offline host where that is free, and reopen them when it is back."""
    away = InstanceState.OFFLINE
    if instance.state is away and before != away.value:
        ledger.close_segments(session.id)
        ledger.note(session.id, "offline", f"{session.provider} bills nothing until the host is back")
    elif before == away.value and instance.state is not away:
        ledger.open_segments(opening(session, instance, ledger.clock.time(), state=session.state))
        ledger.note(session.id, "offline", f"the host is back; {session.provider} bills again")


def bring_up(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    host: HostAccess,
    timing: Timing,
    boot_s: float,
    progress: Progress = SILENT,
    each: Callable[[], object] | None = None,
) -> Session:
    """Wait until the session in state booting (or reachable) is ready; returns it.

    The lease is armed on the host before anything else happens there.

    Parameters
    ----------
    boot_s
        Seconds from the beginning of the state booting until SSH must answer.
    each
        Called between questions (keeps the claim alive).

    Raises
    ------
    BootFailed
        The provider gave the instance up, or the time is over.
    HostError
        SSH or the agent failed.
    WrongState
        Another process moved the session on (ended it, most likely).
    """
    began = session.state_at if session.state is SessionState.BOOTING else ledger.clock.time()
    until = began + boot_s
    if session.lease.deadline is not None:
        until = min(until, session.lease.deadline)
    instance = _wait_running(
        ledger, provider, session, until=until, timing=timing, progress=progress, each=each
    )
    session = ledger.get(session.id)
    progress.say(f"waiting for SSH at {session.host}:{session.port}")
    left = max(timing.agent_s, until - ledger.clock.time())
    return enter(
        ledger, session, instance, host=host, within=left, provider=provider, progress=progress, each=each
    )


def enter(
    ledger: Ledger,
    session: Session,
    instance: Instance,
    *,
    host: HostAccess,
    within: float,
    provider: Provider | None = None,
    progress: Progress = SILENT,
    each: Callable[[], object] | None = None,
) -> Session:
    """Connect SSH and the agent of a running instance and set its lease; returns the ready session.

    Raises
    ------
    HostError, WrongState
        As `bring_up`; SSH has `within` seconds to answer.
    NotAsOffered
        It is not the machine that was offered.
    """
    if instance.host_key:
        host.pin(session, instance.host_key)
    was_pinned = bool(host.pinned(session))
    steps = Steps(progress)

    def give_up() -> None:
        _still(ledger, session)
        if each is not None:
            each()

    try:
        host.wait(session, timeout=within, progress=steps, give_up=give_up)
    except HostKeyChanged as err:
        if session.ready is None:
            if was_pinned and session.state is SessionState.BOOTING:
                raise _another_key(session, err) from err
            raise
        host_key = _told(provider, session, instance)
        session = _made_anew(ledger, session, host, host_key, err)
        host.wait(session, timeout=within, progress=steps, give_up=give_up)
    steps.end()
    session = _still(ledger, session)
    if session.state is SessionState.BOOTING:
        known = _compared(provider, session, instance, host, was_pinned=was_pinned)
        session = ledger.transition(session, SessionState.REACHABLE, f"SSH answers; {known}")
    progress.say("starting the agent")
    host.arm(session, steps)
    if session.ready is None:
        start_check.make(ledger, session, host, progress)
    _first_cell(ledger, session, host, steps)
    now = ledger.clock.time()
    return ledger.transition(
        session,
        SessionState.READY,
        "",
        ready=session.ready or now,
        last_activity=now,
        armed=session.lease.mark,
    )


def _first_cell(ledger: Ledger, session: Session, host: HostAccess, steps: Steps) -> None:
    """Wait until cells run, and record how long each step of the start took.

    A kernel that can't start is no reason to end the machine: jobs and files need none, and the first
    cell says what is wrong.
    """
    try:
        host.first_cell(session, steps)
    except GpunbError as err:
        ledger.note(session.id, "kernel", f"no cell runs yet: {err.message}")
    steps.end()
    if steps.took:
        ledger.note(session.id, STARTED, str(steps))


def _compared(
    provider: Provider | None, session: Session, instance: Instance, host: HostAccess, *, was_pinned: bool
) -> str:
    """Compare the host's key with the one that the cloud shows; returns how the key is known.

    Raises
    ------
    HostKeyChanged
        The cloud shows other keys: a man in the middle, or another machine.
    """
    if was_pinned:
        return "its host key is the one that was known before"
    title, host_key = _told(provider, session, instance)
    if not host_key:
        return f"its host key was taken at the first contact ({title} shows none to compare)"
    if set(host.pinned(session)) & set(host_key):
        return f"its host key is the one in {title}'s log"
    msg = (
        f"the host of {session.name} shows another SSH key than the one in {title}'s log of it:"
        " another machine answers in its place, or the log is another machine's; nothing was sent"
    )
    raise HostKeyChanged(msg, hint=typed("down", session.name))


def _told(provider: Provider | None, session: Session, instance: Instance) -> tuple[str, list[str]]:
    """The cloud's title, and the machine's host keys as the cloud shows them."""
    if provider is None:
        return session.provider, []
    try:
        return provider.title, provider.host_keys(instance.id)
    except ProviderError:
        return provider.title, []


def _made_anew(
    ledger: Ledger, session: Session, host: HostAccess, vouched: tuple[str, list[str]], err: HostKeyChanged
) -> Session:
    """Pin the new host key of a started or rebooted machine, if the cloud vouches for it.

    A container that is recreated around its old disk has new host keys, as on Vast.

    Raises
    ------
    HostKeyChanged
        The cloud does not vouch for it; the hint says how the user can.
    """
    from gpunb.ssh import fingerprint
    from gpunb.ssh.hostkeys import way_on

    title, host_key = vouched
    if err.shown and err.shown in host_key:
        host.repin(session, err.shown)
        words = f"a new one since it was started again, the one in {title}'s log: {fingerprint(err.shown)}"
        ledger.note(session.id, "host-key", words)
        return ledger.get(session.id)
    was = ", ".join(map(fingerprint, host.pinned(session)))
    now = fingerprint(err.shown) if err.shown else "unknown"
    but = f", and {title}'s log of it shows yet other keys" if host_key else ""
    msg = (
        f"the host of {session.name} shows another SSH key since it was started again ({now}, before it was"
        f" {was}){but}: the machine was made anew around its disk, or another one has its address now, or"
        " another machine answers in its place; gpunb did not log in and sent nothing"
    )
    told_before = ledger.events(session.id)[-1:]
    words = f"not connected: it shows {now}, and nothing confirms that it is the machine's"
    if not told_before or told_before[0].detail != words:  # each sweep of the supervisor finds the same
        ledger.note(session.id, "host-key", words)
    raise HostKeyChanged(msg, shown=err.shown, hint=way_on(session.name, err.shown)) from err


def _another_key(session: Session, err: HostKeyChanged) -> HostKeyChanged:
    """The error for another host key at the first contact, where only a key made by us is pinned."""
    msg = (
        f"the host of {session.name} does not show the SSH key that gpunb gave it when it was made: another"
        " machine answers in its place, or the machine was started without it; nothing was sent"
        f" ({err.message})"
    )
    return HostKeyChanged(msg, bill=err.bill, hint="rent again; if it happens again, on another cloud")


def _still(ledger: Ledger, session: Session) -> Session:
    """Reload the session, if it is still ours to bring up."""
    now = ledger.get(session.id)
    if now.state not in {SessionState.BOOTING, SessionState.REACHABLE}:
        msg = f"session {now.name} is {now.state.value} by now; another process is at work on it"
        raise WrongState(msg, hint=typed("ps"))
    return now


def _wait_running(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    until: float,
    timing: Timing,
    progress: Progress,
    each: Callable[[], object] | None,
) -> Instance:
    clock = ledger.clock
    step = 0
    last = "nothing yet"
    asked = session.state_at
    while True:
        session = _still(ledger, session)
        before, asked = asked, clock.time()
        try:
            instance = provider.get(session.instance_id)
        except InstanceGone as err:
            if _really_gone(ledger, provider, session, timing):
                raise _failed(session, f"{provider.title} says that it is gone") from err
            last = "not listed yet"
        except ProviderError as err:
            last = err.message
        else:
            session = record_instance(ledger, session, instance, since=before)
            _as_ordered(session, instance)
            last = instance.message or instance.raw_state or instance.state.value
            if instance.state in _DEAD or (instance.state in _HALTED and session.ready is None):
                failed = _failed(session, f"{provider.title} says {instance.state.value} ({last})")
                raise Unfit(failed.message, hint=instance.remedy) if instance.remedy else failed
            if instance.state is InstanceState.RUNNING and session.host and session.port:
                return instance
        now = clock.time()
        if now >= until:
            raise _failed(session, f"not running after {timing_text(now - session.state_at)}: {last}")
        progress.say(f"waiting for instance {session.instance_id} of {provider.title}: {last}")
        progress.advance(now - session.state_at, until - session.state_at, "s")
        if each is not None:
            each()
        clock.sleep(timing.pause(step))
        step += 1


def _as_ordered(session: Session, instance: Instance) -> None:
    """Refuse an interruptible machine that was ordered as uninterruptible, and the reverse.

    Vast rents an offer of its spot search on demand, for twice the price, if the bid is lost on
    the way, and its answer does not say so (vast-cli#403).
    """
    ordered = str(session.offer.get("rental", "")) or instance.rental
    if (ordered == "spot") != (instance.rental == "spot"):
        raise _failed(session, f"{session.provider} rented it as {instance.rental}, not as {ordered}")


def timing_text(seconds: float) -> str:
    """Format seconds for people."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _really_gone(ledger: Ledger, provider: Provider, session: Session, timing: Timing) -> bool:
    sent = max((intent.sent for intent in ledger.intents(session.id)), default=0.0)
    if ledger.clock.time() - sent < timing.lag(provider):
        return False
    try:
        return provider.presence(session.instance_id) is Presence.GONE
    except (ProviderError, OSError):
        return False


def _failed(session: Session, why: str) -> BootFailed:
    msg = f"instance {session.instance_id} of {session.provider} did not come up: {why}"
    return BootFailed(msg)

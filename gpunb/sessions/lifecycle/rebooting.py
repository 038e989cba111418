"""Reboot and update: the machine, or its container, restarts, and everything that runs on it ends."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.errors import HostError, LedgerError, ProviderError, WrongState
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.providers.base import Capability, InstanceState, Provider
from gpunb.sessions.access.host_access import HOST, HostAccess
from gpunb.sessions.lifecycle.bringup import bring_up
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.model import Session, SessionState
from gpunb.units import costs_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from gpunb.providers.base import RegistryLogin
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["Changes", "reboot", "update"]

# how long the cloud may still call an instance running that it has begun to restart
_BEGIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The changes of a container by an update; None leaves a field as it is."""

    image: str | None = None
    env: Mapping[str, str] | None = None
    start_command: str | None = None
    login: RegistryLogin | None = None

    def given(self) -> dict[str, Any]:
        """The fields that are not None."""
        all_ = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in all_.items() if value is not None}


def reboot(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    recycle: bool = False,
    progress: Progress = SILENT,
    host: HostAccess = HOST,
    timing: Timing | None = None,
) -> Session:
    """Restart the machine and wait until it is ready again; it is billed all the time.

    Whatever fails here, nothing is destroyed: its disk holds the user's work.

    Parameters
    ----------
    recycle
        Whether the container is recreated from its image: then its disk is, too.

    Raises
    ------
    NotSupported
        This cloud can't.
    WrongState
        The session is not up.
    HostError, ProviderError
        It did not come back; ``bill`` says what that costs.
    """
    provider.need(Capability.REBOOT)
    what, act = ("recycle", provider.recycle) if recycle else ("reboot", provider.reboot)

    def restart(found: Session) -> str:
        act(found.instance_id)
        return f"{what.removesuffix('e')}ing"

    note = f"asking {provider.title} to {what} instance {session.instance_id}"
    return _again(
        ledger, provider, session, (what, note), restart, progress=progress, host=host, timing=timing
    )


def update(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    changes: Changes,
    *,
    progress: Progress = SILENT,
    host: HostAccess = HOST,
    timing: Timing | None = None,
) -> Session:
    """Change and recreate the container, and wait until it is ready again; it is billed all the time.

    What is not named stays; ports can't be changed. Its host key is taken at the first contact, as after a
    rental, unless the cloud keeps one of ours in it.

    Raises
    ------
    NotSupported, WrongState, HostError, ProviderError
        As `reboot`; an update that is refused changes nothing.
    """
    provider.need(Capability.UPDATE)
    given = changes.given()

    def change(found: Session) -> str:
        if not provider.update(found.instance_id, **given):
            host.unpin(found)
        if changes.image is not None:
            ledger.update(found.id, image=changes.image)
        return "updating"

    note = f"asking {provider.title} to change {', '.join(given)} of instance {session.instance_id}"
    return _again(
        ledger, provider, session, ("update", note), change, progress=progress, host=host, timing=timing
    )


def _again(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    why: tuple[str, str],
    act: Callable[[Session], str],
    *,
    progress: Progress,
    host: HostAccess,
    timing: Timing | None,
) -> Session:
    """Record `why`, call `act`, which returns the detail of the new state, and bring the session up again."""
    times = timing or Timing()
    session = ledger.get(session.id)
    # a container that was up and did not come back may get another image
    failed = session.state is SessionState.BOOTING and session.ready is not None
    if session.state not in {SessionState.READY, SessionState.REACHABLE} and not failed:
        msg = f"session {session.name} is {session.state.value}: only one that is up can start anew"
        raise WrongState(msg)
    if not ledger.claim(session.id, times.claim_s) and failed:
        msg = f"session {session.name} is {session.state.value}: another process waits for it"
        raise WrongState(msg, hint=typed("ps"))
    try:
        ledger.note(session.id, *why)
        detail = act(session)
        host.drop(session.id)
        session = ledger.get(session.id)
        if not failed:
            session = ledger.transition(session, SessionState.BOOTING, detail, armed="")
        waited = ledger.clock.time() - session.state_at
        _begun(ledger, provider, session, times)
        return bring_up(
            ledger,
            provider,
            session,
            host=host,
            timing=times,
            boot_s=waited + times.boot_of(ledger, session),
            progress=progress,
            each=lambda: _renew(ledger, session.id, times),
        )
    except (HostError, ProviderError) as err:
        err.bill = err.bill or f"{session.name} goes on and {costs_text(session.hourly)}"
        raise
    finally:
        with suppress(LedgerError):
            ledger.release(session.id)


def _begun(ledger: Ledger, provider: Provider, session: Session, times: Timing) -> None:
    """Wait a little until the restart shows, so that the old state is not taken for the new one."""
    until = ledger.clock.time() + _BEGIN_S
    step = 0
    while ledger.clock.time() < until:
        with suppress(ProviderError):
            if provider.get(session.instance_id).state is not InstanceState.RUNNING:
                return
        ledger.clock.sleep(times.pause(step))
        step += 1


def _renew(ledger: Ledger, session_id: str, times: Timing) -> None:
    ledger.claim(session_id, times.claim_s)

"""A reboot: the machine restarts, its disk and address may stay, everything that runs on it ends."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb.errors import HostError, LedgerError, ProviderError, WrongState
from gpunb.progress import SILENT, Progress
from gpunb.providers.base import Capability, InstanceState, Provider
from gpunb.sessions.bringup import bring_up
from gpunb.sessions.model import Session, SessionState
from gpunb.sessions.reach import HOST, Reach
from gpunb.sessions.timing import Timing
from gpunb.units import costs_text

if TYPE_CHECKING:
    from gpunb.sessions.ledger import Ledger

__all__ = ["reboot"]

# how long the cloud may still call an instance running that it has begun to restart
_BEGIN_S = 10.0


def reboot(
    ledger: Ledger,
    provider: Provider,
    session: Session,
    *,
    recycle: bool = False,
    progress: Progress = SILENT,
    host: Reach = HOST,
    timing: Timing | None = None,
) -> Session:
    """Restart the machine and wait until it is ready again; it is billed all the time.

    Whatever fails here, nothing is destroyed: its disk holds the user's work.

    Parameters
    ----------
    recycle
        Whether the container is made anew from its image: then its disk is, too.

    Raises
    ------
    NotSupported
        This cloud can't.
    WrongState
        The session is not up.
    HostError, ProviderError
        It did not come back; ``bill`` says what that costs.
    """
    times = timing or Timing()
    session = ledger.get(session.id)
    if not provider.can(Capability.REBOOT):
        provider.refuse("reboot an instance")
    if session.state not in {SessionState.READY, SessionState.REACHABLE}:
        msg = f"session {session.name} is {session.state.value}: only one that is up can be rebooted"
        raise WrongState(msg)
    ledger.claim(session.id, times.claim_s)
    try:
        what, act = ("recycle", provider.recycle) if recycle else ("reboot", provider.reboot)
        ledger.note(session.id, what, f"asking {provider.title} to {what} instance {session.instance_id}")
        act(session.instance_id)
        host.drop(session.id)
        session = ledger.transition(session, SessionState.BOOTING, f"{what.removesuffix('e')}ing", armed="")
        _begun(ledger, provider, session, times)
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
        err.bill = err.bill or f"{session.name} goes on and {costs_text(session.hourly)}"
        raise
    finally:
        with suppress(LedgerError):
            ledger.release(session.id)


def _begun(ledger: Ledger, provider: Provider, session: Session, times: Timing) -> None:
    """Wait a little until the restart shows, so that the old machine is not taken for the new one."""
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

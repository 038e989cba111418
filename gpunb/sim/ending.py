"""End of the sessions on simulated clouds when the simulation ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from gpunb import log, paths
from gpunb.errors import GpunbError
from gpunb.providers import Provider, ProviderConfig, provider_class
from gpunb.sessions.cost.receipts import write_receipt
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.lifecycle import Timing, down
from gpunb.sessions.model import IntentState, Receipt, Session, SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpunb.progress import Progress

__all__ = ["close", "end_all", "ledger_file", "live", "provider"]

# a simulated cloud that was told to ignore a destroy must not hold up the end of the simulation
_TIMING = Timing(confirm_s=15.0, agent_s=5.0, save_s=120.0)
_NEVER_RAN = {SessionState.REQUESTED, SessionState.CREATING, SessionState.UNKNOWN}


def ledger_file() -> Any:
    """Return the ledger of simulated sessions."""
    return paths.sim_dir() / "ledger.sqlite"


def live() -> list[Session]:
    """List the live sessions of the simulation's ledger."""
    if not ledger_file().exists():
        return []
    with Ledger.open(ledger_file()) as ledger:
        return ledger.sessions()


def provider(name: str, one: Mapping[str, Any] | None) -> Provider:
    """Return the provider of a simulated cloud (or ``local``), as its marker describes it."""
    if one is None:
        return provider_class(name)()
    options = {key: value for key, value in one.items() if key not in ("base_url", "key")}
    return provider_class(name)(
        ProviderConfig(base_url=one["base_url"], key=SecretStr(one["key"]), options=options)
    )


def end_all(
    providers: Mapping[str, Mapping[str, Any]], progress: Callable[[str], Any], *, save: bool = True
) -> tuple[list[Receipt], list[str]]:
    """End every session of the simulation's ledger; return the receipts, and what could not be ended.

    Raises
    ------
    GpunbError
        Files can't be brought back, or a session on this machine (``local``) does not end: it
        would outlive the simulation.
    """
    receipts, trouble = [], []
    with Ledger.open(ledger_file()) as ledger:
        for session in ledger.sessions():
            with progress(f"down {session.name}") as shown:
                cloud = provider(session.provider, providers.get(session.provider))
                try:
                    receipts.append(_down(ledger, cloud, session, shown, save=save))
                except GpunbError as err:
                    if session.provider not in providers or (save and session.save):
                        raise
                    trouble.append(f"{session.name}: {err.message}")
                finally:
                    cloud.close()
    return receipts, trouble


def _down(ledger: Ledger, cloud: Provider, session: Session, progress: Progress, *, save: bool) -> Receipt:
    return down(ledger, cloud, session, save=save, progress=progress, timing=_TIMING, why="sim down")


def close(why: str = "the simulation ended") -> list[str]:
    """Close sessions and intents in the ledger of clouds that are gone; return the names."""
    if not ledger_file().exists():
        return []
    closed = []
    with Ledger.open(ledger_file()) as ledger:
        for session in ledger.sessions():
            if session.provider == "local":
                continue  # a real process of this machine
            for intent in ledger.intents(session.id, unresolved=True):
                ledger.resolve_intent(intent.label, IntentState.GONE, why)
            if session.state in _NEVER_RAN:
                ledger.transition(session, SessionState.FAILED, why)
            else:
                if session.state is not SessionState.ENDING:
                    session = ledger.transition(session, SessionState.ENDING, why)  # noqa: PLW2901
                session = ledger.transition(session, SessionState.GONE, why)  # noqa: PLW2901
                write_receipt(ledger, None, session, why=why)
            closed.append(session.name)
        for orphan in ledger.orphans():
            orphan.gone = ledger.clock.time()
            ledger.save_orphan(orphan)
    log.get(__name__).info("closed %d simulated session(s)", len(closed))
    return closed

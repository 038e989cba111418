"""Ends without the ledger: the destroy comes first, and is recorded when the ledger can be written.

The rule elsewhere is the other way round (what is about to be done is committed before it is
done), because it guards against unknown bills. Where a session must end, and the
ledger can't be written, waiting for it would be such a bill.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.errors import InstanceGone
from gpunb.progress import SILENT
from gpunb.providers.base import Presence
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.lifecycle.ending import Listing

if TYPE_CHECKING:
    from gpunb.progress import Progress
    from gpunb.providers.base import Provider
    from gpunb.sessions.lifecycle.timeouts import Timing
    from gpunb.sessions.model import Clock, Session

__all__ = ["Unrecorded", "end_unrecorded"]


@dataclass(slots=True)
class _Try:
    tries: int = 0
    next_try: float = 0.0
    gone: float | None = None  # when the provider confirmed it


class Unrecorded:
    """Sessions ended without the ledger, by id. Thread-safe."""

    def __init__(self, clock: Clock, timing: Timing) -> None:
        self.clock = clock
        self.timing = timing
        self._tries: dict[str, _Try] = {}
        self._lock = threading.Lock()

    def end(self, listing: Listing, session: Session) -> str:
        """Ask the provider to end the session's instances, if that is due; returns the outcome, or ""."""
        with self._lock:
            one = self._tries.setdefault(session.id, _Try())
        now = self.clock.time()
        if one.gone is not None or now < one.next_try:
            return ""
        one.next_try = now + self.timing.retry(one.tries)
        one.tries += 1
        provider = listing.provider
        idents = [session.instance_id] if session.instance_id else _labelled(listing, session)
        if not idents:
            return ""  # not listed (yet): that proves nothing
        troubles = [trouble for trouble in (_destroy(provider, ident) for ident in idents) if trouble]
        if troubles:
            return f"{provider.title} was asked to end {', '.join(idents)}: {'; '.join(troubles)}"
        if all(_gone(provider, ident) for ident in idents):
            one.gone = self.clock.time()
            return f"{provider.title} confirms that {', '.join(idents)} is gone; it is written down later"
        return f"{provider.title} was asked to end {', '.join(idents)}, and took the call"

    def ended(self, session_id: str) -> float | None:
        """When the provider confirmed that it is gone; None if it has not, or was never asked from here."""
        one = self._tries.get(session_id)
        return one.gone if one is not None else None

    def forget(self, session_id: str) -> None:
        """Remove the session: its end is in the ledger."""
        with self._lock:
            self._tries.pop(session_id, None)


def end_unrecorded(
    provider: Provider,
    session: Session,
    *,
    clock: Clock,
    within: float,
    timing: Timing,
    progress: Progress = SILENT,
) -> bool:
    """Destroy without the ledger, waiting up to `within` seconds; returns whether it was confirmed."""
    ends = Unrecorded(clock, timing)
    begin, step = clock.time(), 0
    while True:
        ends.end(Listing(provider), session)
        if ends.ended(session.id) is not None:
            return True
        spent = clock.time() - begin
        if spent >= within:
            return False
        progress.say(f"waiting until {provider.title} agrees that {session.name} is gone")
        progress.advance(spent, within, "s")
        clock.sleep(timing.pause(step))
        step += 1


def _labelled(listing: Listing, session: Session) -> list[str]:
    return [instance.id for instance in listing.labelled(session.label) or ()] if session.label else []


def _destroy(provider: Provider, instance_id: str) -> str:
    try:
        provider.destroy(instance_id)
    except InstanceGone:
        pass
    except ANY as err:
        return words(err)
    return ""


def _gone(provider: Provider, instance_id: str) -> bool:
    try:
        return provider.presence(instance_id) is Presence.GONE
    except ANY:
        return False

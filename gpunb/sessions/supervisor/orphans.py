"""Orphans: instances with a gpunb label and no session; ours are ended, others are shown."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb.errors import LedgerError
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.model import Orphan

if TYPE_CHECKING:
    from gpunb.providers.base import Instance, Provider
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.ending import Listing
    from gpunb.sessions.lifecycle.timeouts import Timing

__all__ = ["PREFIX", "strays", "sweep"]

PREFIX = "gpunb-"
# a session that another process ended this moment may still be in the list that we have
GRACE_S = 30.0


def sweep(ledger: Ledger, listing: Listing, timing: Timing) -> list[Orphan]:
    """Compare the provider's list with the ledger; returns the present orphans.

    An orphan is ended only if its label carries this installation's id, no rental
    uses that label now, and it was seen for longer than a list may lag.

    Raises
    ------
    Exception
        The first of what went wrong with one of them; all others were looked at.
    """
    instances = listing.instances()
    if instances is None:
        return []
    provider = listing.provider
    # The ledger is read after the list was made: an intent is committed before its create
    # call, so whatever the list shows of ours is in here, or it is an orphan.
    sessions = ledger.sessions()
    ours = {
        session.instance_id
        for session in sessions
        if session.provider == provider.name and session.instance_id
    }
    awaited = {intent.label for intent in ledger.intents(unresolved=True)}
    mark = f"{PREFIX}{ledger.installation[:8]}-"
    known = {one.instance_id: one for one in ledger.orphans() if one.provider == provider.name}
    now = ledger.clock.time()
    grace = max(GRACE_S, timing.lag(provider))
    out: list[Orphan] = []
    failed: BaseException | None = None
    for instance in instances:
        try:
            stray = instance.label.startswith(PREFIX) or instance.id in known
            if not stray or instance.id in ours or instance.label in awaited or provider.ended(instance):
                continue
            orphan = known.pop(instance.id, None) or _new(ledger, instance, mark, now)
            if orphan.ours and now - orphan.first_seen >= grace and now >= orphan.next_try:
                _destroy(ledger, provider, orphan, timing)
        except ANY as err:  # one row of a list must not block the others
            failed = failed or err
            continue
        out.append(orphan)
    for orphan in known.values():  # no longer in the list
        orphan.gone = now
        ledger.save_orphan(orphan)
    if failed is not None:
        raise failed
    return out


def strays(ledger: Ledger, provider: Provider) -> list[tuple[Instance, bool]]:
    """Listed instances with a gpunb label and no session here, each with True if ours.

    Raises
    ------
    ProviderError
        The list can't be fetched.
    """
    instances = provider.instances()
    ours = {session.instance_id for session in ledger.sessions() if session.provider == provider.name}
    awaited = {intent.label for intent in ledger.intents(unresolved=True)}
    mark = f"{PREFIX}{ledger.installation[:8]}-"
    return [
        (instance, instance.label.startswith(mark))
        for instance in instances
        if instance.label.startswith(PREFIX)
        and instance.id not in ours
        and instance.label not in awaited
        and not provider.ended(instance)
    ]


def _new(ledger: Ledger, instance: Instance, mark: str, now: float) -> Orphan:
    mine = instance.label.startswith(mark)
    orphan = Orphan(
        provider=instance.provider,
        instance_id=instance.id,
        label=instance.label,
        ours=mine,
        first_seen=now,
        usd_h=instance.usd_h,
        detail="no session has it" if mine else "of another gpunb installation; gpunb does not touch it",
    )
    ledger.save_orphan(orphan)
    return orphan


def _destroy(ledger: Ledger, provider: Provider, orphan: Orphan, timing: Timing) -> None:
    orphan.next_try = ledger.clock.time() + timing.retry(orphan.tries)
    orphan.tries += 1
    with suppress(LedgerError):  # before the effect, where possible
        ledger.save_orphan(orphan)
    try:
        provider.destroy(orphan.instance_id)
    except ANY as err:
        orphan.detail = f"could not be ended: {words(err)}"
    else:
        orphan.detail = "the provider took the call to end it"
    ledger.save_orphan(orphan)

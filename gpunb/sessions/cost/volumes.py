"""Volumes of this installation, and which of them cost while no instance uses them.

Volumes outlive their machines. gpunb never deletes one on its own, not even one that it made: it holds
data. Unused ones of ours are recorded in the ledger instead, for ``ps`` to name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpunb.providers.base import Capability
from gpunb.sessions.model import IdleVolume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.providers.base import Provider, Volume
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["as_idle", "idle", "is_ours", "label_for", "mounted", "short", "sweep"]

_LABEL = re.compile(r"gpunb_([0-9a-z]{8})_(.+)", re.DOTALL)


def label_for(installation: str, name: str) -> str:
    """The name of a volume at its cloud, by which gpunb recognizes it.

    Only letters, digits and ``_``: Vast.ai takes no others.
    """
    return f"gpunb_{installation[:8]}_{name}"


def short(name: str) -> str:
    """The user's name of a volume that gpunb made; of other volumes the whole name."""
    found = _LABEL.fullmatch(name)
    return found.group(2) if found else name


def is_ours(volume: Volume, installation: str) -> bool:
    """Whether this installation of gpunb made the volume."""
    found = _LABEL.fullmatch(volume.name)
    return found is not None and found.group(1) == installation[:8]


def mounted(ledger: Ledger, provider: str) -> set[str]:
    """Ids of the volumes of live sessions, since not every cloud reports which instance uses one."""
    alive = {session.id for session in ledger.sessions() if session.provider == provider}
    return {
        str(volume)
        for intent in ledger.intents()
        if intent.session_id in alive
        for volume in intent.summary.get("volumes") or ()
    }


def idle(ledger: Ledger, provider: Provider, known: Sequence[Volume] | None = None) -> list[Volume]:
    """Volumes of the account that no known instance uses; each costs until it is deleted.

    `known` is the account's list, if it is at hand.

    Raises
    ------
    ProviderError
        The list can't be had.
    """
    if not provider.can(Capability.VOLUMES):
        return []
    used = mounted(ledger, provider.name)
    listed = provider.volumes() if known is None else known
    return [volume for volume in listed if not volume.instances and volume.id not in used]


def sweep(ledger: Ledger, provider: Provider, known: Sequence[Volume] | None = None) -> list[IdleVolume]:
    """Record our idle volumes in the ledger and return them; `known` as for `idle`.

    Raises
    ------
    ProviderError
        The list can't be had; the ledger keeps what it had.
    """
    if not provider.can(Capability.VOLUMES):
        return []
    now = ledger.clock.time()
    since = {volume.id: volume.since for volume in ledger.idle_volumes() if volume.provider == provider.name}
    volumes = [
        as_idle(volume, since.get(volume.id, now))
        for volume in idle(ledger, provider, known)
        if is_ours(volume, ledger.installation)
    ]
    if volumes or since:
        ledger.save_idle_volumes(provider.name, volumes)
    return volumes


def as_idle(volume: Volume, since: float) -> IdleVolume:
    """A sentence on an idle volume for users."""
    return IdleVolume(
        provider=volume.provider,
        id=volume.id,
        name=short(volume.name) or volume.id,
        size_gb=volume.size_gb,
        usd_h=volume.usd_h,
        since=since,
    )

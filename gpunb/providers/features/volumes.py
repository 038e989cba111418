"""Optional feature: volumes that are rented separately."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gpunb.providers.features.asking import lacking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


__all__ = ["VolumeClone", "VolumeMarket", "VolumeSpace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpace:
    """An offer of disk space for a volume.

    Attributes
    ----------
    id
        What `VolumeMarket.rent_volume` and `VolumeClone.clone_volume` take.
    where
        What ``volumes --where`` takes: a machine, a cluster, a region. `place` is that in words.
    usd_gb_h
        US dollars an hour for each GB.
    ends
        When the host's contract ends, and the data with it, Unix seconds.
    """

    id: str
    where: str
    place: str
    usd_gb_h: float
    least_gb: float = 1.0
    most_gb: float | None = None
    ends: float | None = None


@lacking("rent out a volume alone")
@runtime_checkable
class VolumeMarket(Protocol):
    """Rental of volumes without instances (`Capability.VOLUMES` lists and deletes them)."""

    def volume_market(
        self, size_gb: float, where: str | None = None, *, network: bool = False
    ) -> Sequence[VolumeSpace]:
        """Return offers of at least `size_gb` that are usable now; with `network`, on a cluster's network."""

    def rent_volume(self, space: VolumeSpace, name: str, size_gb: int, *, network: bool = False) -> str:
        """Rent it; return its id. Never sent twice: a lost answer is `OutcomeUnknown`, `name` finds it."""


@lacking("copy a volume onto another machine")
@runtime_checkable
class VolumeClone(VolumeMarket, Protocol):
    """Copies of a volume, as a second volume elsewhere."""

    def clone_volume(
        self, volume_id: str, offer_id: str, *, size_gb: float | None = None
    ) -> Mapping[str, Any]:
        """Rent the copy at `VolumeSpace.id`. Never sent twice."""

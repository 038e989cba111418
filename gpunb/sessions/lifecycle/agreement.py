"""The user's agreement to an offer and price, and what differs from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.units import costs_text, price_text

if TYPE_CHECKING:
    from gpunb.providers.base import Offer

__all__ = ["TOLERANCE", "Agreement", "trust_rank"]

TOLERANCE = 0.05  # fraction of the price that the next offer may cost more without asking again
_TRUST = ("stranger", "datacenter", "own")
_CENT = 0.0005  # prices are shown with three digits


def trust_rank(trust: str) -> int:
    """Order of trust levels, lowest first; an unknown word counts as stranger."""
    return _TRUST.index(trust) if trust in _TRUST else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The offer that was shown, and the highest price of a replacement like it.

    Attributes
    ----------
    most_usd_h, most_usd
        US dollars an hour with the disk, and for all of the time: the most to rent without asking again.
    """

    offer: Offer
    hours: float
    disk_gb: float
    most_usd_h: float
    most_usd: float
    tolerance: float

    @classmethod
    def to(
        cls,
        offer: Offer,
        *,
        hours: float,
        disk_gb: float,
        tolerance: float = TOLERANCE,
        max_usd_h: float | None = None,
    ) -> Agreement:
        """Create the agreement to `offer`.

        Parameters
        ----------
        tolerance
            The fraction of the price that another offer may cost more.
        max_usd_h
            A price an hour that was also given (``--max-price``): it counts where it is higher.
        """
        hourly = offer.hourly(disk_gb)
        most = max(hourly * (1.0 + tolerance), max_usd_h or 0.0)
        total = offer.total(hours, disk_gb=disk_gb)
        share = most / hourly if hourly > 0 else 1.0 + tolerance
        return cls(
            offer=offer,
            hours=hours,
            disk_gb=disk_gb,
            most_usd_h=most,
            most_usd=total * share,
            tolerance=tolerance,
        )

    def differs(self, other: Offer) -> str:
        """Describe how `other` differs from what was agreed to; "" if it does not."""
        mine = self.offer
        if (other.gpu, other.gpus) != (mine.gpu, mine.gpus):
            return f"it is {other.gpus}x {other.gpu or 'no GPU'}, not {mine.gpus}x {mine.gpu or 'no GPU'}"
        if (other.rental, other.kind) != (mine.rental, mine.kind):
            return f"it is {other.rental}, {other.kind}, not {mine.rental}, {mine.kind}"
        if trust_rank(other.trust) < trust_rank(mine.trust):
            return f"its host is a {other.trust}, not a {mine.trust}"
        hourly = other.hourly(self.disk_gb)
        if self.too_dear(hourly) or other.total(self.hours, disk_gb=self.disk_gb) > self.most_usd + _CENT:
            return f"it {costs_text(hourly)}, not {self._price}"
        for word, theirs, agreed in (
            ("received", other.down_usd_gb, mine.down_usd_gb),
            ("sent", other.up_usd_gb, mine.up_usd_gb),
        ):
            if theirs > agreed * (1.0 + self.tolerance) + _CENT:
                return f"a GB {word} costs {price_text(theirs)}, not {price_text(agreed)}"
        return ""

    def too_dear(self, usd_h: float) -> bool:
        """Whether `usd_h` (US dollars an hour with the disk) is more than was agreed to."""
        return usd_h > self.most_usd_h + _CENT

    @property
    def _price(self) -> str:
        return price_text(self.offer.hourly(self.disk_gb))

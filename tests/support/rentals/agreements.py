"""An agreement to whatever comes, for tests of how a rental goes from one offer to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.sessions.lifecycle.agreement import Agreement

if TYPE_CHECKING:
    from gpunb.providers.base import Offer

__all__ = ["Anything", "anything"]


class Anything(Agreement):
    """Agrees to every offer at every price; what people agree to is narrower, and tested elsewhere."""

    __slots__ = ()

    def differs(self, other: Offer) -> str:
        """In nothing."""
        return ""

    def too_dear(self, usd_h: float) -> bool:
        """Never."""
        return False


def anything(offer: Offer, *, hours: float = 2.0, disk_gb: float = 0.0) -> Agreement:
    """The agreement to `offer` and to any other."""
    return Anything.to(offer, hours=hours, disk_gb=disk_gb)

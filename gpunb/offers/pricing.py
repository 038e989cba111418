"""Price of a rental, and the predicted time until the machine is ready.

The price is the provider's own (`Offer.total`): hours rounded to the billing
step, with the disk and the traffic asked for. The time until ready is a
prediction: the boot (as seen before at that cloud, else a usual figure) and
the image's download over the host's network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gpunb.providers.base import Offer

__all__ = ["NO_HISTORY", "History", "Ready", "Terms"]

USUAL_MBPS = 400.0
"""The line assumed, Mb/s, where a cloud does not say; data centres do better."""

USUAL_BOOT_S = {"container": 45.0, "vm": 150.0, "bare-metal": 900.0}
"""Seconds from create to SSH without the image; Fluence's page says 2-3 minutes for its machines."""

OWN_BOOT_S = 2.0
"""Seconds until a machine of the user's own takes a login."""

MEGABITS = 8000.0  # of one GB


LEAST_WAIT_S, MOST_WAIT_S = 900.0, 3600.0
"""How long a machine may take until SSH answers: Vast's page says 10 to 60 minutes for an image that is not
there yet ("fresh pulls may take 10-60 minutes"), other launchers wait 10 to 20."""


class History(Protocol):
    """Statistics of earlier rentals. Both methods are called for every offer: answer from memory."""

    def failures(self, provider: str, machine_id: str, host_id: str) -> int:
        """Return how many rentals of that machine (or of that host's) failed recently."""

    def boot_seconds(self, provider: str) -> float | None:
        """Return the median seconds from create to the first login there; None if never seen."""


class _NoHistory:
    def failures(self, provider: str, machine_id: str, host_id: str) -> int:  # noqa: ARG002 - the protocol's names
        return 0

    def boot_seconds(self, provider: str) -> float | None:  # noqa: ARG002
        return None


NO_HISTORY: History = _NoHistory()


@dataclass(frozen=True, slots=True)
class Ready:
    """The predicted seconds until the machine is ready, and the sources of the prediction."""

    boot_s: float
    boot_seen: bool
    image_s: float
    line_known: bool

    @property
    def total_s(self) -> float:
        """Seconds of boot and pull together."""
        return self.boot_s + self.image_s


@dataclass(slots=True)
class Terms:
    """The terms of a price: length, disk, traffic and image.

    Attributes
    ----------
    hours, disk_gb, up_gb, down_gb
        The rental's length, its disk, and what the host will send and receive.
    image_gb
        Size of the image that a container pulls, compressed.
    history
        What was seen in earlier rentals.
    """

    hours: float = 1.0
    disk_gb: float = 0.0
    up_gb: float = 0.0
    down_gb: float = 0.0
    image_gb: float = 6.0
    history: History = NO_HISTORY
    _boots: dict[tuple[str, str], tuple[float, bool]] = field(default_factory=dict, repr=False)

    def hourly(self, offer: Offer) -> float:
        """Return US dollars an hour with the disk of the terms."""
        return offer.hourly(self.disk_gb)

    def total(self, offer: Offer) -> float:
        """Return US dollars for the whole rental."""
        return offer.total(self.hours, disk_gb=self.disk_gb, up_gb=self.up_gb, down_gb=self.down_gb)

    def boot(self, offer: Offer) -> tuple[float, bool]:
        """Return the seconds until the first login without the image, and whether that was seen before."""
        key = (offer.provider, "own" if offer.trust == "own" else offer.kind)
        result = self._boots.get(key)
        if result is None:
            seen = self.history.boot_seconds(offer.provider)
            usual = OWN_BOOT_S if offer.trust == "own" else USUAL_BOOT_S.get(offer.kind, 60.0)
            result = (float(seen), True) if seen is not None and 0.0 <= seen < 1e5 else (usual, False)
            self._boots[key] = result
        return result

    def ready_s(self, offer: Offer) -> float:
        """Return the predicted seconds until the machine is ready."""
        boot = self.boot(offer)[0]
        if offer.kind != "container" or offer.trust == "own":
            return boot  # nothing is pulled
        return boot + self.image_gb * MEGABITS / (offer.inet_down_mbps or USUAL_MBPS)

    def wait_s(self, offer: Offer) -> float:
        """Return the seconds after which an unready machine has failed, by its image and its network."""
        boot_s = self.boot(offer)[0]
        image_s = self.ready_s(offer) - boot_s
        return min(MOST_WAIT_S, max(LEAST_WAIT_S, 2.0 * boot_s + 4.0 * image_s))

    def ready(self, offer: Offer) -> Ready:
        """Return the same prediction in its parts."""
        boot_s, seen = self.boot(offer)
        known = offer.inet_down_mbps > 0
        return Ready(boot_s, seen, self.ready_s(offer) - boot_s, known)

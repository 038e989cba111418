"""The cost of a session: cost segments and their sum."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Cost", "Segment"]


@dataclass(slots=True, kw_only=True)
class Segment:
    """A cost segment: an hourly price over time, or (bandwidth) a price for each GB.

    `increment_s` and `clock_hours` are the provider's billing step; `label` is that of the
    create call which it pays for.
    """

    session_id: str
    kind: str  # "gpu", "disk", "bandwidth"
    rate: float  # US dollars an hour; for bandwidth US dollars a GB
    start: float
    end: float | None = None
    quantity: float = 0.0  # GB, for bandwidth
    increment_s: float = 0.0
    clock_hours: bool = False
    label: str = ""
    id: int = 0


@dataclass(slots=True, kw_only=True, frozen=True)
class Cost:
    """US dollars by kind.

    `beside` is what the other members of its group cost, which share its budget; None without a group.
    """

    gpu: float = 0.0
    disk: float = 0.0
    bandwidth: float = 0.0
    beside: Cost | None = None

    @property
    def total(self) -> float:
        """The total in US dollars."""
        return self.gpu + self.disk + self.bandwidth

    def data(self) -> dict[str, float]:
        """The amounts by name, for JSON."""
        return {"gpu": self.gpu, "disk": self.disk, "bandwidth": self.bandwidth, "total": self.total}

"""Accounts and bills of simulated clouds: what each instance really cost, by kind.

A bill is made of segments (so many dollars an hour from here to there) and of
charges (so many dollars at once: traffic, a started clock hour, a refund).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Account", "Bill", "Charge", "Segment"]


@dataclass(slots=True)
class Segment:
    """A rate of `usd_h` dollars an hour for `kind` from `start` to `end` (None: open), in begun steps."""

    kind: str
    usd_h: float
    start: float
    end: float | None = None
    step_s: float = 0.0

    def usd(self, now: float) -> float:
        """Return the dollars until `now`."""
        end = now if self.end is None else min(self.end, now)
        seconds = max(0.0, end - self.start)
        if self.step_s:
            seconds = math.ceil(seconds / self.step_s - 1e-9) * self.step_s
        return seconds * self.usd_h / 3600.0


@dataclass(slots=True)
class Charge:
    """A single charge of `usd` dollars for `kind` at the moment `at`; negative for a refund."""

    kind: str
    usd: float
    at: float


@dataclass(slots=True)
class Bill:
    """The bill of one instance (or volume).

    Attributes
    ----------
    by_the_hour
        Dollars for each started hour that its cloud charges while it runs,
        where billing is by clock hours; 0 elsewhere and after the end.
    """

    instance_id: str
    label: str = ""
    segments: list[Segment] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    by_the_hour: float = 0.0

    def open(self, kind: str, usd_h: float, at: float, *, step_s: float = 0.0) -> Segment:
        """Start to bill `kind`, by begun steps; an open segment of the same kind ends at `at`."""
        self.close(at, kind)
        segment = Segment(kind, usd_h, at, step_s=step_s)
        self.segments.append(segment)
        return segment

    def close(self, at: float, *kinds: str) -> None:
        """End the open segments of `kinds`, or all of them."""
        for segment in self.segments:
            if segment.end is None and (not kinds or segment.kind in kinds):
                segment.end = max(at, segment.start)

    def charge(self, kind: str, usd: float, at: float) -> None:
        """Charge `usd` at once."""
        self.charges.append(Charge(kind, usd, at))

    def usd_h(self) -> float:
        """Dollars an hour that are being billed now."""
        return self.by_the_hour + sum(segment.usd_h for segment in self.segments if segment.end is None)

    def billed(self) -> bool:
        """Whether anything is billed now."""
        return self.by_the_hour > 0 or any(segment.end is None for segment in self.segments)

    def seconds(self, kind: str, now: float, since: float = 0.0, until: float | None = None) -> float:
        """Return the seconds of `kind` between `since` and `until`."""
        until = now if until is None else min(until, now)
        total = 0.0
        for segment in self.segments:
            if segment.kind == kind:
                end = until if segment.end is None else min(segment.end, until)
                total += max(0.0, end - max(segment.start, since))
        return total

    def by_kind(self, now: float) -> dict[str, float]:
        """Return the dollars by kind until `now`."""
        out: dict[str, float] = {}
        for segment in self.segments:
            out[segment.kind] = out.get(segment.kind, 0.0) + segment.usd(now)
        for charge in self.charges:
            if charge.at <= now:
                out[charge.kind] = out.get(charge.kind, 0.0) + charge.usd
        return out

    def total(self, now: float) -> float:
        """Return the dollars until `now`."""
        return sum(self.by_kind(now).values())


@dataclass(slots=True)
class Account:
    """The account of a customer of a simulated cloud.

    Attributes
    ----------
    deposit
        Dollars paid in so far; what is left is `balance`.
    scopes
        What the key may do; None for everything.
    held
        Dollars that are reserved and not yet spent, by instance.
    data
        Whatever the cloud keeps beside (ssh keys, volumes, settings).
    """

    key: str
    user: str = "sim"
    deposit: float = 100.0
    scopes: frozenset[str] | None = None
    bills: dict[str, Bill] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    def bill(self, instance_id: str, label: str = "") -> Bill:
        """Return the bill of one instance, made if there is none."""
        result = self.bills.get(instance_id)
        if result is None:
            result = self.bills[instance_id] = Bill(instance_id, label)
        return result

    def spent(self, now: float) -> float:
        """Return the dollars of all bills until `now`."""
        return sum(bill.total(now) for bill in self.bills.values())

    def balance(self, now: float) -> float:
        """Return the dollars that are left and not reserved."""
        return self.deposit - self.spent(now) - sum(self.held.values())

    def usd_h(self) -> float:
        """Dollars an hour of everything that is being billed."""
        return sum(bill.usd_h() for bill in self.bills.values())

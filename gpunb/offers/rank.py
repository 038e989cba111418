"""Ranking of offers by expected cost: price, waiting time and risk.

The score of a row is in US dollars::

    price     all hours asked for, with the disk and the traffic (`Offer.total`)
    waiting   the predicted time until ready, at the machine's own hourly price
    risk      price x (1 - reliability), where the cloud says a reliability
    failures  the three above once more for each earlier rental there that failed

The lowest score comes first; equal ones by cloud and id, so that the order is
the same every time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import total_ordering
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from gpunb.offers.language.units import show_quantity
from gpunb.units import duration_text, money_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.offers.language.tree import Key
    from gpunb.offers.pricing import Ready, Terms
    from gpunb.providers.base import Offer

__all__ = ["Ranked", "rank"]

MOST_FAILURES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A ranked offer, and the terms of its score (US dollars, seconds).

    Attributes
    ----------
    hourly, total
        An hour with the disk; everything asked for.
    gpu_usd, disk_usd, traffic_usd
        The parts of `total`.
    rounding_usd
        The part of `total` that rounding up to the billing step adds.
    ready
        The predicted time until the machine can be used.
    waiting_usd, risk_usd, failures_usd
        What the score adds to `total`.
    """

    place: int
    offer: Offer
    hours: float
    hourly: float
    total: float
    gpu_usd: float
    disk_usd: float
    traffic_usd: float
    rounding_usd: float
    ready: Ready
    waiting_usd: float
    risk_usd: float
    failures: int
    failures_usd: float
    score: float

    def why(self) -> list[str]:
        """Explain the offer's rank, one line each."""
        offer = self.offer
        parts = [f"machine {money_text(self.gpu_usd)}"]
        if self.disk_usd:
            parts.append(f"disk {money_text(self.disk_usd)}")
        if self.traffic_usd:
            parts.append(f"traffic {money_text(self.traffic_usd)}")
        lines = [f"{money_text(self.total)} for {self.hours:g} h: {', '.join(parts)}"]
        if self.rounding_usd > 0.005:
            step = f"steps of {offer.increment_s:g} s"
            if offer.clock_hours:
                step = "whole hours of the clock, one more than it is long,"
            lines.append(f"{money_text(self.rounding_usd)} of it because {step} are billed")
        if offer.reserve_h:
            need = money_text(offer.reserve_h * offer.usd_h)
            lines.append(f"the account must hold {offer.reserve_h:g} h ({need}) before it starts")
        known = "seen before" if self.ready.boot_seen else "usual"
        boot = f"boot {duration_text(self.ready.boot_s)} ({known})"
        if self.ready.image_s:
            line = f"{offer.inet_down_mbps:.0f} Mb/s" if self.ready.line_known else "an unknown line"
            boot += f", image {duration_text(self.ready.image_s)} over {line}"
        total = duration_text(self.ready.total_s)
        lines.append(f"ready in about {total}: {boot}; waiting costs {money_text(self.waiting_usd)}")
        if self.risk_usd > 0.00005 and offer.reliability is not None:
            shown = show_quantity(offer.reliability, "ratio")
            lines.append(f"reliability {shown} counts {money_text(self.risk_usd)}")
        if self.failures:
            times = "once" if self.failures == 1 else f"{self.failures} times"
            lines.append(f"failed {times} before: counts {money_text(self.failures_usd)} more")
        return lines


@total_ordering
class _Down:
    """A value that sorts in descending order."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Down) and bool(self.value == other.value)

    def __lt__(self, other: _Down) -> bool:
        return bool(other.value < self.value)

    def __hash__(self) -> int:
        return hash(self.value)


def rank(
    offers: Sequence[Offer], terms: Terms, order: Sequence[Key] = (), limit: int | None = None
) -> list[Ranked]:
    """Rank `offers`, and return the first `limit` of them (all, if None).

    Keys that can't be known of an offer put it last, whichever way they sort.
    """
    scores = _scores(offers, terms)
    if limit is not None and limit < len(offers) and not order:
        # by score alone first: only candidates for the first `limit` need their ties ordered by name
        worst = nsmallest(limit, scores)[-1]
        chosen = [at for at, score in enumerate(scores) if score <= worst]
        offers, scores = [offers[at] for at in chosen], [scores[at] for at in chosen]
    ids = [(offer.provider, offer.id, offer.rental) for offer in offers]
    rows: Any
    if order:
        reads = [_reader(key, terms) for key in order]
        keys = [tuple(read(offer) for read in reads) for offer in offers]
        rows = zip(keys, scores, ids, range(len(offers)), strict=True)
    else:
        rows = zip(scores, ids, range(len(offers)), strict=True)
    picked = sorted(rows) if limit is None or limit >= len(offers) else nsmallest(limit, rows)
    return [_ranked(place, offers[row[-1]], terms, scores[row[-1]]) for place, row in enumerate(picked, 1)]


def _scores(offers: Sequence[Offer], terms: Terms) -> list[float]:
    """Compute the score of each offer; one pass without helpers, since it runs for every row."""
    failures = terms.history.failures
    ready_s = terms.ready_s
    hours, disk, up, down = terms.hours, terms.disk_gb, terms.up_gb, terms.down_gb
    scores: list[float] = []
    for offer in offers:
        price = offer.total(hours, disk_gb=disk, up_gb=up, down_gb=down)
        score = price + offer.hourly(disk) * ready_s(offer) / 3600.0
        reliability = offer.reliability
        if reliability is not None:
            score += price * (1.0 - reliability)
        failed = failures(offer.provider, offer.machine_id, offer.host_id)
        if failed > 0:
            score *= 1 + min(failed, MOST_FAILURES)
        scores.append(score)
    return scores


def _reader(key: Key, terms: Terms) -> Callable[[Offer], tuple[bool, Any]]:
    get = key.field.get(terms)
    over = key.over.get(terms) if key.over else None
    number = key.field.kind == "number"

    def read(offer: Offer) -> tuple[bool, Any]:
        value = get(offer)
        if over is not None:
            by = over(offer)
            value = value / by if by else math.nan
        elif not number:
            value = value.lower() if isinstance(value, str) else value
            return (value == "", _Down(value) if key.descending else value)
        if math.isnan(value):
            return (True, 0.0)
        return (False, -value if key.descending else value)

    return read


def _ranked(place: int, offer: Offer, terms: Terms, score: float) -> Ranked:
    hours = terms.hours
    total, hourly = terms.total(offer), terms.hourly(offer)
    traffic = terms.up_gb * offer.up_usd_gb + terms.down_gb * offer.down_usd_gb
    rounding = max(0.0, total - traffic - hourly * hours)
    billed_h = (total - traffic) / hourly if hourly else hours
    ready = terms.ready(offer)
    waiting = hourly * ready.total_s / 3600.0
    risk = total * (1.0 - offer.reliability) if offer.reliability is not None else 0.0
    failed = terms.history.failures(offer.provider, offer.machine_id, offer.host_id)
    return Ranked(
        place=place, offer=offer, hours=hours, hourly=hourly, total=total, gpu_usd=offer.usd_h * billed_h,
        disk_usd=(hourly - offer.usd_h) * billed_h, traffic_usd=traffic, rounding_usd=rounding, ready=ready,
        waiting_usd=waiting, risk_usd=risk, failures=max(0, failed),
        failures_usd=max(0.0, score - total - waiting - risk), score=score,
    )  # fmt: skip

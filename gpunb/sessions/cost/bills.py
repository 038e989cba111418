"""Comparison of a cloud's charges with our own count, and which billing assumption a difference contradicts.

The clouds do not document their billing in every detail; docs/clouds/ lists what is assumed ("Not proven
yet"). A bill that differs is the first evidence, so the assumption that would explain it is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpunb.sessions.cost.totals import cost_of
from gpunb.sessions.model import offer_from_dict
from gpunb.units import money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpunb.providers.base import Offer, UsageLine
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Segment, Session

__all__ = ["contradicted", "same", "summed"]

# a cloud's own count starts and ends at other moments than ours: the tolerance
SAME_USD = 0.01
SAME_SHARE = 0.02
LATE_S = 2 * 3600.0  # charges come up to an hour late: until then a smaller bill proves nothing
_OURS = ("gpu", "disk", "bandwidth")
_STEPS_S = (60.0, 3600.0)


def summed(lines: Iterable[UsageLine], counted_usd: float) -> dict[str, float] | None:
    """Charges in US dollars by kind; None if nothing is charged yet although something was counted."""
    by: dict[str, float] = {}
    for line in lines:
        by[line.kind] = by.get(line.kind, 0.0) + line.usd
    if not by or (not any(by.values()) and counted_usd > 0):
        return None
    return by


def same(difference: float, usd: float) -> bool:
    """Whether a difference between two counts of `usd` US dollars is within tolerance."""
    return abs(difference) <= max(SAME_USD, SAME_SHARE * abs(usd))


@dataclass(frozen=True, slots=True)
class _Case:
    """A session and its charges in US dollars."""

    ledger: Ledger
    session: Session
    offer: Offer
    segments: list[Segment]
    end: float
    billed: float

    def total(self, segments: Iterable[Segment] | None = None) -> float:
        """The cost of `segments` (default: those that were counted) in US dollars."""
        return cost_of(self.segments if segments is None else segments, self.end).total

    def explains(self, segments: Iterable[Segment]) -> bool:
        """Whether the bill equals the cost of `segments`."""
        return same(self.billed - self.total(segments), self.billed)


def contradicted(ledger: Ledger, session: Session, by: Mapping[str, float]) -> str:
    """The assumption that the charges `by` (US dollars by kind) of a session contradict; "" if none."""
    now = ledger.clock.time()
    end = now if session.ended is None else session.ended
    segments = ledger.segments(session.id)
    case = _Case(ledger, session, offer_from_dict(session.offer), segments, end, sum(by.values()))
    more = case.billed - case.total()
    if same(more, case.billed) or not case.total():
        return ""
    if more < 0:
        return "" if session.ended is None or now - end < LATE_S else _less(case)
    other = {kind: usd for kind, usd in by.items() if kind not in _OURS}
    if sum(other.values()) > more / 2:
        named = ", ".join(f"{kind} {money_text(usd)}" for kind, usd in other.items())
        return f"that nothing is charged beside gpu, disk and traffic ({named})"
    if by.get("bandwidth", 0.0) - cost_of(segments, end).bandwidth > more / 2:
        return "that traffic of pulling the image is not billed"
    return _more(case)


def _more(case: _Case) -> str:
    offer, session = case.offer, case.session
    for step in () if offer.clock_hours else _STEPS_S:
        rounded = [replace(segment, increment_s=step) for segment in case.segments]
        if step > offer.increment_s and case.explains(rounded):
            return f"steps of {offer.increment_s:g} s (increment_s): {step:g} s would explain it"
    if not offer.bills_boot and case.explains(_gpu_from(case.segments, session.created)):
        return "that loading is free (bills_boot)"
    if not offer.bills_offline and any(event.kind == "offline" for event in case.ledger.events(session.id)):
        return "that nothing is billed while the host is offline (bills_offline)"
    if session.ready is None:
        return "that a machine that failed costs nothing"
    spans = (
        (case.end if segment.end is None else segment.end) - segment.start
        for segment in case.segments
        if segment.kind == "gpu"
    )
    hours = sum(spans) / 3600.0
    rate = price_text(case.billed / hours) if hours > 0 else "more"
    return f"that no fee or premium comes on top of the price: {rate} an hour were billed"


def _less(case: _Case) -> str:
    offer = case.offer

    def within(segments: list[Segment]) -> bool:
        return case.billed >= case.total(segments) or case.explains(segments)

    ready = case.session.ready
    if offer.bills_boot and ready is not None and within(_gpu_from(case.segments, ready)):
        return "that booting is billed (bills_boot): gpunb counts early"
    stepless = [replace(segment, increment_s=0.0, clock_hours=False) for segment in case.segments]
    if (offer.clock_hours or offer.increment_s > 1) and within(stepless):
        step = "whole hours of the clock" if offer.clock_hours else f"steps of {offer.increment_s:g} s"
        return f"{step} (increment_s): gpunb counts more"
    return ""


def _gpu_from(segments: list[Segment], start: float) -> list[Segment]:
    """Copy `segments`, with the first gpu segment starting at `start`."""
    first = min((segment.start for segment in segments if segment.kind == "gpu"), default=start)
    return [
        replace(segment, start=min(start, segment.end) if segment.end is not None else start)
        if segment.kind == "gpu" and segment.start == first
        else segment
        for segment in segments
    ]

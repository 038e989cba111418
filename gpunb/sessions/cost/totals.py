"""Totals of cost segments, in the provider's billing steps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb.sessions.model import Cost, Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpunb.providers.base import Instance, Offer

__all__ = ["between", "cost_of", "rates", "slug"]

_HOUR = 3600.0


def rates(offer: Offer, disk_gb: float, instance: Instance | None = None) -> tuple[float, float]:
    """The hourly price of the gpu and of the disk in US dollars.

    The instance's own figures come before the offer's where the provider gives them;
    its ``usd_h`` includes the disk.
    """
    disk = offer.hourly(disk_gb) - offer.usd_h
    if instance is not None and instance.stopped_usd_h > 0:
        disk = instance.stopped_usd_h
    if instance is not None and instance.usd_h > 0:
        return max(0.0, instance.usd_h - disk), disk
    return offer.usd_h, disk


def cost_of(segments: Iterable[Segment], now: float) -> Cost:
    """The total cost at `now`: open segments count up to it, started steps count whole.

    Two segments of one kind and one machine inside the same hour of the clock pay that hour
    once; another machine (another create call, by its label) pays it again.
    """
    usd = {"gpu": 0.0, "disk": 0.0, "bandwidth": 0.0}
    paid_to: dict[tuple[str, str], int] = {}
    for segment in sorted(segments, key=lambda one: (one.start, one.id)):
        kind = segment.kind if segment.kind in usd else "gpu"
        if kind == "bandwidth":
            usd[kind] += segment.rate * segment.quantity
            continue
        end = now if segment.end is None else segment.end
        seconds = max(0.0, end - segment.start)
        if segment.clock_hours:
            last = math.ceil(max(end, segment.start) / _HOUR - 1e-9)
            machine = (kind, segment.label)
            first = max(math.floor(segment.start / _HOUR), paid_to.get(machine, 0))
            last = max(last, math.floor(segment.start / _HOUR) + 1)
            usd[kind] += segment.rate * max(0, last - first)
            paid_to[machine] = max(last, paid_to.get(machine, 0))
            continue
        if segment.increment_s > 0:
            seconds = math.ceil(seconds / segment.increment_s - 1e-9) * segment.increment_s
        usd[kind] += segment.rate * seconds / _HOUR
    return Cost(gpu=usd["gpu"], disk=usd["disk"], bandwidth=usd["bandwidth"])


def _until(segments: Sequence[Segment], at: float) -> Cost:
    """The cost of `segments` up to the moment `at`."""
    begun = [
        replace(segment, end=at if segment.end is None else min(segment.end, at))
        for segment in segments
        if segment.start < at
    ]
    return cost_of(begun, at)


def between(segments: Sequence[Segment], begin: float, end: float) -> Cost:
    """The cost of `segments` from `begin` to `end`, Unix seconds."""
    late, early = _until(segments, end), _until(segments, begin)
    return Cost(
        gpu=late.gpu - early.gpu, disk=late.disk - early.disk, bandwidth=late.bandwidth - early.bandwidth
    )


def slug(offer: Offer) -> str:
    """A short word for what is rented: "h100", "rtx4090", else the provider's name."""
    word = ""
    for part in offer.gpu.lower().split():
        word += "".join(letter for letter in part if letter.isascii() and letter.isalnum())
        if any(letter.isdigit() for letter in part):
            break
    return word[:20] or offer.provider

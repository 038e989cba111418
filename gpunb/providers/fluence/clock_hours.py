"""Fluence's billing by fixed hours of the clock, UTC: 15:00 to 16:00, whatever minute a rental began."""

from __future__ import annotations

import math

__all__ = ["HOUR", "billed_hours", "next_edge"]

HOUR = 3600.0


def next_edge(now: float) -> float:
    """Return the Unix time at which the running clock hour ends; up to there, time is paid already."""
    return (math.floor(now / HOUR) + 1) * HOUR


def billed_hours(start: float, end: float) -> int:
    """Count the clock hours billed for a rental from `start` to `end` (Unix seconds), at least 1.

    Ending exactly at an edge does not begin the next hour.
    """
    return max(1, math.ceil(end / HOUR) - math.floor(start / HOUR))

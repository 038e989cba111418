"""Minimum intervals per endpoint and key, as the clouds enforce them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RateLimiter"]


class RateLimiter:
    """Rate limiter that refuses a call too soon after the one before it.

    Parameters
    ----------
    now
        The clock, seconds.
    intervals
        Seconds between two calls of an endpoint by one key; endpoints that
        are not named are free. Change it to change the rules.
    """

    def __init__(self, now: Callable[[], float], intervals: Mapping[str, float] | None = None) -> None:
        self._now = now
        self.intervals: dict[str, float] = dict(intervals or {})
        self.enabled = True
        self._last: dict[tuple[str, str], float] = {}

    def wait(self, endpoint: str, identity: str) -> float:
        """Return the seconds until the call is allowed; 0 allows it now, and counts it."""
        interval = self.intervals.get(endpoint, 0.0)
        if not self.enabled or interval <= 0:
            return 0.0
        now = self._now()
        left = self._last.get((endpoint, identity), float("-inf")) + interval - now
        if left > 1e-6:
            return left
        self._last[endpoint, identity] = now
        return 0.0

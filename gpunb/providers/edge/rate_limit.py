"""Client-side rate limits, so that a cloud need not refuse calls."""

from __future__ import annotations

import re
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Pacer", "Rate"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate of at most `calls` calls in any `seconds` seconds."""

    seconds: float
    calls: int = 1


class Pacer:
    """Spaces calls to each endpoint; slots are given out in order, to all threads."""

    def __init__(self, rates: Mapping[str, Rate | float], pace: float, clock: Callable[[], float]) -> None:
        self._rules: list[tuple[str, re.Pattern[str], str, Rate]] = []
        for line, given in rates.items():
            method, template = line.split(" ", 1)
            rate = given if isinstance(given, Rate) else Rate(given)
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
            scaled = Rate(rate.seconds * pace, rate.calls)
            self._rules.append((method, re.compile(pattern + r"\Z"), line, scaled))
        self._clock, self._lock = clock, threading.Lock()
        self._taken: dict[str, deque[float]] = {}
        self._blocked: dict[str, float] = {}

    def rule(self, method: str, path: str) -> tuple[str, Rate | None]:
        """Return the key of the endpoint's own queue, and its rate if the table has one."""
        for verb, pattern, line, rate in self._rules:
            if verb == method and pattern.match(path):
                return line, rate
        return f"{method} {path}", None

    def take(self, key: str, rate: Rate | None, longest: float) -> float:
        """Reserve the next slot; return the seconds to it, negative if beyond `longest` (not reserved)."""
        with self._lock:
            now = self._clock()
            slot = max(now, self._blocked.get(key, now))
            if rate is not None and rate.seconds > 0:
                taken = self._taken.setdefault(key, deque(maxlen=rate.calls))
                if len(taken) == rate.calls:
                    slot = max(slot, taken[0] + rate.seconds)
            if slot - now > longest:
                return now - slot
            if rate is not None and rate.seconds > 0:
                taken.append(slot)
            return slot - now

    def block(self, key: str, seconds: float) -> None:
        """Block calls of `key` for `seconds`, as the cloud has demanded."""
        with self._lock:
            self._blocked[key] = max(self._blocked.get(key, 0.0), self._clock() + seconds)

"""Rates that a cloud allows, kept before it has to say so."""

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
    """At most `calls` calls in any `seconds` seconds."""

    seconds: float
    calls: int = 1


class Pacer:
    """Keeps calls to one endpoint apart; slots are given out in order, to all threads."""

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
        """The key of the endpoint's own queue, and its rate if the table has one."""
        for verb, pattern, line, rate in self._rules:
            if verb == method and pattern.match(path):
                return line, rate
        return f"{method} {path}", None

    def take(self, key: str, rate: Rate | None, longest: float) -> float:
        """Seconds to wait for the slot that is now ours; negative: too far away, not taken."""
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
        """Nobody calls `key` for that long: the cloud has said so."""
        with self._lock:
            self._blocked[key] = max(self._blocked.get(key, 0.0), self._clock() + seconds)

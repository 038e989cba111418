"""The source of the current time."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "Clock"]


class Clock(Protocol):
    """The source of the current time; tests and chaos runs use a virtual one.

    A clock that can be set also has ``steady``, see `gpunb.sessions.ledger.clock_steps.steady`.
    """

    def time(self) -> float:
        """The current time in Unix seconds."""

    def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""


class _SystemClock:
    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def steady(self) -> tuple[str, float] | None:
        from gpunb.sessions.ledger import clock_steps

        return clock_steps.steady()


SYSTEM_CLOCK: Clock = _SystemClock()

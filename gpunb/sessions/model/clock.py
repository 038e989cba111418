"""Where the time comes from."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "Clock"]


class Clock(Protocol):
    """Where the time comes from; tests and chaos runs bring a virtual one.

    One that can be set also has ``steady``, see `gpunb.sessions.ledger.clock_steps.steady`.
    """

    def time(self) -> float:
        """Unix seconds now."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class _SystemClock:
    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def steady(self) -> tuple[str, float] | None:
        from gpunb.sessions.ledger import clock_steps

        return clock_steps.steady()


SYSTEM_CLOCK: Clock = _SystemClock()

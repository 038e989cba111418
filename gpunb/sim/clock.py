"""The clock of a simulated cloud."""

from __future__ import annotations

import threading
import time

__all__ = ["Clock"]


class Clock:
    """Unix time that can run faster than real time, jump, or advance only on request.

    Parameters
    ----------
    speed
        Simulated seconds for each real one; 0 makes the clock virtual: it
        moves by `advance` alone.
    start
        Unix time to begin at; now if left out.
    """

    def __init__(self, speed: float = 1.0, start: float | None = None) -> None:
        if speed < 0:
            msg = f"a clock can't run backwards: speed {speed!r} must be 0 or more"
            raise ValueError(msg)
        self._lock = threading.Lock()
        self._base = time.time() if start is None else start
        self._since = time.monotonic()
        self._speed = speed

    @classmethod
    def virtual(cls, start: float = 1_800_000_000.0) -> Clock:
        """Return a clock that moves only by `advance`."""
        return cls(speed=0.0, start=start)

    @property
    def speed(self) -> float:
        """Simulated seconds for each real second."""
        return self._speed

    def now(self) -> float:
        """Return Unix time, in seconds."""
        with self._lock:
            return self._base + (time.monotonic() - self._since) * self._speed

    def set_speed(self, speed: float) -> None:
        """Run at `speed` from now on, without a jump."""
        if speed < 0:
            msg = f"a clock can't run backwards: speed {speed!r} must be 0 or more"
            raise ValueError(msg)
        now = self.now()
        with self._lock:
            self._base, self._since, self._speed = now, time.monotonic(), speed

    def advance(self, seconds: float) -> None:
        """Jump forward by `seconds`."""
        if seconds < 0:
            msg = f"a clock can't run backwards: advance by {seconds!r} s"
            raise ValueError(msg)
        with self._lock:
            self._base += seconds

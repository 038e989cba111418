"""Rate limit of a sync: ``--limit-rate``."""

from __future__ import annotations

import re
import threading
import time

from gpunb.errors import BadInput

__all__ = ["Pace", "parse_rate"]

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(i?)b?(?:/s)?", re.IGNORECASE)


class Pace:
    """A rate limiter of `rate` bytes a second for all threads together; None is no limit."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._free = time.monotonic()
        self._lock = threading.Lock()

    def wait(self, size: int, over: threading.Event) -> None:
        """Wait until `size` bytes may be sent; not at all once `over` is set, as that may take minutes."""
        if self.rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now - 0.1) + size / self.rate
            pause = self._free - now
        if pause > 0:
            over.wait(pause)


def parse_rate(text: str) -> float:
    """Parse ``10M``, ``500k`` or ``1.5 MiB/s`` to bytes a second; `BadInput` names what is wrong."""
    found = _RATE.fullmatch(text.strip())
    if found is None or float(found.group(1)) <= 0:
        msg = f"limit-rate {text!r}: must be bytes a second, above 0, such as 500k or 10M"
        raise BadInput(msg)
    step = 1024 if found.group(3) else 1000
    rate: float = float(found.group(1)) * step ** " kmg".index(found.group(2).lower() or " ")
    if rate < 1000:
        msg = f"limit-rate {text!r}: must be 1k (1000 bytes a second) or more"
        raise BadInput(msg)
    return rate

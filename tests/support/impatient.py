"""A user who presses Ctrl-C in the middle."""

from __future__ import annotations

import _thread


class Impatient:
    """Progress that interrupts the main thread once, when 4 MiB have gone."""

    def __init__(self) -> None:
        self._pressed = False

    def say(self, message: str) -> None:
        pass

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        if done > 2**22 and not self._pressed:
            self._pressed = True
            _thread.interrupt_main()

"""The protocol by which long work reports its progress.

A layer that takes time accepts a `Progress` and calls it; the terminal and
the notebook each have their own. The default shows nothing.
"""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["SILENT", "STEPS", "Progress", "Silent", "Steps", "step"]

#: The steps from a host's SSH banner to its first cell, and what is shown while each is under way.
STEPS = {
    "host key": "checking the host key",
    "login": "logging in",
    "python": "looking for Python on the host",
    "agent": "putting the agent on the host",
    "ipykernel": "looking for ipykernel on the host",
    "agent start": "starting the agent there",
    "kernel": "starting the kernel",
    "first cell": "running a first cell",
}


class Progress(Protocol):
    """The receiver of one task's progress."""

    def say(self, message: str) -> None:
        """Report what is being waited for, in one short line."""

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """Report that `done` of `total` `unit` are done ("B" for bytes, "files", "s")."""


class Silent:
    """A no-op `Progress`."""

    def say(self, message: str) -> None:
        """Do nothing."""

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """Do nothing."""


SILENT: Progress = Silent()


class Steps:
    """Passes progress on, and measures the steps that the layers below name by `step`.

    Attributes
    ----------
    took
        The seconds of each step that has ended, in their order.
    """

    def __init__(self, inner: Progress) -> None:
        self.took: dict[str, float] = {}
        self._inner = inner
        self._now = ""
        self._since = 0.0

    def say(self, message: str) -> None:
        """Pass the message on."""
        self._inner.say(message)

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """Pass the figures on."""
        self._inner.advance(done, total, unit)

    def step(self, name: str) -> None:
        """End the step before, and begin this one; a login that is tried again begins from its start."""
        before = self._now
        self.end()
        if name == next(iter(STEPS)):
            self.took.clear()
            before = ""
        self._now, self._since = name, time.monotonic()
        done = f" ({before}: {self.took[before]:.1f} s)" if before else ""
        self._inner.say(f"{STEPS[name]}{done}")

    def end(self) -> None:
        """End the step that is under way."""
        if self._now:
            spent = time.monotonic() - self._since
            self.took[self._now] = self.took.get(self._now, 0.0) + spent
            self._now = ""

    def __str__(self) -> str:
        """The steps with their seconds, in one line; empty if none was measured."""
        parts = [f"{name} {seconds:.1f} s" for name, seconds in self.took.items()]
        return ", ".join(parts) + (f"; together {sum(self.took.values()):.1f} s" if parts else "")


def step(progress: Progress, name: str) -> bool:
    """Name the step that begins, one of `STEPS`; returns whether anything measures it."""
    begin = getattr(progress, "step", None)
    if begin is None or name not in STEPS:
        return False
    begin(name)
    return True

"""How long work tells what it is doing, whoever watches.

A layer that takes time accepts a `Progress` and calls it; the terminal and
the notebook each bring their own. The default says nothing.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["SILENT", "Progress", "Silent"]


class Progress(Protocol):
    """A watcher of one piece of work."""

    def say(self, message: str) -> None:
        """What is being waited for now, one short line."""

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """`done` of `total` `unit` so far ("B" for bytes, "files", "s")."""


class Silent:
    """The watcher that nobody looks at."""

    def say(self, message: str) -> None:
        """Nothing is shown."""

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """Nothing is shown."""


SILENT: Progress = Silent()

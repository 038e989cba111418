"""The protocol by which long work reports its progress.

A layer that takes time accepts a `Progress` and calls it; the terminal and
the notebook each have their own. The default shows nothing.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["SILENT", "Progress", "Silent"]


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

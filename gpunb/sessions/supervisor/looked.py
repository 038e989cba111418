"""What one look of the supervisor saw and did."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Looked"]


@dataclass(slots=True)
class Looked:
    """What one tick saw and did.

    Attributes
    ----------
    sessions, orphans
        How many are alive after it; of the orphans, ours.
    ended
        (session, why) of those that were asked to end.
    over
        Sessions whose end was confirmed.
    errors
        What could not be done, one line each.
    """

    sessions: int = 0
    orphans: int = 0
    ended: list[tuple[str, str]] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, other: Looked) -> None:
        """Take in what another look saw; the counts stay."""
        self.ended += other.ended
        self.over += other.over
        self.errors += other.errors

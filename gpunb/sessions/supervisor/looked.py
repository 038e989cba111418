"""The result of one tick of the supervisor."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Looked"]


@dataclass(slots=True)
class Looked:
    """The result of one tick: counts, ends and errors.

    Attributes
    ----------
    sessions, orphans
        How many are alive after it; of the orphans, ours.
    ended
        (session, why) of those whose end was requested.
    over
        Sessions whose end was confirmed.
    errors
        One line for each error.
    """

    sessions: int = 0
    orphans: int = 0
    ended: list[tuple[str, str]] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, other: Looked) -> None:
        """Add another result's ends and errors; the counts stay."""
        self.ended += other.ended
        self.over += other.over
        self.errors += other.errors

"""A group: sessions that are rented, limited and ended together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpunb.sessions.model.session import Session

__all__ = ["Group"]


@dataclass(slots=True, kw_only=True)
class Group:
    """A thin record over its members; lease, state and cost are theirs.

    The members have one lease: the same deadline, idle time and budget in each. A member is idle when all
    are, and what all of them cost counts against the budget.

    Attributes
    ----------
    name
        Its members are called ``<name>.<rank>``.
    wanted
        How many were asked for.
    at_least
        With fewer, those that came are ended.
    formed
        When it was complete; None while it is rented, or if it never was.
    members
        In the order of their ranks, also those that have ended.
    """

    id: str
    name: str
    wanted: int
    at_least: int
    created: float = 0.0
    formed: float | None = None
    members: list[Session] = field(default_factory=list)

    @property
    def live(self) -> list[Session]:
        """The members that may still cost something."""
        return [member for member in self.members if member.alive]

    @property
    def alive(self) -> bool:
        """Whether any member may still cost something."""
        return any(member.alive for member in self.members)

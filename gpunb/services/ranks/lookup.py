"""The group that a name means, with those of its members that can run something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.services.ranks.members import Member, Members

if TYPE_CHECKING:
    from gpunb.services.workspace import Workspace

__all__ = ["find"]


def find(context: Workspace, name: str | None) -> Members | None:
    """The members of the group called `name`; None if that is no group.

    Without a name: those of the only group, if there is no other session.
    """
    from gpunb.sessions.model import SessionState

    if name is None:
        groups = context.ledger.groups()
        inside = {member.id for group in groups for member in group.live}
        if len(groups) != 1 or any(session.id not in inside for session in context.ledger.sessions()):
            return None
        group = groups[0]
    else:
        known = context.ledger.find_group(name)
        if known is None or not known.alive:
            return None
        group = known
    ready = SessionState.READY
    there = tuple(Member(one.rank, one) for one in group.members if one.state is ready)
    lost = tuple((one.rank, one.state.value) for one in group.members if one.state is not ready)
    return Members(group.name, there, len(group.members), lost)

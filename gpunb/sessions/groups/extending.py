"""Extending the one lease of a group: the same new lease for every member."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb.errors import HostError, WrongState
from gpunb.hints import typed
from gpunb.sessions.access.host_access import HOST
from gpunb.sessions.cost import limits
from gpunb.sessions.cost.lease import extended
from gpunb.sessions.model import Group, Lease, Session, SessionState

if TYPE_CHECKING:
    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["extend_group", "group_lease", "stays"]

_LEAVING = frozenset({SessionState.ENDING, SessionState.UNKNOWN})


def stays(group: Group) -> list[Session]:
    """The members that go on.

    Raises
    ------
    WrongState
        None does.
    """
    found = [member for member in group.live if member.state not in _LEAVING]
    if not found:
        msg = f"group {group.name} is over: its lease can't be extended"
        raise WrongState(msg, hint=typed("rent") + " starts another")
    return found


def group_lease(
    ledger: Ledger,
    group: Group,
    *,
    hours: float | None = None,
    idle_s: float | None = None,
    budget_usd: float | None = None,
    count_ssh: bool | None = None,
) -> Lease:
    """Compute the lease that `extend_group` would set; nothing is changed.

    A default budget grows by what all members cost in the added time.

    Raises
    ------
    BadInput, WrongState
        As `gpunb.sessions.cost.lease.extend`.
    """
    given = {"hours": hours, "idle_s": idle_s, "budget_usd": budget_usd}
    members = stays(group)
    leases = [extended(ledger, member, count_ssh=count_ssh, **given) for member in members]
    lease = replace(leases[0])
    if hours is not None and budget_usd is None:
        for member, other in zip(members[1:], leases[1:], strict=True):
            if lease.budget_usd is not None and other.budget_usd is not None:
                lease.budget_usd += other.budget_usd - (member.lease.budget_usd or 0.0)
    return lease


def extend_group(ledger: Ledger, group: Group, lease: Lease, *, host: HostAccess = HOST) -> Group:
    """Give every member of the group `lease`, in the ledger and on its host.

    A host that can't be told is told by the supervisor when it answers again.

    Raises
    ------
    LimitReached
        The group could then cost more than a cap over all sessions allows; no member was changed.
    """
    members = stays(group)
    # all at once: a cap that the last one crosses must leave the first as it was
    ids = [member.id for member in members]
    ledger.lease_group(lease, ids, admit=lambda one: limits.admit(ledger, one))
    ledger.touch(members[0].id)
    for member in members:
        ledger.note(member.id, "extend", lease.mark)
        session = ledger.get(member.id)
        if session.state in {SessionState.READY, SessionState.REACHABLE}:
            with suppress(HostError, WrongState):
                host.arm(session)
                ledger.update(session.id, armed=lease.mark)
    return ledger.group(group.name)

"""Variables between this process and the kernels of a group: to all, dealt out, or a list by rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.errors import VariableError
from gpunb.services.ranks.dealing import deal
from gpunb.services.ranks.members import parallel
from gpunb.services.running import host_python

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.remote import AgentClient
    from gpunb.services.ranks.members import Member, Members
    from gpunb.services.workspace import Workspace

__all__ = ["get", "put"]


def put(
    context: Workspace,
    members: Members,
    clients: Mapping[int, AgentClient],
    values: Mapping[str, Any],
    scattered: Mapping[str, Any],
) -> None:
    """Set `values` in the kernel of each member, and of each of `scattered` its part.

    Raises
    ------
    BadInput, VariableError
        One can't be dealt out or sent; the error of a member has its rank.
    """
    from gpunb.remote import put as send

    parts = {name: deal(name, value, len(members)) for name, value in scattered.items()}
    places = {rank: index for index, rank in enumerate(members.ranks)}

    def one(member: Member) -> None:
        own = {name: many[places[member.rank]] for name, many in parts.items()}
        try:
            send(clients[member.rank], {**values, **own})
        except VariableError as err:
            host_python.explain_variable(err, sent=True)
            raise

    with context.progress(f"put {', '.join([*values, *scattered])}"):
        parallel(members, one)


def get(
    context: Workspace,
    members: Members,
    clients: Mapping[int, AgentClient],
    names: Sequence[str],
    *,
    trust: bool = False,
) -> dict[str, list[Any]]:
    """Fetch variables of each member's kernel: of each name a list, in the order of the ranks.

    Raises
    ------
    VariableError
        A member's can't be had; nothing is returned.
    """
    from gpunb.remote import get as fetch

    def one(member: Member) -> dict[str, Any]:
        try:
            return fetch(clients[member.rank], list(names), trust=trust)
        except VariableError as err:
            host_python.explain_variable(err, sent=False)
            err.values = {}
            raise

    with context.progress(f"get {', '.join(names)}"):
        found = parallel(members, one)
    return {name: [found[rank][name] for rank in members.ranks] for name in names}

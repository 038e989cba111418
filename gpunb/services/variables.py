"""Variables between this process and the kernel of a session's host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.errors import VariableError
from gpunb.services.running import host_python

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.remote import AgentClient, PutReport
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

__all__ = ["get", "put"]


def put(
    context: Workspace, session: Session, values: Mapping[str, Any], *, first_safe: bool = False
) -> PutReport:
    """Set variables in the host's kernel; see `gpunb.remote.put`.

    Raises
    ------
    VariableError
        One can't be sent; nothing was sent. The hint says what the host lacks.
    """
    from gpunb.remote import put as send

    client = context.agent(session)
    with context.progress(f"put {', '.join(values)}") as progress:

        def attempt() -> PutReport:
            return send(client, values, first_safe=first_safe, progress=progress)

        try:
            try:
                report = attempt()
            except VariableError as err:
                if err.lacks is None or not _classes_sent(context, session, client):
                    raise
                report = attempt()
        except VariableError as err:
            host_python.explain_variable(err, sent=True)
            raise
    context.ledger.touch(session.id)
    return report


def _classes_sent(context: Workspace, session: Session, client: AgentClient) -> bool:
    """Whether a folder is bound to the session; its modules can be imported there from then on."""
    from gpunb.services.project import around
    from gpunb.sessions.project import places

    if places.bound(context.ledger, session) is None:
        return False
    around.enter(context, session, what="put").importable(client)
    return True


def get(context: Workspace, session: Session, names: Sequence[str], *, trust: bool = False) -> dict[str, Any]:
    """Fetch variables of the host's kernel; see `gpunb.remote.get`.

    Raises
    ------
    VariableError
        One can't be sent, or can't be made again here; the error has the others.
    """
    from gpunb.remote import get as fetch

    client = context.agent(session)
    with context.progress(f"get {', '.join(names)}") as progress:
        try:
            values = fetch(client, list(names), trust=trust, progress=progress)
        except VariableError as err:
            host_python.explain_variable(err, sent=False)
            raise
    context.ledger.touch(session.id)
    return values

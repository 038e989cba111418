"""``rename``: change a session's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("rename", session=True, example="rename train\nrename h100-1 train")
@click.argument("name")
def command(context: Context, *, name: str, session: str | None) -> Result:
    """Call a session NAME from now on.

    Its label at the cloud stays: gpunb finds the instance by it if everything else is lost.
    """
    from gpunb.sessions.integrations import ssh_config
    from gpunb.sessions.ledger.sessions import valid_name

    valid_name(name)
    found = context.session(session)
    if found.group_id:
        msg = f"rename: {found.name} is a member of a group, and keeps its name"
        raise BadInput(msg, bill="nothing was changed")
    taken = {one.name for one in context.ledger.sessions() if one.id != found.id}
    if name in taken | {group.name for group in context.ledger.groups()}:
        msg = f"rename: the name {name!r} is taken by a live session"
        raise BadInput(msg, hint=typed("ps") + " shows the sessions")
    context.ledger.update(found.id, name=name)
    ssh_config.refresh(context.ledger.sessions())
    return Result(
        {"session": name, "was": found.name, "label": found.label},
        Note(f"{found.name} is called {name} now", "ok"),
    )

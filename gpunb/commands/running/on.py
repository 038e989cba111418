"""``%gpu on``: run every plain cell on the host from here on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result
from gpunb.services.project import around
from gpunb.services.running import cell_target
from gpunb.sessions.project import places

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("on", example="on\non train\non --here", session=True)
@click.option(
    "--here/--no-here",
    default=None,
    help="Run them in this project's folder there, kept the same as here; or no longer.",
)
def command(context: Context, *, session: str | None, here: bool | None) -> Result:
    """Run all cells of this notebook on the host, until `off`.

    With --here this project is on the host before each cell, and what a cell wrote comes back. %gpu lines
    and cells that begin with %%local stay here. Completion, inspection and history answer from the host.
    """
    if context.shell is None:
        msg = "on sends a notebook's cells to the host, and a terminal has none"
        raise BadInput(
            msg, hint="type %gpu on in a notebook; " + typed("run SCRIPT") + " runs a script on the host"
        )
    found = context.session(session)
    client = context.agent(found)
    notes = []
    if here:
        project = around.bind(context, found)
        notes = [Note(f"{project.root} is {project.place} there, before each run and after it", "ok")]
    elif here is False:
        places.bind(context.ledger, found, None)
    cell_target.turn_on(context.shell, cell_target.Mode(found.id, found.name, client))
    client.prepare_completion()
    return Result(
        {"on": True, "session": found.name},
        Note(f"plain cells run on {found.name} from here on", "ok"),
        *notes,
        Note("%%local at the top of a cell runs it here, " + typed("off") + " ends it", "dim"),
    )

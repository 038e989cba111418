"""``restart``: restart the host's kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.cli.command import verb
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("restart", asks=True, example="restart", session=True)
def command(context: Context, *, session: str | None, yes: bool) -> Result:
    """Give the host a new kernel: its variables are gone; files, jobs and outputs stay.

    A cell that runs is ended, and cells that wait run in the new kernel. Jobs go on.
    """
    from gpunb.services.questions import to_restart

    found = context.session(session)
    if not context.confirm(to_restart(found), yes=yes):
        return Result({"restarted": False}, Note("nothing was restarted", "dim"), exit_code=1)
    client = context.agent(found)
    with context.progress(f"restarting the kernel on {found.name}"):
        client.restart_kernel()
    return Result(
        {"restarted": True, "session": found.name},
        Note(f"{found.name} has a new kernel; its variables are empty, files and jobs are there", "ok"),
    )

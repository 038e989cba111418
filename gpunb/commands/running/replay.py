"""``replay``: show a run's output again, as it was shown first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import complete_runs, verb
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("replay", reads=True, example="replay\nreplay k3v9\nreplay k3v9 --trust", session=True)
@click.argument("run", required=False, shell_complete=complete_runs)
@click.option(
    "--frame",
    is_flag=True,
    help="Show a stranger's HTML with its styles and drawings in a closed frame: nothing runs in it.",
)
@click.option("--trust", is_flag=True, help="Show all as the host sent it: it may run code in this page.")
def command(context: Context, *, run: str | None, frame: bool, trust: bool, session: str | None) -> Result:
    """Show a run's output again, pictures and results included, and do not wait for more.

    What a stranger's host shows is made harmless first; with --frame and --trust, less so, for this
    once: a plot that is a program needs --trust. Without RUN: the newest. `attach` goes on to the
    run's end and can answer and interrupt it.
    """
    from gpunb.commands.running.logs import play_history
    from gpunb.services.running import runs

    found, run_id = runs.find(context, run, session)
    client = context.agent(found)
    info = client.run_info(run_id)
    runs.note_end(context, run_id, info)
    play_history(
        client.attach(run_id),
        context.sink(run_id),
        info.last,
        trust="own" if trust else None,
        frames=frame,
    )
    data = {"run": run_id, "session": found.name, "state": info.state, "exit_code": info.exit_code}
    if info.over:
        return Result(data)
    return Result(data, Note(f"(run {run_id} is {info.state}; attach {run_id} follows it)", "dim"))

"""``cancel``: end runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import complete_runs, verb
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("cancel", example="cancel rk3v9wq2xa", session=True)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
def command(context: Context, *, runs: tuple[str, ...], session: str | None) -> Result:
    """End runs, by whole ids: a cell is interrupted, a job and its children get SIGTERM, then SIGKILL."""
    from gpunb.services.running import runs as playing

    out = []
    for run in runs:
        found, run_id = playing.find(context, run, session, whole=True)
        client = context.agent(found)
        info = client.run_info(run_id)
        was_over = info.over
        if not was_over:
            info = client.cancel(run_id)
        playing.note_end(context, run_id, info)
        out.append({"run": run_id, "session": found.name, "state": info.state, "was_over": was_over})
    notes = [
        Note(
            f"{row['run']} had ended already ({row['state']})"
            if row["was_over"]
            else f"{row['run']}: {_word(row['state'])}",
            "dim" if row["was_over"] else "ok",
        )
        for row in out
    ]
    return Result(out, *notes)


def _word(state: object) -> str:
    return "asked to end" if state in ("running", "queued") else str(state)

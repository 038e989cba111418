"""``attach``: play a run's output from its first record, and follow it live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import complete_runs, verb
from gpunb.errors import RemoteCellError
from gpunb.presentation.result import Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.output import Sink

__all__ = ["command"]


@verb("attach", reads=True, example="attach\nattach k3v9", session=True)
@click.argument("run", required=False, shell_complete=complete_runs)
def command(context: Context, *, run: str | None, session: str | None) -> Result:
    """Play a run's output from its first line and follow it to the end.

    Works from any notebook or terminal, also after the one that started the run is gone. Without
    RUN: the newest. The id may be shortened. Ctrl-C interrupts the run; `logs -f` only watches.
    """
    from gpunb.services.running import log_filter, runs

    try:
        found, run_id = runs.find(context, run, session)
    except runs.RunKept as over:  # its machine is gone, and what it printed is here
        log_filter.play_text(over.file, context.text_sink())
        note = over.note
        state = {"state": note.state, "exit_code": None}
        return Result({"run": note.id, "session": note.session_id, **state})
    handle = context.agent(found).attach(run_id)
    sink = context.sink(run_id) if context.can_ask else _Deaf(context.sink(run_id))
    try:
        info = runs.follow(context, handle, sink)
    except RemoteCellError as err:
        if context.frontend == "terminal" and not err.shown:  # a notebook shows it with the error
            sink.stream("stderr", "\n".join(err.traceback) + "\n")
        raise
    return Result({"run": run_id, "session": found.name, "state": info.state, "exit_code": info.exit_code})


class _Deaf:
    """A sink without a user: it can't ask, and answers no question of the run's."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def ask(self, prompt: str, *, password: bool) -> str:
        """Refuse to ask: the answer may come from another frontend."""
        raise NotImplementedError

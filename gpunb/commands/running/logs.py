"""``logs``: print a run's output, all or its end, or show it as it was shown first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import DURATION, CloudOption, complete_runs, no_use, verb
from gpunb.errors import RemoteCellError, RunError
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    import re

    from gpunb.cli.context import Context
    from gpunb.services.running.runs import RunKept

__all__ = ["command"]


@verb(
    "logs",
    reads=True,
    example=(
        "logs\nlogs k3v9 --tail 20\nlogs k3v9 -f\nlogs k3v9 --since 10m --grep 'loss|error'\nlogs k3v9 --rich"
    ),
    session=True,
)
@click.argument("run", required=False, shell_complete=complete_runs)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends; Ctrl-C leaves it running.")
@click.option("--since", type=DURATION, metavar="TIME", help="Only what was printed in the last 10m, 2h.")
@click.option("--grep", metavar="PATTERN", help="Only lines in which this regular expression is found.")
@click.option("--tail", type=click.IntRange(min=1), metavar="N", help="Only the last N lines.")
@click.option("--rich", is_flag=True, help="As it was shown first, with pictures, tables and widgets.")
@click.option(
    "--frame",
    is_flag=True,
    help="As --rich, a stranger's HTML with its styles and drawings in a closed frame: nothing runs in it.",
)
@click.option(
    "--trust", is_flag=True, help="As --rich, all as the host sent it: it may run code in this page."
)
@click.option("--instance", is_flag=True, help="The machine's own log, where its cloud keeps one.")
@click.option(
    "--daemon",
    is_flag=True,
    cls=CloudOption,
    help="The log of the host's daemon: why an image can't be pulled (Vast).",
)
def command(
    context: Context,
    *,
    run: str | None,
    session: str | None,
    follow: bool,
    since: float | None,
    grep: str | None,
    tail: int | None,
    rich: bool,
    frame: bool,
    trust: bool,
    instance: bool,
    daemon: bool,
) -> Result:
    """Print what a run has printed. Without RUN: the newest. The id may be shortened.

    A run that failed is no failure of `logs`: it prints the output and says how it ended. What a
    stranger's host shows is made harmless first; a plot that is a program needs --trust. `attach`
    goes on to the run's end, and can answer and interrupt it.
    """
    from gpunb.output.player import play_history
    from gpunb.services.running import log_filter, runs

    rich = rich or frame or trust
    if rich:
        no_use("--rich", "follow", "tail", "grep")
    wanted = log_filter.pattern("logs", grep) if grep is not None else None
    if instance or daemon:
        from gpunb.presentation.machine_log import machine_log

        no_use("--daemon" if daemon else "--instance", "run", "follow", "since", "rich", "frame", "trust")
        return machine_log(context, session, daemon=daemon, tail=tail, wanted=wanted)
    try:
        found, run_id = runs.find(context, run, session)
    except runs.RunKept as over:
        what = "of a session that has ended (only its text is kept)"
        no_use(what, "follow", "since", "rich", "frame", "trust")
        return _kept(context, over, wanted, tail)
    client = context.agent(found)
    info = client.run_info(run_id)
    runs.note_end(context, run_id, info)
    sink = context.sink(run_id) if rich else context.text_sink()
    if wanted:
        sink = log_filter.Filtered(sink, wanted)
    first = int(client.request("before", run=run_id, age=since).get("n", 0)) if since is not None else 0
    data: dict[str, Any] = {
        "run": run_id,
        "session": found.name,
        "state": info.state,
        "exit_code": info.exit_code,
    }
    if context.as_json:
        no_use("--json", "follow")
        kept = log_filter.KeptText()
        play_history(client.attach(run_id, after=first), log_filter.Filtered(kept, wanted), info.last)
        text = kept.text()
        data["text"] = "\n".join(text.splitlines()[-tail:]) if tail else text
        return Result(data)
    after = first
    if tail is not None:
        kept = log_filter.KeptText(tail)
        play_history(client.attach(run_id, after=first), log_filter.Filtered(kept, wanted), info.last)
        kept.replay(sink)
        after = info.last
    if not follow:
        if tail is None:
            play_history(
                client.attach(run_id, after=first),
                sink,
                info.last,
                trust="own" if trust else None,
                frames=frame,
            )
        return Result(data, *_ending(info.state, info.why, info.exit_code))
    try:
        info = runs.follow(context, client.attach(run_id, after=after), sink, interactive=False)
    except RemoteCellError as err:
        if not err.shown:
            sys.stderr.write("\n".join(err.traceback) + "\n")
    except RunError as err:
        info = client.run_info(run_id)
        if not info.over:  # Ctrl-C
            return Result(data, Note(err.message, "dim"), exit_code=130)
    info = client.run_info(run_id)
    data.update(state=info.state, exit_code=info.exit_code)
    return Result(data, *_ending(info.state, info.why, info.exit_code))


def _kept(context: Context, over: RunKept, wanted: re.Pattern[str] | None, tail: int | None) -> Result:
    """Print what a run has printed whose machine is gone: its text was kept here."""
    from gpunb.services.running import log_filter

    note = over.note
    data: dict[str, Any] = {"run": note.id, "session": note.session_id, "state": note.state}
    text = log_filter.KeptText(tail)
    whole = tail is None and not context.as_json
    log_filter.play_text(over.file, log_filter.Filtered(context.text_sink() if whole else text, wanted))
    if context.as_json:
        return Result({**data, "exit_code": None, "text": text.text()})
    if not whole:
        text.replay(context.text_sink())
    return Result({**data, "exit_code": None}, *_ending(note.state, "", None))


def _ending(state: str, why: str, exit_code: int | None) -> list[Note]:
    if state == "ok":
        return []
    if state in ("running", "queued"):
        return [Note(f"({state}; -f follows it)", "dim")]
    code = f", exit code {exit_code}" if exit_code else ""
    return [Note(f"({state}{code}{f': {why}' if why else ''})", "bad" if state != "cancelled" else "warn")]

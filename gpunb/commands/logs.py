"""``logs``: what a run has printed, all of it or its end; only watches."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import click

from gpunb.commands.result import Note, Result
from gpunb.commands.verb import complete_runs, verb
from gpunb.errors import RemoteCellError, RunError

if TYPE_CHECKING:
    from gpunb.commands.context import Context
    from gpunb.remote import RunHandle, Sink

__all__ = ["command"]

WAIT_S = 30.0


@verb("logs", example="logs\nlogs k3v9 --tail 20\nlogs k3v9 -f", session=True)
@click.argument("run", required=False, shell_complete=complete_runs)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends; Ctrl-C leaves it running.")
@click.option("--tail", type=click.IntRange(min=1), metavar="N", help="Only the last N lines.")
def command(
    context: Context, *, run: str | None, session: str | None, follow: bool, tail: int | None
) -> Result:
    """Print what a run has printed. Without RUN: the newest. The id may be shortened.

    A run that failed is no failure of `logs`: it prints the output and says how it ended.
    """
    from gpunb.commands import playing

    found, run_id = playing.find(context, run, session)
    client = context.agent(found)
    info = client.run_info(run_id)
    playing.note_end(context, run_id, info)
    sink = context.sink(run_id)
    data: dict[str, Any] = {
        "run": run_id,
        "session": found.name,
        "state": info.state,
        "exit_code": info.exit_code,
    }
    if context.as_json:
        kept = KeptText()
        play_history(client.attach(run_id), kept, info.last)
        text = kept.text()
        data["text"] = "\n".join(text.splitlines()[-tail:]) if tail else text
        return Result(data)
    after = 0
    if tail is not None:
        kept = KeptText(tail)
        play_history(client.attach(run_id), kept, info.last)
        kept.replay(sink)
        after = info.last
    if not follow:
        if tail is None:
            play_history(client.attach(run_id), sink, info.last)
        return Result(data, *_ending(info.state, info.why, info.exit_code))
    try:
        info = playing.follow(context, client.attach(run_id, after=after), sink, interactive=False)
    except RemoteCellError as err:
        sys.stderr.write("\n".join(err.traceback) + "\n")
    except RunError as err:
        info = client.run_info(run_id)
        if not info.over:  # Ctrl-C
            return Result(data, Note(err.message, "dim"), exit_code=130)
    info = client.run_info(run_id)
    data.update(state=info.state, exit_code=info.exit_code)
    return Result(data, *_ending(info.state, info.why, info.exit_code))


def play_history(handle: RunHandle, sink: Sink, last: int) -> None:
    """Play the records up to number `last` into `sink`."""
    from gpunb.remote.display import Player

    player = Player(handle, sink, interactive=False)
    try:
        if last > 0:
            for record in handle.records(timeout=WAIT_S):
                player.play(record)
                if record.number >= last:
                    break
        player.finish()
    finally:
        handle.close()
    if player.error is not None:
        lines = [str(line) for line in player.error.get("traceback", [])]
        sink.stream("stderr", "\n".join(lines) + "\n")


def _ending(state: str, why: str, exit_code: int | None) -> list[Note]:
    if state == "ok":
        return []
    if state in ("running", "queued"):
        return [Note(f"({state}; -f follows it)", "dim")]
    code = f", exit code {exit_code}" if exit_code else ""
    return [Note(f"({state}{code}{f': {why}' if why else ''})", "bad" if state != "cancelled" else "warn")]


class KeptText:
    """A sink that keeps the last lines instead of showing them.

    A line that was overwritten by carriage returns (a progress bar) is kept as it ended.
    """

    def __init__(self, lines: int | None = None) -> None:
        self.limit = lines
        self._done: deque[tuple[str, str]] = deque(maxlen=lines)
        self._open: dict[str, str] = {"stdout": "", "stderr": ""}

    def stream(self, name: str, text: str) -> None:
        """Split into lines."""
        *whole, rest = (self._open[name] + text).split("\n")
        self._done.extend((name, _settle(line) + "\n") for line in whole)
        self._open[name] = _settle(rest) if len(rest) > 65_536 else rest

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Its text form."""
        text = content.get("data", {}).get("text/plain")
        if text and not update:
            self.stream("stdout", f"{text}\n")

    def result(self, content: dict[str, Any]) -> None:
        """Its text form."""
        self.display(content, update=False)

    def clear(self, *, wait: bool) -> None:
        """What was printed stays in a log."""

    def ask(self, prompt: str, *, password: bool) -> str:  # noqa: ARG002
        """Never asked: logs only watch."""
        return ""

    def note(self, text: str) -> None:
        """A word of gpunb's own."""
        self.stream("stderr", f"gpunb: {text}\n")

    def finish(self) -> None:
        """Close the last lines."""
        for name, rest in self._open.items():
            if rest:
                self._done.append((name, _settle(rest)))
                self._open[name] = ""

    def text(self) -> str:
        """All that is kept."""
        return "".join(line for _, line in self._done)

    def replay(self, sink: Sink) -> None:
        """Show what is kept."""
        for name, line in self._done:
            sink.stream(name, line)
        sink.finish()


def _settle(line: str) -> str:
    return line.removesuffix("\r").rpartition("\r")[2]

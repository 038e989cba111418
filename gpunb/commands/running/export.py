"""``export``: write a notebook from runs, code and outputs, by the host's journal."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import complete_runs, verb
from gpunb.errors import BadInput, Unreachable
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result
from gpunb.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.cli.context import Context
    from gpunb.remote import AgentClient, RunInfo
    from gpunb.sessions.model import Session

__all__ = ["command"]

WAIT_S = 30.0


@verb("export", reads=True, example="export k3v9 out.ipynb\nexport --all session.ipynb", session=True)
@click.argument("words", nargs=-1, required=True, metavar="[RUN...] FILE.ipynb", shell_complete=complete_runs)
@click.option("--all", "every", is_flag=True, help="All cells of the session, in the order they were run.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def command(
    context: Context, *, words: tuple[str, ...], every: bool, force: bool, session: str | None
) -> Result:
    """Write a notebook from runs: each becomes a cell with its code and all its outputs.

    The code is what was sent from here. A run that goes on is written as far as it is. Works as long
    as the session lives, also when the notebook that ran the cells was never saved.
    """
    from gpunb.services.running import runs as playing
    from gpunb.sessions.access import sent

    *runs, name = words
    target = Path(name)
    if target.suffix != ".ipynb":
        msg = f"export {name!r}: the last word names the notebook to write, and must end in .ipynb"
        raise BadInput(msg, hint=typed("export RUN out.ipynb"))
    if every == bool(runs):
        msg = "export takes either runs or --all"
        raise BadInput(msg, hint=typed("runs") + " lists them")
    if target.exists() and not force:
        msg = f"export: {name!r} is there already"
        raise BadInput(msg, hint="--force replaces it")
    if not target.parent.is_dir():
        msg = f"export: there is no folder {str(target.parent)!r}"
        raise BadInput(msg)
    chosen: list[tuple[Session, RunInfo]] = []
    others: list[str] = []
    if every:
        found = context.session(session)
        infos = playing.refresh(context, context.agent(found), found)
        cells = [info for info in infos if info.kind == "cell"]
        chosen = [(found, info) for info in cells if found.trust == "own" or sent.source(found.id, info.id)]
        others = [info.id for info in cells if info.id not in {one.id for _, one in chosen}]
        if not chosen:
            msg = f"no cell was run on {found.name}{' from this machine' if others else ' yet'}"
            raise BadInput(msg)
    for run in runs:
        found, run_id = playing.find(context, run, session)
        chosen.append((found, context.agent(found).run_info(run_id)))
    writer = Writer()
    with context.progress(f"writing {name}") as progress:
        for number, (found, info) in enumerate(chosen):
            progress.advance(number, len(chosen), "runs")
            writer.add(context.agent(found), found, info)
    writer.save(target)
    data = {"file": str(target), "runs": [info.id for _, info in chosen]}
    going = [info.id for _, info in chosen if not info.over]
    notes = [Note(f"{name} has {len(chosen)} cell{'s' if len(chosen) > 1 else ''} with their outputs", "ok")]
    if writer.unknown:
        text = "not sent from this machine, so that their code is the host's word and stands as a comment"
        notes.append(Note(f"{text}: {', '.join(writer.unknown)}", "warn"))
    if others:
        text = "not sent from this machine and left out; name one to have it"
        notes.append(Note(f"{text}: {', '.join(others)}", "warn"))
    if going:
        notes.append(Note(f"{', '.join(going)} still ran: their output is that until now", "warn"))
    return Result(data, *notes)


class Writer:
    """Collects runs as cells of one notebook."""

    def __init__(self) -> None:
        from nbformat import v4

        self._make = v4
        self.book: Any = v4.new_notebook()
        self.book.metadata["language_info"] = {"name": "python"}
        self._displays: dict[str, list[dict[str, Any]]] = {}
        self.unknown: list[str] = []  # runs that were not sent from here

    def add(self, client: AgentClient, session: Session, info: RunInfo) -> None:
        """Add one run as a cell, as far as it has run.

        Raises
        ------
        Unreachable
            The host stopped sending.
        """
        from gpunb.output.kept import KeptOutputs
        from gpunb.output.player import Player

        outputs = KeptOutputs(displays=self._displays, notes=True)
        handle = client.attach(info.id)
        player = Player(handle, outputs, interactive=False)
        count = None
        try:
            seen = 0
            while seen < info.last:
                record = handle.next(WAIT_S)
                if record is None:
                    msg = f"{session.name} sent no more of run {info.id} for {WAIT_S:.0f} s"
                    raise Unreachable(msg, hint="try again; nothing was written")
                player.play(record)
                seen = record.number
                count = record.head.get("count", count)
            player.finish()
        finally:
            handle.close()
        source, known = _source(client, session, info.id)
        self.unknown += [] if known else [info.id]
        cell = self._make.new_code_cell(source, outputs=outputs.made)
        cell.execution_count = count if isinstance(count, int) else None
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(info.started)) if info.started else None
        cell.metadata["gpunb"] = {
            "run": info.id,
            "session": session.name,
            "gpu": session.gpu,
            "state": info.state,
            "started": started,
        }
        self.book.cells.append(cell)

    def save(self, target: Path) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        BadInput
            It can't be written.
        """
        import nbformat

        beside = target.with_name(f"{target.name}.part")
        try:
            beside.write_text(nbformat.writes(nbformat.from_dict(self.book)), "utf-8")
            beside.replace(target)
        except OSError as err:
            msg = f"export: {str(target)!r} can't be written: {err.strerror}"
            raise BadInput(msg) from err


def _source(client: AgentClient, session: Session, run_id: str) -> tuple[str, bool]:
    """The source of a cell, and whether it is the code sent from here.

    The code of a run started elsewhere is known only from the host: it becomes a comment.
    """
    from gpunb.sessions.access import sent

    known = sent.source(session.id, run_id)
    if known is not None or session.trust == "own":
        return _text(known or client.request("source", run=run_id)), True
    claimed = plain(_text(client.request("source", run=run_id)))
    lines = "\n".join(f"# {line}" for line in claimed.replace("\r", "\n").split("\n"))
    return f"# not sent from this machine; the host says that it ran:\n{lines}", False


def _text(about: Mapping[str, Any]) -> str:
    if isinstance(about.get("code"), str):
        return str(about["code"])
    argv = about.get("argv")
    if isinstance(argv, list):
        return "!" + shlex.join(str(word) for word in argv)
    return "!" + str(about.get("shell") or "")

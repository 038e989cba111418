"""``run``: run a script, a module or a shell line as a job that outlives the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli import completers
from gpunb.cli.command import no_use, verb
from gpunb.cli.container_options import variables
from gpunb.commands.parts import run_options
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.remote import AgentClient
    from gpunb.sessions.model import Session


__all__ = ["command", "variables"]


@verb(
    "run",
    session=True,
    example=(
        "run train.py -- --epochs 3\nrun train.py --here\nrun train.py --sync . --fetch out\n"
        "run train.py --sync src --detach\n"
        "run -m pytest -- -x tests\nrun --shell 'nvidia-smi | head'\n"
        "run train.ipynb -p lr 0.1 -o lr-0.1.ipynb\nrun train.py --gpus 2 --restart on-lost -d"
    ),
)
@click.argument("words", nargs=-1, metavar="[SCRIPT] [-- ARGS...]", type=click.Path())
@run_options.MODULE
@click.option("--shell", "shell_line", metavar="LINE", help="Run a line of the host's shell instead.")
@click.option(
    "--sync",
    "folder",
    metavar="DIR",
    type=click.Path(),
    shell_complete=completers.folders,
    help="Send this folder first; run inside it.",
)
@click.option(
    "--here/--no-here",
    default=None,
    help="Run in this project's folder there, kept the same as here; or no longer.",
)
@click.option("--cwd", metavar="PATH", help="The host's folder to run in. [default: the home folder]")
@run_options.ENV
@run_options.SECRET
@click.option(
    "--gpus",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Queue until N GPUs are free, and use them exclusively. [default: start at once, all visible]",
)
@click.option(
    "--restart",
    default="never",
    metavar="POLICY",
    help="Start it again: on-lost (the host went away), on-failure[:N] (that, or another exit code than 0).",
)
@run_options.PARAMETER
@click.option(
    "-r", "--raw", nargs=2, multiple=True, metavar="NAME TEXT", help="The same; the value stays text."
)
@click.option(
    "-o", "--output", metavar="FILE", help="Where a notebook's result goes here. [default: NAME.out.ipynb]"
)
@click.option(
    "--fetch",
    multiple=True,
    metavar="PATH",
    help="Bring this back when it has ended, from the folder that it runs in.",
)
@click.option("--name", default="", metavar="TEXT", help="What to call it in lists.")
@click.option("-d", "--detach", is_flag=True, help="Start it and return its id.")
def command(
    context: Context,
    *,
    words: tuple[str, ...],
    module: str | None,
    shell_line: str | None,
    folder: str | None,
    here: bool | None,
    cwd: str | None,
    env: tuple[str, ...],
    secret_names: tuple[str, ...],
    gpus: int | None,
    restart: str,
    values: tuple[tuple[str, str], ...],
    raw: tuple[tuple[str, str], ...],
    output: str | None,
    fetch: tuple[str, ...],
    name: str,
    detach: bool,
    session: str | None,
) -> Result:
    """Run a script or a notebook on the host as a job, and follow its output.

    A script of this machine is sent first; `:path` is one that is there already. Its first line
    (#!) says what runs it, else the host's Python does; a .sh is run by a shell. The job goes on
    if the connection, the notebook or this machine goes away; `attach` shows it again. Its exit
    code is gpunb's. The script's own arguments come after `--`.

    A notebook runs by papermill's rules: `-p` sets what its cell tagged "parameters" sets, outputs
    are saved as they come, and the notebook with them is brought back.

    A secret goes to this job's process alone, in memory, and only to hosts of enough trust.
    """
    from gpunb.services.running import jobs, notebook_jobs, runs

    if detach:
        no_use("--detach", "fetch")
    job = jobs.prepare(
        jobs.JobWish(
            words=words,
            module=module,
            shell_line=shell_line,
            folder=folder,
            here=here,
            cwd=cwd,
            env=variables("run", env),
            secret_names=secret_names,
            gpus=gpus or 0,
            restart=restart,
            values=values,
            raw=raw,
            output=output,
            name=name,
        )
    )
    found = context.session(session)
    started = jobs.start(context, found, job, detach=detach)
    handle, label = started.handle, started.label
    data = {"run": handle.id, "session": found.name, "name": label}
    if started.info is not None:
        data["state"] = started.info.state
        waits = started.info.state == "queued" and started.info.wants > 0
        doing = "waits for GPUs" if waits else "runs"
        return _detached(context, found, handle.client, data, result=started.result, doing=doing)
    context.tell(Note(f"job {handle.id} on {found.name}: {label}", "dim"))
    missing = 0
    try:
        info = runs.follow(context, handle, context.sink(handle.id))
    finally:
        if handle.over:
            missing = jobs.bring(context, found, started.where, fetch)
            started.inside.bring_back()
            if job.result is not None:
                notebook_jobs.bring(handle.client, found, started.result, job.result)
                data["output"] = str(job.result)
                context.tell(Note(f"the notebook with its outputs is {job.result}", "ok"))
    return Result({**data, "state": info.state, "exit_code": info.exit_code}, exit_code=int(missing > 0))


def _detached(
    context: Context, session: Session, client: AgentClient, data: dict[str, str], *, result: str, doing: str
) -> Result:
    from gpunb.cli import run_notices

    hint = "%gpu" if context.frontend == "notebook" else "gpunb"
    run_id = data["run"]
    text = f"job {run_id} {doing} on {session.name}; {hint} logs {run_id} -f follows it"
    if result:
        text += f"; {hint} sync {session.name}:{result} . brings the notebook when it has ended"
    if context.frontend == "notebook" and not context.as_json:
        run_notices.watch(context, session, client, run_id, name=data["name"], text=text)
        return Result(data)
    return Result(data, Note(text))


command.own_words = True  # type: ignore[attr-defined]

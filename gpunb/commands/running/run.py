"""``run``: run a script, a module or a shell line as a job that outlives the connection."""

from __future__ import annotations

import shlex
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from gpunb.cli import completers
from gpunb.cli.command import no_use, verb
from gpunb.cli.container_options import variables
from gpunb.errors import BadInput, GpunbError
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.remote import AgentClient
    from gpunb.sessions.model import Session

# by its own first line if executable on the host, else by the shell that most such scripts are for
_SHELL = """
case $0 in */*) script=$0;; *) script=./$0;; esac
if [ -x "$script" ]; then exec "$script" "$@"; fi
if command -v bash >/dev/null; then exec bash "$script" "$@"; fi
exec sh "$script" "$@"
"""

__all__ = ["command", "variables"]


@verb(
    "run",
    session=True,
    example=(
        "run train.py -- --epochs 3\nrun train.py --sync . --fetch out\nrun train.py --sync src --detach\n"
        "run -m pytest -- -x tests\nrun --shell 'nvidia-smi | head'\n"
        "run train.ipynb -p lr 0.1 -o lr-0.1.ipynb\nrun train.py --gpus 2 --restart on-lost -d"
    ),
)
@click.argument("words", nargs=-1, metavar="[SCRIPT] [-- ARGS...]", type=click.Path())
@click.option("-m", "module", metavar="MODULE", help="Run a module instead of a script.")
@click.option("--shell", "shell_line", metavar="LINE", help="Run a line of the host's shell instead.")
@click.option(
    "--sync",
    "folder",
    metavar="DIR",
    type=click.Path(),
    shell_complete=completers.folders,
    help="Send this folder first; run inside it.",
)
@click.option("--cwd", metavar="PATH", help="The host's folder to run in. [default: the home folder]")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable for the job.")
@click.option(
    "--secret",
    "secret_names",
    multiple=True,
    metavar="NAME",
    help="Give it the secret NAME: from here's environment, the keyring, or typed.",
)
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
@click.option(
    "-p",
    "--parameter",
    "values",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Set a notebook's parameter.",
)
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
    from gpunb.services.running import notebook_jobs, run_secrets, runs
    from gpunb.sessions.lifecycle import fetch_results

    if detach:
        no_use("--detach", "fetch")
    what = _what(words, module, shell_line)
    pairs = variables("run", env)
    _policy(restart)
    local = _script(words[0], folder) if what == "script" else None
    book = _notebook(words, local, values, raw, output)
    _check_folder(folder)
    found = context.session(session)
    given = run_secrets.collect(context, found, secret_names)
    client = context.agent(found)
    where = cwd
    if folder is not None:
        base = Path(folder).resolve().name
        _send(context, found, folder, f"{base}/")
        where = cwd or base
    if cwd is not None:
        fetch_results.note_folder(context.ledger, found, cwd)
    target = (
        notebook_jobs.result_path(Path(words[0]), output).name
        if book is not None
        else _sent_script(context, found, words, local, folder=folder, cwd=cwd)
    )
    argv = _argv(what, _runner(what, client.info.python, target, local), target, module, words)
    label = name or _label(what, target, module, shell_line)
    with runs.noted(context, found, kind="job", name=label) as run_id:
        if book is not None:
            argv = list(notebook_jobs.argv(client, notebook_jobs.put(client, run_id, book), target))
        handle = client.run_job(
            argv,
            shell=shell_line,
            cwd=where,
            env=pairs,
            name=label,
            run_id=run_id,
            gpus=gpus or 0,
            restart=restart,
            secrets=given,
        )
        if detach:
            info = handle.info()
            handle.close()
    data = {"run": run_id, "session": found.name, "name": label}
    result = f"{where or client.info.home}/{target}" if book is not None else ""
    if detach:
        data["state"] = info.state
        waits = info.state == "queued" and info.wants > 0
        return _detached(
            context, found, client, data, result=result, doing="waits for GPUs" if waits else "runs"
        )
    context.tell(Note(f"job {run_id} on {found.name}: {label}", "dim"))
    missing = 0
    try:
        info = runs.follow(context, handle, context.sink(run_id))
    finally:
        if handle.over:
            missing = _fetch(context, found, where or "", fetch)
            if result:
                there = notebook_jobs.result_path(Path(words[0]), output)
                notebook_jobs.bring(client, found, result, there)
                data["output"] = str(there)
                context.tell(Note(f"the notebook with its outputs is {there}", "ok"))
    return Result({**data, "state": info.state, "exit_code": info.exit_code}, exit_code=int(missing > 0))


def _check_folder(folder: str | None) -> None:
    if folder is not None and not Path(folder).is_dir():
        msg = f"run --sync {folder!r} is not a folder here"
        raise BadInput(msg, hint=_close(Path(folder), folders=True))


def _fetch(context: Context, session: Session, where: str, paths: tuple[str, ...]) -> int:
    """Download `paths` of the job's folder, each under its last name; returns how many failed.

    Failures are shown and not raised: the job's own result comes first.
    """
    from gpunb.services import transfers

    missing = 0
    for path in paths:
        source = str(PurePosixPath(where) / path) if not path.startswith("~") else path
        target = PurePosixPath(path).name or "."
        try:
            report = transfers.move(context, session, source, target, direction="down")
        except GpunbError as err:
            missing += 1
            again = typed("sync", f"{session.name}:{source}", target) + " tries again"
            context.tell(Note(f"not fetched: {path}: {err.message}", "bad"), Note(again, "dim"))
            continue
        missing += bool(report.failed)
        context.tell(Note(f"{path}: {transfers.summary(report)}", "warn" if report.failed else "ok"))
    return missing


def _detached(
    context: Context, session: Session, client: AgentClient, data: dict[str, str], *, result: str, doing: str
) -> Result:
    from gpunb.cli import run_notices

    hint = "%gpu" if context.door == "notebook" else "gpunb"
    run_id = data["run"]
    text = f"job {run_id} {doing} on {session.name}; {hint} logs {run_id} -f follows it"
    if result:
        text += f"; {hint} sync {session.name}:{result} . brings the notebook when it has ended"
    if context.door == "notebook" and not context.as_json:
        run_notices.watch(context, session, client, run_id, name=data["name"], text=text)
        return Result(data)
    return Result(data, Note(text))


def _sent_script(
    context: Context,
    session: Session,
    words: tuple[str, ...],
    local: Path | None,
    *,
    folder: str | None,
    cwd: str | None,
) -> str:
    """Send a local script, unless a synced folder holds it; returns its path for the job."""
    if local is None:
        return words[0].removeprefix(":") if words else ""
    target = _target(local, folder)
    if folder is None:
        _send(context, session, str(local), target)
        if cwd is not None:
            target = f"{context.agent(session).info.home}/{target}"
    return target


def _argv(
    what: str, runner: list[str], target: str, module: str | None, words: tuple[str, ...]
) -> list[str] | None:
    if what == "script":
        return [*runner, target, *words[1:]]
    return [*runner, "-m", str(module), *words] if what == "module" else None


command.own_words = True  # type: ignore[attr-defined]


def _policy(text: str) -> None:
    from gpunb.agent.shared import restart_policy

    try:
        restart_policy.parse(text)
    except ValueError as err:
        msg = f"run --{err}"
        raise BadInput(msg, hint="--restart on-lost for a spot machine") from err


def _notebook(
    words: tuple[str, ...],
    local: Path | None,
    values: tuple[tuple[str, str], ...],
    raw: tuple[tuple[str, str], ...],
    output: str | None,
) -> bytes | None:
    """The prepared notebook to send; None if the target is not a notebook."""
    from gpunb.services.running import notebook_jobs

    given = next((word for word, on in (("-p", values), ("-r", raw), ("-o", output)) if on), None)
    if not words or PurePosixPath(words[0]).suffix != ".ipynb":
        if given:
            msg = f"run {given} is for notebooks, and {(words or ('this',))[0]!r} is none"
            raise BadInput(msg, hint="a script's own arguments come after --")
        return None
    if local is None:
        msg = f"run {words[0]!r}: a notebook is sent from this machine, with its parameters in it"
        raise BadInput(msg, hint="bring it here first with " + typed("sync"))
    if words[1:]:
        msg = f"run {words[0]!r} takes no arguments ({words[1]!r}); a notebook has parameters"
        raise BadInput(msg, hint=typed("run", words[0], "-p", "NAME", "VALUE"))
    return notebook_jobs.prepare(local, notebook_jobs.parameters(values, raw))


def _what(words: tuple[str, ...], module: str | None, shell_line: str | None) -> str:
    if module is not None and shell_line is not None:
        msg = "run takes one of SCRIPT, -m and --shell; both -m and --shell were given"
        raise BadInput(msg)
    if shell_line is not None:
        if words:
            msg = f"run --shell takes one line; this is outside of it: {words[0]!r} stands outside"
            raise BadInput(msg, hint="quote the whole line: --shell 'a b c'")
        if not shell_line.strip():
            msg = "run --shell was given an empty line"
            raise BadInput(msg)
        return "shell"
    if module is not None:
        return "module"
    if not words:
        msg = "run needs a script, -m MODULE or --shell LINE"
        raise BadInput(msg, hint=typed("run train.py -- --epochs 3"))
    return "script"


def _script(given: str, folder: str | None) -> Path | None:
    """The local script, or None for ``:path`` on the host."""
    if given.startswith(":"):
        if len(given) == 1:
            msg = "run ':' names no script; write :path/on/the/host.py"
            raise BadInput(msg)
        return None
    for path in (Path(given), Path(folder) / given if folder else None):
        if path is not None and path.is_file():
            return path
    path = Path(given)
    if path.is_dir():
        msg = f"run {given!r} is a folder, not a script"
        raise BadInput(msg, hint=typed("run --sync", given, "SCRIPT") + " sends a folder")
    msg = f"run: there is no script {given!r} here"
    raise BadInput(msg, hint=_close(path) or f"write :{given} if it is on the host already")


def _runner(what: str, python: str, target: str, local: Path | None) -> list[str]:
    """The interpreter: the host's Python, the one in a script's first line, or a shell for a ``.sh``."""
    first = b""
    if what != "script":
        return [python, "-u"]
    if local is not None:
        with local.open("rb") as file:
            first = file.readline(1000)
    if first.startswith(b"#!") and b"python" not in first:
        path, _, argument = first[2:].decode("utf-8", "replace").strip().partition(" ")
        if path:
            named = shlex.split(argument.removeprefix("-S ")) if path.endswith("/env") else [argument.strip()]
            return [path, *(word for word in named if word)]
    shell = PurePosixPath(target).suffix in (".sh", ".bash") and not first.startswith(b"#!")
    return ["/bin/sh", "-c", _SHELL] if shell else [python, "-u"]


def _close(path: Path, *, folders: bool = False) -> str | None:
    try:
        names = [found.name for found in path.parent.iterdir() if found.is_dir() == folders]
    except OSError:
        return f"there is no folder {str(path.parent)!r} either"
    close = get_close_matches(path.name, names, n=3, cutoff=0.6)
    shown = [str(path.parent / name) for name in close]
    return f"did you mean {' or '.join(shown)}?" if shown else None


def _target(local: Path, folder: str | None) -> str:
    """The script's path on the host, relative to the job's folder."""
    base = Path(folder).resolve() if folder else Path.cwd()
    whole = local.resolve()
    if whole.is_relative_to(base):
        return str(PurePosixPath(*whole.relative_to(base).parts))
    if folder:
        msg = f"run: the script {str(local)!r} is not inside --sync {folder!r}"
        raise BadInput(msg, hint="sync the folder that holds it, or leave --sync out")
    return whole.name


def _label(what: str, target: str, module: str | None, shell_line: str | None) -> str:
    if what == "module":
        return f"-m {module}"
    return PurePosixPath(target).name if what == "script" else str(shell_line)[:60]


def _send(context: Context, session: Session, source: str, target: str) -> None:
    from gpunb.services import transfers

    transfers.send(context, session, source, target, f"run: {source}")

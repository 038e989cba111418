"""``run``: a script, a module or a shell line as a job that outlives this side."""

from __future__ import annotations

import shlex
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from gpunb.commands.result import Note, Result
from gpunb.commands.verb import verb
from gpunb.errors import BadInput

if TYPE_CHECKING:
    from gpunb.commands.context import Context
    from gpunb.sessions.model import Session

__all__ = ["command", "variables"]


@verb(
    "run",
    session=True,
    example=(
        "run train.py -- --epochs 3\nrun train.py --sync src --detach\n"
        "run -m pytest -- -x tests\nrun --shell 'nvidia-smi | head'"
    ),
)
@click.argument("words", nargs=-1, metavar="[SCRIPT] [-- ARGS...]", type=click.Path())
@click.option("-m", "module", metavar="MODULE", help="Run a module instead of a script.")
@click.option("--shell", "shell_line", metavar="LINE", help="Run a line of the host's shell instead.")
@click.option(
    "--sync", "folder", metavar="DIR", type=click.Path(), help="Send this folder first; run inside it."
)
@click.option("--cwd", metavar="PATH", help="The host's folder to run in. [default: the home folder]")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable for the job.")
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
    name: str,
    detach: bool,
    session: str | None,
) -> Result:
    """Run a script on the host as a job, and follow its output.

    A script of this machine is sent first; `:path` is one that is there already. The job goes on
    if the connection, the notebook or this machine goes away; `attach` shows it again. Its exit
    code is gpunb's. The script's own arguments come after `--`.
    """
    from gpunb.commands import playing

    what = _what(words, module, shell_line)
    pairs = variables("run", env)
    local = _script(words[0], folder) if what == "script" else None
    if folder is not None and not Path(folder).is_dir():
        msg = f"run --sync {folder!r} is not a folder here"
        raise BadInput(msg, hint=_close(Path(folder), folders=True))
    found = context.session(session)
    client = context.agent(found)
    where = cwd
    if folder is not None:
        base = Path(folder).resolve().name
        _send(context, found, folder, f"{base}/")
        where = cwd or base
    target = words[0] if words else ""
    if local is not None:
        target = _target(local, folder)
        if folder is None:
            _send(context, found, str(local), target)
            if cwd is not None:
                target = f"{client.info.home}/{target}"
    elif what == "script":
        target = words[0].removeprefix(":")
    argv: list[str] | None = None
    if what == "script":
        argv = [client.info.python, "-u", target, *words[1:]]
    elif what == "module":
        argv = [client.info.python, "-u", "-m", str(module), *words]
    label = name or _label(what, target, module, shell_line)
    with playing.noted(context, found, kind="job", name=label) as run_id:
        handle = client.run_job(argv, shell=shell_line, cwd=where, env=pairs, name=label, run_id=run_id)
        if detach:
            info = handle.info()
            handle.close()
    data = {"run": run_id, "session": found.name, "name": label}
    if detach:
        hint = "%gpu" if context.door == "notebook" else "gpunb"
        return Result(
            {**data, "state": info.state},
            Note(f"job {run_id} runs on {found.name}; {hint} logs {run_id} -f follows it"),
        )
    context.tell(Note(f"job {run_id} on {found.name}: {label}", "dim"))
    info = playing.follow(context, handle, context.sink(run_id))
    return Result({**data, "state": info.state, "exit_code": info.exit_code})


command.own_words = True  # type: ignore[attr-defined]


def _what(words: tuple[str, ...], module: str | None, shell_line: str | None) -> str:
    if module is not None and shell_line is not None:
        msg = "run takes one of SCRIPT, -m and --shell; both -m and --shell were given"
        raise BadInput(msg)
    if shell_line is not None:
        if words:
            msg = f"run --shell takes its words inside the line; {words[0]!r} stands outside"
            raise BadInput(msg, hint="quote the whole line: --shell 'a b c'")
        if not shell_line.strip():
            msg = "run --shell was given an empty line"
            raise BadInput(msg)
        return "shell"
    if module is not None:
        return "module"
    if not words:
        msg = "run needs a script, -m MODULE or --shell LINE"
        raise BadInput(msg, hint="gpunb run train.py -- --epochs 3")
    return "script"


def variables(verb_name: str, pairs: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE`` words as a mapping.

    Raises
    ------
    BadInput
        One is not of that form.
    """
    out = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            msg = f"{verb_name} --env {pair!r} is not NAME=VALUE"
            raise BadInput(msg)
        out[key] = value
    return out


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
        raise BadInput(msg, hint=f"gpunb run --sync {shlex.quote(given)} SCRIPT sends a folder")
    msg = f"run: there is no script {given!r} here"
    raise BadInput(msg, hint=_close(path) or f"write :{given} if it is on the host already")


def _close(path: Path, *, folders: bool = False) -> str | None:
    try:
        names = [found.name for found in path.parent.iterdir() if found.is_dir() == folders]
    except OSError:
        return f"there is no folder {str(path.parent)!r} either"
    close = get_close_matches(path.name, names, n=3, cutoff=0.6)
    shown = [str(path.parent / name) for name in close]
    return f"did you mean {' or '.join(shown)}?" if shown else None


def _target(local: Path, folder: str | None) -> str:
    """Where the script lies on the host, from the folder the job runs in."""
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
    from gpunb.commands.sync import move

    move(context, session, source, target, direction="up")

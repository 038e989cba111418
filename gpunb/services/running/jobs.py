"""Starting a job: a script, a module, a notebook or a line of the shell, the same for every frontend.

`prepare` checks what can be checked before a host is asked; `start` sends what the job needs and starts it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, GpunbError
from gpunb.hints import typed
from gpunb.services import transfers
from gpunb.services.project import around
from gpunb.services.running import notebook_jobs, run_secrets, runs
from gpunb.sessions.project import places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.remote import RunHandle, RunInfo
    from gpunb.services.project.around import Inside
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

__all__ = ["JobWish", "Prepared", "Started", "bring", "close_names", "prepare", "send_left_out", "start"]

# by its own first line if executable on the host, else by the shell that most such scripts are for
_SHELL = """
case $0 in */*) script=$0;; *) script=./$0;; esac
if [ -x "$script" ]; then exec "$script" "$@"; fi
if command -v bash >/dev/null; then exec bash "$script" "$@"; fi
exec sh "$script" "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWish:
    """A job as it is asked for.

    Attributes
    ----------
    words
        The script or notebook and its arguments, or a module's arguments. ``:path`` is on the host already.
    module, shell_line
        A module or a line of the host's shell instead of a script.
    folder
        A folder of this machine that is sent first; the job runs inside it.
    here
        The same with this project, and what the job wrote there comes back; None takes what is bound to the
        session, False ends that. See `gpunb.services.project.around`.
    cwd
        The host's folder to run in.
    secret_names
        Secrets that the job's process alone gets.
    gpus
        How many GPUs it gets for itself; 0 is no queue.
    restart
        "never", "on-lost[:N]" or "on-failure[:N]".
    values, raw, parameters, output
        A notebook's parameters, as texts or as values, and the file of its result here.
    there
        The script's path on the host, where it is already; relative to `cwd`.
    run_id
        The id that the run gets; "" makes one.
    """

    words: Sequence[str] = ()
    module: str | None = None
    shell_line: str | None = None
    folder: str | None = None
    here: bool | None = None
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secret_names: Sequence[str] = ()
    gpus: int = 0
    restart: str = "never"
    values: Sequence[tuple[str, str]] = ()
    raw: Sequence[tuple[str, str]] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    output: str | None = None
    name: str = ""
    there: str = ""
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job whose wish holds no mistake that can be seen here."""

    wish: JobWish
    what: str  # "script", "module" or "shell"
    local: Path | None
    book: bytes | None

    @property
    def result(self) -> Path | None:
        """Where a notebook with its outputs goes here; None for another job."""
        return (
            None
            if self.book is None
            else notebook_jobs.result_path(Path(self.wish.words[0]), self.wish.output)
        )


@dataclass(frozen=True, slots=True)
class Started:
    """A started job.

    Attributes
    ----------
    where
        The host's folder that it runs in; "" is the home folder.
    result
        The path on the host of a notebook with its outputs; "" for another job.
    info
        Its state, if it was started to be left alone.
    inside
        What comes back after it, by ``inside.bring_back()``.
    """

    handle: RunHandle
    label: str
    where: str
    result: str
    info: RunInfo | None
    inside: Inside


def prepare(wish: JobWish) -> Prepared:
    """Check the wish; nothing is sent.

    Raises
    ------
    BadInput
        A part of it breaks its rule, or there is no such script or folder here.
    """
    what = _what(wish.words, wish.module, wish.shell_line)
    _policy(wish.restart)
    local = _script(wish.words[0], wish.folder) if what == "script" else None
    book = _notebook(wish, local)
    _check_folder(wish.folder)
    if wish.here:
        _inside_project(local, Path.cwd())
    return Prepared(wish, what, local, book)


def start(context: Workspace, session: Session, job: Prepared, *, detach: bool = False) -> Started:
    """Send what the job needs and start it; with `detach` it is not followed.

    Raises
    ------
    SyncError, HostError, RunError
        As far as it came, it is recorded.
    """
    from gpunb.sessions.lifecycle import fetch_results

    wish = job.wish
    secrets = run_secrets.collect(context, session, tuple(wish.secret_names))
    client = context.agent(session)
    inside = _enter(context, session, job)
    where = wish.cwd or inside.cwd or None
    if wish.cwd is not None:
        fetch_results.note_folder(context.ledger, session, wish.cwd)
    there = job.result
    target = there.name if there is not None else _sent_script(context, session, job, inside)
    argv = _argv(job.what, _runner(job.what, client.info.python, target, job.local), target, wish)
    label = wish.name or _label(job.what, target, wish.module, wish.shell_line)
    with runs.noted(context, session, kind="job", name=label, run_id=wish.run_id) as run_id:
        if job.book is not None:
            argv = list(notebook_jobs.argv(client, notebook_jobs.put(client, run_id, job.book), target))
        handle = client.run_job(
            argv,
            shell=wish.shell_line,
            cwd=where,
            env=wish.env,
            name=label,
            run_id=run_id,
            gpus=wish.gpus,
            restart=wish.restart,
            secrets=secrets,
        )
        info = None
        if detach:
            info = handle.info()
            handle.close()
    result = f"{where or client.info.home}/{target}" if job.book is not None else ""
    return Started(handle, label, where or "", result, info, inside)


def bring(context: Workspace, session: Session, where: str, paths: Sequence[str]) -> int:
    """Download `paths` of the job's folder, each under its last name; returns how many failed.

    Failures are shown and not raised: the job's own result comes first.
    """
    missing = 0
    for path in paths:
        source = str(PurePosixPath(where) / path) if not path.startswith("~") else path
        target = PurePosixPath(path).name or "."
        try:
            report = transfers.move(context, session, source, target, direction="down")
        except GpunbError as err:
            missing += 1
            again = typed("sync", f"{session.name}:{source}", target) + " tries again"
            context.say((f"not fetched: {path}: {err.message}", "bad"), (again, "dim"))
            continue
        missing += bool(report.failed)
        context.say((f"{path}: {transfers.summary(report)}", "warn" if report.failed else "ok"))
    return missing


def _check_folder(folder: str | None) -> None:
    if folder is not None and not Path(folder).is_dir():
        msg = f"run --sync {folder!r} is not a folder here"
        raise BadInput(msg, hint=close_names(Path(folder), folders=True))


def _enter(context: Workspace, session: Session, job: Prepared) -> Inside:
    """Send the folder that the job runs in. A script beside the bound folder runs as where none is bound."""
    wish, here = job.wish, job.wish.here
    bound = places.bound(context.ledger, session) if here is None and wish.folder is None else None
    if bound is not None and job.local is not None and not job.local.resolve().is_relative_to(bound):
        text = (
            f"{job.local} is outside of {bound}, which is bound to {session.name}: it runs in the home folder"
        )
        context.say((text, "warn"))
        return around.Inside()
    return around.enter(context, session, here=here, folder=wish.folder, what="run")


def _inside_project(local: Path | None, start: Path) -> None:
    """Refuse a script outside of the project that --here sends."""
    root = places.root(start)
    if local is not None and not local.resolve().is_relative_to(root):
        msg = f"run: the script {str(local)!r} is outside of the project {str(root)!r}"
        raise BadInput(msg, hint="type it in the script's own project, or leave --here out")


def _sent_script(context: Workspace, session: Session, job: Prepared, inside: Inside) -> str:
    """Send a local script, unless a synced folder holds it; returns its path for the job."""
    words, local, wish = job.wish.words, job.local, job.wish
    if wish.there:
        return wish.there
    if local is None:
        return words[0].removeprefix(":") if words else ""
    if inside.project is not None:
        from os.path import relpath

        send_left_out(context, session, local, inside.project.root, inside.top)
        here = PurePosixPath(relpath(local.resolve(), inside.project.root))
        there = PurePosixPath(context.agent(session).info.home, inside.top, here)
        return str(there) if wish.cwd is not None else relpath(PurePosixPath(inside.top, here), inside.cwd)
    target = _target(local, wish.folder)
    if wish.folder is not None:
        send_left_out(context, session, local, Path(wish.folder), inside.top)
    else:
        transfers.send(context, session, str(local), target, f"run: {local}")
        if wish.cwd is not None:
            target = f"{context.agent(session).info.home}/{target}"
    return target


def send_left_out(context: Workspace, session: Session, local: Path | None, top: Path, place: str) -> None:
    """Send the script to its place in the folder `top`, whose rules left it out: it was named."""
    if local is None or not (local := local.resolve()).is_relative_to(top := top.resolve()):
        return
    if places.is_left_out(top, local):
        inside = local.relative_to(top).as_posix()
        transfers.send(context, session, str(local), f"{place}/{inside}", f"run: {local}")


def _argv(what: str, runner: list[str], target: str, wish: JobWish) -> list[str] | None:
    if what == "script":
        return [*runner, target, *wish.words[1:]]
    return [*runner, "-m", str(wish.module), *wish.words] if what == "module" else None


def _policy(text: str) -> None:
    from gpunb.agent.shared import restart_policy

    try:
        restart_policy.parse(text)
    except ValueError as err:
        msg = f"run --{err}"
        raise BadInput(msg, hint="--restart on-lost for a spot machine") from err


def _notebook(wish: JobWish, local: Path | None) -> bytes | None:
    """The prepared notebook to send; None if the target is not a notebook."""
    words = wish.words
    given = next(
        (
            word
            for word, on in (("-p", [*wish.values, *wish.parameters]), ("-r", wish.raw), ("-o", wish.output))
            if on
        ),
        None,
    )
    if not words or PurePosixPath(words[0]).suffix != ".ipynb":
        if given:
            msg = f"run {given} is for notebooks, and {[*words, 'this'][0]!r} is none"
            raise BadInput(msg, hint="a script's own arguments come after --")
        return None
    if local is None:
        msg = f"run {words[0]!r}: a notebook is sent from this machine, with its parameters in it"
        raise BadInput(msg, hint="bring it here first with " + typed("sync"))
    if words[1:]:
        msg = f"run {words[0]!r} takes no arguments ({words[1]!r}); a notebook has parameters"
        raise BadInput(msg, hint=typed("run", words[0], "-p", "NAME", "VALUE"))
    return notebook_jobs.prepare(local, notebook_jobs.parameters(wish.values, wish.raw, wish.parameters))


def _what(words: Sequence[str], module: str | None, shell_line: str | None) -> str:
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
    raise BadInput(msg, hint=close_names(path) or f"write :{given} if it is on the host already")


def _runner(what: str, python: str, target: str, local: Path | None) -> list[str]:
    """The interpreter: the host's Python, the one in a script's first line, or a shell for a ``.sh``."""
    first = b""
    if what != "script":
        return [python, "-u"]
    if local is not None:
        with local.open("rb") as file:
            first = file.readline(1000)
    if first.startswith(b"#!") and b"python" not in first and b"gpunb" not in first:
        path, _, argument = first[2:].decode("utf-8", "replace").strip().partition(" ")
        if path:
            named = shlex.split(argument.removeprefix("-S ")) if path.endswith("/env") else [argument.strip()]
            return [path, *(word for word in named if word)]
    shell = PurePosixPath(target).suffix in (".sh", ".bash") and not first.startswith(b"#!")
    return ["/bin/sh", "-c", _SHELL] if shell else [python, "-u"]


def close_names(path: Path, *, folders: bool = False) -> str | None:
    """A hint with files (or folders) whose names are like that of `path`, which is not there."""
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

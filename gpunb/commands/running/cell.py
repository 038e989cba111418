"""``cell``: run code in the session's kernel from a terminal."""

from __future__ import annotations

import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import completers
from gpunb.cli.command import DURATION, no_use, verb
from gpunb.commands.parts import on_all, run_options
from gpunb.errors import BadInput, RemoteCellError
from gpunb.hints import typed, written
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.cli.context import Context
    from gpunb.output import Sink
    from gpunb.services.ranks.members import Member, Members

__all__ = ["command"]

FOLDER = "figures"
INTERRUPTED = 130


@verb(
    "cell",
    session=True,
    example='cell -c "x = 21"\ncell -c "x * 2"\ncell demo -f plot.py --figures out\ncell -f - --json\n'
    "cell -s team --rank 0,2-3 -f train.py",
)
@click.option("-c", "code", metavar="CODE", help="The code.")
@click.option(
    "-f",
    "--file",
    type=click.Path(allow_dash=True),
    help="Take the code from a file of this machine; - is standard input.",
)
@click.option(
    "--figures",
    metavar="DIR",
    type=click.Path(file_okay=False),
    shell_complete=completers.folders,
    help=f"Where pictures are written. [default: {FOLDER}]",
)
@click.option("--timeout", type=DURATION, metavar="TIME", help="Interrupt it after so long: 90s, 10m.")
@run_options.SECRET
@click.option("--name", default="", metavar="TEXT", help="What to call the run in lists.")
@click.option("-d", "--detach", is_flag=True, help="Start it and return its id.")
@on_all.rank
@on_all.keep_going
def command(
    context: Context,
    *,
    code: str | None,
    file: str | None,
    figures: str | None,
    timeout: float | None,
    secret_names: tuple[str, ...],
    name: str,
    detach: bool,
    rank: str | None,
    keep_going: bool,
    session: str | None,
) -> Result:
    """Run code in the session's kernel, the one of the notebook's cells: variables live on.

    What it prints comes as it is printed; the value of its last line is shown. Pictures become
    files, named on stderr. With --json: all outputs with all their MIME types. If it raises, the
    exit code is 1. Ctrl-C interrupts it; it goes on if this terminal goes away, and `attach` shows it.

    On a group it runs on all members: equal lines are shown once, as [0-3], and each kernel has GPUNB_RANK
    and GPUNB_SIZE. The first rank that fails interrupts the others.
    """
    from gpunb.output.figures import Figures
    from gpunb.output.kept import KeptOutputs
    from gpunb.services.running import cells, run_secrets

    if detach:
        no_use("--detach", "figures")
    body = _given(context, code, file)
    members = on_all.find(context, session, rank, "cell", **{"--keep-going": keep_going})
    if members is not None:
        if detach:
            no_use(f"-s {members.name}", "detach")
        body = body or _whole(sys.stdin.read, "standard input")
        return _on_all(
            context,
            members,
            body,
            keep_going=keep_going,
            name=name,
            timeout=timeout,
            secrets=on_all.secrets(context, members, secret_names),
            figures=figures,
        )
    found = context.session(session)
    body = body or _whole(sys.stdin.read, "standard input")
    options: dict[str, Any] = {
        "name": name,
        "timeout": timeout,
        "secrets": run_secrets.collect(context, found, secret_names),
    }
    if detach:
        info = cells.let_go(context, cells.start(context, found, body, stdin=True, **options))
        doing = "waits" if info.state == "queued" else "runs"
        text = f"cell {info.id} {doing} on {found.name}; " + typed("attach", info.id) + " shows its output"
        return Result({"run": info.id, "session": found.name, "state": info.state}, Note(text))
    plain = context.frontend == "terminal" and not context.as_json
    pictures: list[Figures] = []
    kept: list[KeptOutputs] = []
    data: dict[str, Any] = {"session": found.name}

    def sink(run_id: str) -> Sink:
        data["run"] = run_id
        shown: Sink = context.sink(run_id)
        if figures is not None or plain:
            pictures.append(Figures(shown, Path(figures or FOLDER), run_id))
            shown = pictures[0]
        if context.as_json:
            kept.append(KeptOutputs(shown))
            shown = kept[0]
        return shown

    state, exit_code = "error", 1
    try:
        state, exit_code = cells.run(context, found, body, sink, stdin=context.can_ask, **options).state, 0
    except RemoteCellError as err:
        if context.frontend != "terminal":
            raise
        if err.ename == "KeyboardInterrupt":
            exit_code = INTERRUPTED
        if err.hint:
            context.tell(Note(f"next: {written(err.hint, context.frontend)}"))
    data |= {"state": state, "exit_code": exit_code}
    data["figures"] = [str(path) for picture in pictures for path in picture.files]
    for outputs in kept:
        data |= {"stdout": outputs.text("stdout"), "stderr": outputs.text("stderr"), "outputs": outputs.made}
    return Result(data, exit_code=exit_code)


def _on_all(
    context: Context,
    members: Members,
    body: str,
    *,
    keep_going: bool,
    name: str,
    timeout: float | None,
    secrets: dict[str, str],
    figures: str | None,
) -> Result:
    """Run the code on all members of a group."""
    from gpunb.output.figures import Figures
    from gpunb.output.kept import KeptOutputs
    from gpunb.services.ranks import cells
    from gpunb.services.running.cells import tell_failure

    plain = context.frontend == "terminal" and not context.as_json
    kept: dict[int, KeptOutputs] = {}
    pictures: list[Figures] = []
    data: dict[str, Any] = {"group": members.name}
    ran: dict[int, dict[str, Any]] = {}

    def sink(member: Member, run_id: str, shown: Sink) -> Sink:
        ran[member.rank] = {"rank": member.rank, "session": member.session.name, "run": run_id}
        if figures is not None or plain:
            pictures.append(Figures(shown, Path(figures or FOLDER), run_id))
            shown = pictures[-1]
        if context.as_json:
            shown = kept[member.rank] = KeptOutputs(shown)
        return shown

    screen = on_all.screen(context, members)
    about: dict[str, Any] = {"name": name, "timeout": timeout, "secrets": secrets, "stdin": context.can_ask}
    exit_code = 1
    try:
        cells.run(context, members, body, screen, keep_going=keep_going, sink=sink, **about)
        exit_code = 0
    except RemoteCellError as err:
        if context.frontend != "terminal":
            raise
        tell_failure(screen.inner, err)
        if err.ename == "KeyboardInterrupt":
            exit_code = INTERRUPTED
        if err.hint:
            context.tell(Note(f"next: {written(err.hint, context.frontend)}"))
    for rank, outputs in kept.items():
        words = {stream: outputs.text(stream) for stream in ("stdout", "stderr")}
        ran[rank] |= {**words, "outputs": outputs.made}
    data |= {"exit_code": exit_code, "members": list(ran.values())}
    data["figures"] = [str(path) for picture in pictures for path in picture.files]
    return Result(data, exit_code=exit_code)


def _given(context: Context, code: str | None, file: str | None) -> str:
    """The code of -c or -f; "" if it is to be read from standard input.

    Raises
    ------
    BadInput
        There is none, there are two, or it is no text.
    """
    if code is not None and file is not None:
        msg = "cell takes one of -c and -f; both were given"
        raise BadInput(msg)
    if code is not None:
        return _whole(lambda: code, "-c")
    if file is None and (context.frontend != "terminal" or sys.stdin.isatty()):
        msg = "cell needs code: -c CODE, -f FILE, or text on standard input"
        raise BadInput(msg, hint=typed("cell", "-c", "print(1)") + "; in a notebook %%gpu runs a cell")
    if file is None or file == "-":
        return ""
    if Path(file).suffix == ".ipynb":
        msg = f"cell -f {file!r} is a notebook, not a file of Python"
        raise BadInput(msg, hint=typed("run", file) + " runs a notebook")
    return _whole(lambda: _read(file), repr(file))


def _whole(read: Callable[[], str], where: str) -> str:
    try:
        code = read()
    except (OSError, SyntaxError, UnicodeError) as err:
        why = err.strerror if isinstance(err, OSError) else "it is not text in its encoding"
        msg = f"cell: the code of {where} can't be read: {why}"
        raise BadInput(msg) from err
    if not code.strip():
        msg = f"cell: {where} has no code"
        raise BadInput(msg)
    return code


def _read(file: str) -> str:
    with tokenize.open(file) as text:  # in the encoding that its first lines declare
        return text.read()

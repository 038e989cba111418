"""``cell``: run code in the session's kernel from a terminal."""

from __future__ import annotations

import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import completers
from gpunb.cli.command import DURATION, no_use, verb
from gpunb.commands.parts import run_options
from gpunb.errors import BadInput, RemoteCellError
from gpunb.hints import typed, written
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.cli.context import Context
    from gpunb.output import Sink

__all__ = ["command"]

FOLDER = "figures"
INTERRUPTED = 130


@verb(
    "cell",
    session=True,
    example='cell -c "x = 21"\ncell -c "x * 2"\ncell demo -f plot.py --figures out\ncell -f - --json',
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
    session: str | None,
) -> Result:
    """Run code in the session's kernel, the one of the notebook's cells: variables live on.

    What it prints comes as it is printed; the value of its last line is shown. Pictures become
    files, named on stderr. With --json: all outputs with all their MIME types. If it raises, the
    exit code is 1. Ctrl-C interrupts it; it goes on if this terminal goes away, and `attach` shows it.
    """
    from gpunb.output.figures import Figures
    from gpunb.output.kept import KeptOutputs
    from gpunb.services.running import cells, run_secrets

    if detach:
        no_use("--detach", "figures")
    body = _given(context, code, file)
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

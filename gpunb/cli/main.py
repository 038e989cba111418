"""The command line's grammar: ``gpunb VERB …`` and ``%gpu VERB …`` both go through `invoke`.

A verb's module is imported when it is called, so that ``ps`` stays quick.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from gpunb import __version__, log, paths
from gpunb.cli.context import Context
from gpunb.cli.failures import about, code_of, for_frontend, say_bill, usage_error
from gpunb.cli.registry import RENAMED, VERBS, LazyGroup, load, spelled, split
from gpunb.errors import BadInput, Cancelled, GpunbError
from gpunb.hints import typed
from gpunb.presentation.result import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.hints import Frontend

__all__ = ["cli", "invoke", "main", "run", "words"]

MESSAGE_MAX = 4_000
PIPE_WIDTH = 1_000


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("-v", "--verbose", count=True, help="Verbose (-vv: debug).")
@click.version_option(__version__, prog_name="gpunb")
@click.pass_context
def cli(ctx: click.Context, verbose: int) -> Result | None:
    """A rented GPU that feels like part of the notebook. Without a verb: the sessions and their cost."""
    context: Context = ctx.obj
    context.verbosity += verbose
    if ctx.invoked_subcommand is None:
        command = load("ps")
        made = command.make_context("ps", [], parent=ctx)
        result: Result = command.invoke(made)
        return result
    return None


def invoke(
    line: str | Sequence[str],
    frontend: Frontend = "notebook",
    shell: Any = None,
    *,
    door: Frontend | None = None,
) -> Result:
    """Run one line of the grammar.

    Parameters
    ----------
    line
        Without ``gpunb`` or ``%gpu``: ``"rent --gpu H100"``, or its words.
    frontend
        "terminal" or "notebook".
    shell
        The notebook's IPython shell.
    door
        The old name of `frontend`, for one version.

    Returns
    -------
    Result
        Not shown yet. Help and versions are printed and give an empty result.

    Raises
    ------
    GpunbError
        The expected failures; `BadInput` for a line outside the grammar.
    """
    with Context(door or frontend, shell) as context:
        return _invoke(words(line), context)


def words(line: str | Sequence[str]) -> list[str]:
    """Split `line` as a shell would.

    Raises
    ------
    BadInput
        A quote is not closed.
    """
    if not isinstance(line, str):
        return list(line)
    try:
        return shlex.split(line)
    except ValueError as err:
        msg = f"the line {line!r} can't be split into words: {str(err).lower()}"
        raise BadInput(msg, hint='close the quote, or write \\" for one that is meant') from err


# these verbs show the end of a lease themselves, or change it
_SILENT = frozenset({"ps", "show", "rent", "extend", "down", "panel", "supervise", "completion"})

# these verbs watch themselves, or print lines for another program
_UNWATCHED = frozenset({"supervise", "completion"})

# older clicks print the help themselves
_NAMELESS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


def _invoke(args: list[str], context: Context) -> Result:
    name = "%gpu" if context.frontend == "notebook" else "gpunb"
    _tell_new_name(args, context)
    if len(args) == 2 and args[0] == "help" and (told := _explained(args[1])) is not None:
        return told
    args = spelled(args)
    verb, _ = split(args)
    try:
        with cli.make_context(name, list(args), obj=context) as ctx:
            found = cli.invoke(ctx)
    except click.exceptions.Exit as err:
        return Result(exit_code=err.exit_code)
    except _NAMELESS as err:
        click.echo(err.ctx.get_help())  # a verb with verbs of its own, and none was named
        return Result(exit_code=2 if context.frontend == "terminal" else 0)
    except click.Abort as err:
        raise KeyboardInterrupt from err
    except click.ClickException as err:
        refused = usage_error(err, f"{name} {verb}".strip())
        say_bill(refused, args, context)
        raise refused from err
    except GpunbError as err:
        for_frontend(err, args, context)
        raise
    finally:
        if args and args[0] not in _UNWATCHED and context.opened is not None:
            context.watch()  # sessions that a failed verb left are watched, too
    if args and args[0] not in _SILENT:
        from gpunb.services import lease_warnings

        lease_warnings.tell(context)
    return found if isinstance(found, Result) else Result(found)


def _explained(word: str) -> Result | None:
    """Show what the error code `word` means; a verb's name is none."""
    if word.lower() in VERBS or (text := about(word)) is None:
        return None
    from gpunb.presentation.result import Code

    return Result(None, Code(text))


def _as_json(args: Sequence[str]) -> bool:
    return "--json" in (args[: args.index("--")] if "--" in args else args)


def _tell_new_name(args: Sequence[str], context: Context) -> None:
    """Name the new spelling of a verb of version 0.1.0."""
    new = RENAMED.get(args[0]) if args else None
    if new and not _as_json(args):
        from gpunb.presentation.result import Note

        old = typed(args[0]).at(context.frontend)
        text = f"{old} is {typed(new).at(context.frontend)} now; the old name goes soon"
        context.tell(Note(text, "dim"))


def main(args: Sequence[str] | None = None) -> None:
    """The ``gpunb`` command: run, show, exit with the result's code."""
    sys.exit(run(list(sys.argv[1:] if args is None else args)))


def run(args: list[str]) -> int:
    """As `main`, returning the exit code."""
    if os.environ.get("_GPUNB_COMPLETE"):
        cli.main(
            args,
            prog_name="gpunb",
            complete_var="_GPUNB_COMPLETE",
            standalone_mode=True,
            obj=Context("terminal"),
        )
    as_json = _as_json(args)
    context = Context("terminal")
    try:
        with context:
            result = _invoke(args, context)
        _show(result)
    except GpunbError as err:
        _show_error(err, as_json=as_json)
        return 130 if isinstance(err, Cancelled) else err.exit_code
    except KeyboardInterrupt:
        _say("\ninterrupted" if sys.stderr.isatty() else "interrupted")  # the terminal has shown ^C
        return 130
    except BrokenPipeError:
        # the reader closed the pipe (`gpunb ps | head`): not an error, and stdout must not be flushed again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as err:
        log.setup(context.verbosity)
        log.get(__name__).exception("unexpected failure in gpunb %s", shlex.join(args))
        if context.verbosity:
            raise
        _say(f"error: unexpected {type(err).__name__}: {log.redact(str(err))}")
        _say(f"next: the traceback is in {paths.log_file()}; " + typed("ps") + " shows what is rented")
        return 70
    return result.exit_code


def _show(result: Result) -> None:
    if result.as_json:
        print(result.json())  # noqa: T201
        if result.warnings:  # an empty list says nothing of the cloud that did not answer
            from rich.console import Console

            sys.stdout.flush()
            Console(stderr=True).print(Result(None, *result.warnings))
    elif result.blocks and not _show_plainly(result):
        from rich.console import Console

        console = Console(soft_wrap=not sys.stdout.isatty())
        if not sys.stdout.isatty():
            console.width = PIPE_WIDTH  # a pipe has no width: no column is dropped
        console.print(result)
    sys.stdout.flush()


# what makes rich take another width, other colours or none at all
RICH_ASKS = (
    "COLUMNS", "FORCE_COLOR", "JUPYTER_COLUMNS", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
)  # fmt: skip


def _show_plainly(result: Result) -> bool:
    """Print a result that is simple enough without rich, whose import takes longer than most verbs."""
    out = sys.stdout
    if os.name != "posix" or any(name in os.environ for name in RICH_ASKS):
        return False
    if not (getattr(out, "encoding", None) or "").lower().startswith("utf"):
        return False
    colour = out.isatty()
    width = PIPE_WIDTH
    if colour:
        if os.environ.get("TERM", "dumb").lower() in {"dumb", "unknown"}:
            return False
        try:
            width = os.get_terminal_size(out.fileno()).columns
        except OSError:
            return False
    lines = result.lines(width, colour=colour) if width else None
    if lines is None:
        return False
    out.write("".join(f"{line}\n" for line in lines))
    return True


def _show_error(err: GpunbError, *, as_json: bool) -> None:
    from gpunb.presentation.result import to_json
    from gpunb.text import clean

    log.get(__name__).info("%s: %s", type(err).__name__, err)
    if as_json:
        shown = {"type": type(err).__name__, "message": err.message, "bill": err.bill, "next": err.hint}
        print(to_json({"error": shown}))  # noqa: T201
        return
    first, *rest = err.lines()
    # bad input may point at a character: the caret stands under it on a line of its own
    keep = isinstance(err, BadInput) and len(first) < MESSAGE_MAX
    _say(f"error: {clean(first, lines=keep)}")
    for line in rest:
        _say(clean(line))
    code = code_of(err) if sys.stderr.isatty() else None
    if code:
        _say(f"more: gpunb help {code}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201

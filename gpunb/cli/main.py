"""The command line's grammar: ``gpunb VERB …`` and ``%gpu VERB …`` both go through `invoke`.

A verb's module is imported when it is called, so that ``ps`` stays quick.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from gpunb import __version__, log, paths
from gpunb.cli.context import Context, Door
from gpunb.errors import (
    BadInput,
    Cancelled,
    ConfirmationNeeded,
    GpunbError,
    SessionAmbiguous,
    SessionNotFound,
    SessionOver,
)
from gpunb.hints import typed, written
from gpunb.presentation.result import Result
from gpunb.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

__all__ = [
    "ALIASES",
    "GROUPS",
    "VERBS",
    "cli",
    "for_door",
    "invoke",
    "main",
    "module_name",
    "run",
    "usage_error",
    "words",
]

MESSAGE_MAX = 4_000
PIPE_WIDTH = 1_000

# group -> verb -> what it does; the module is gpunb.commands.<FOLDERS[group]>.<verb>
GROUPS: dict[str, dict[str, str]] = {
    "Rent": {
        "offers": "Find machines that can be rented now, best first.",
        "rent": "Rent a machine and make it ready for cells.",
        "extend": "Give a session more time, idle time or money.",
        "stop": "Stop a session and keep its disk.",
        "start": "Start a stopped session.",
        "reboot": "Restart a session's machine; its disk stays.",
        "update": "Change the image, variables or start command of a container.",
        "snapshot": "Push a machine's container to your registry as an image.",
        "rename": "Give a session another name.",
        "bid": "Change the bid for an interruptible machine.",
        "prepay": "Pay for a machine in advance, for a discount.",
        "increases": "Show, accept or refuse price increases that hosts ask for.",
        "volumes": "Show disks that outlive machines, and delete them.",
        "down": "End sessions for good, and get a receipt.",
    },
    "Run": {
        "on": "Run all cells of the notebook on the host.",
        "off": "Run cells here again.",
        "run": "Run a script on the host as a job.",
        "exec": "Run one command on the host and wait for it.",
        "jobs": "List the host's jobs.",
        "runs": "List the cells and jobs that were run.",
        "logs": "Print a run's output.",
        "attach": "Play a run's output from its first line and follow it.",
        "replay": "Show a run's output again.",
        "export": "Write a notebook from what was run.",
        "cancel": "End a run.",
        "restart": "Give the host a new kernel.",
        "put": "Send variables of the notebook to the host.",
        "get": "Bring variables of the host into the notebook.",
        "pip": "Install packages in the host's Python.",
    },
    "Files and ports": {
        "sync": "Copy files to the host or back.",
        "forward": "Forward a port of the host to this machine.",
        "ssh": "Open a shell on the host.",
    },
    "Watch": {
        "ps": "Show the sessions, what they run and what they cost.",
        "show": "Show everything known about one session.",
        "top": "Show the host's load, live.",
        "panel": "Show all sessions, live, with what they cost.",
        "cost": "Show what was spent, by session, day, cloud or run.",
        "receipts": "List the receipts of ended sessions, or show one.",
    },
    "Account": {
        "login": "Check a cloud's key and keep it.",
        "logout": "Forget a cloud's key.",
        "keys": "Show your keys at the clouds, and revoke one.",
        "variables": "Show and set what a cloud gives every container of yours.",
        "trust": "Show or set how far a session's host is trusted.",
        "doctor": "Check the installation, the clouds' keys and the ledger.",
        "config": "Show each setting and where it comes from.",
        "supervise": "Watch leases until the last session has ended.",
        "completion": "Print the lines that make your shell complete gpunb.",
    },
}
#: The verbs that ``gpunb -h`` explains; it names the others.
SHOWN = frozenset([
    "offers", "rent", "extend", "stop", "start", "down", "on", "run", "exec", "runs", "logs", "cancel",
    "sync", "forward", "ssh", "ps", "show", "top", "cost", "login", "doctor",
])  # fmt: skip
WIDEST = max(map(len, SHOWN))
FOLDERS = {
    "Rent": "renting",
    "Run": "running",
    "Files and ports": "files",
    "Watch": "watching",
    "Account": "account",
}
VERBS: dict[str, str] = {verb: text for verbs in GROUPS.values() for verb, text in verbs.items()}
#: Aliases known from other tools.
ALIASES = {
    "ls": "ps",
    "list": "ps",
    "status": "ps",
    "terminate": "down",
    "destroy": "down",
    "search": "offers",
}


@cache
def further_verbs() -> dict[str, EntryPoint]:
    """Verbs of other packages: the entry-point group ``gpunb.verbs``, not imported yet."""
    from importlib.metadata import entry_points

    return {found.name: found for found in entry_points(group="gpunb.verbs") if found.name not in VERBS}


def module_name(verb: str) -> str:
    """The module of the verb called `verb`, one of `VERBS`."""
    group = next(group for group, verbs in GROUPS.items() if verb in verbs)
    return f"gpunb.commands.{FOLDERS[group]}.{verb}"


class LazyGroup(click.Group):
    """A group whose commands are modules, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """List the verbs in the order of a rental, then those of other packages."""
        return [*VERBS, *sorted(further_verbs())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the verb called `cmd_name`, or None."""
        found: click.Command
        if cmd_name in VERBS:
            found = importlib.import_module(module_name(cmd_name)).command
            return found
        outside = further_verbs().get(cmd_name)
        if outside is None:
            return None
        try:
            found = outside.load()
        except ImportError as err:
            extra = f"[{cmd_name}]" if outside.value.startswith("gpunb.") else ""
            name = outside.dist.name if outside.dist else "gpunb"
            msg = f"the verb {cmd_name!r} can't be loaded: {err}"
            raise BadInput(msg, hint=f"pip install '{name}{extra}'") from err
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does, with a suggestion for a misspelt verb."""
        name = args[0]
        known = name in VERBS or name in further_verbs()
        if not known and not ctx.resilient_parsing and not name.startswith("-"):
            msg = f"there is no verb {name!r}"
            hint = did_you_mean(name, self.list_commands(ctx))
            if name in {"kill", "end", "delete"}:
                hint = f"{ctx.info_name} down ends a session, {ctx.info_name} cancel a run"
            raise BadInput(msg, hint=hint or f"{ctx.info_name} -h lists the verbs")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Format the list of verbs without importing them."""
        for group, verbs in GROUPS.items():
            formatter.write(f"{group}:\n")
            rows = [(verb, text) for verb, text in verbs.items() if verb in SHOWN]
            also = [verb for verb in verbs if verb not in SHOWN]
            if group == "Account":
                also += sorted(further_verbs())
            if also:
                rows.append(("also", " ".join(also)))
            formatter.indent()
            formatter.write_dl([(verb.ljust(WIDEST), text) for verb, text in rows])
            formatter.dedent()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Format all options in one line, to leave space for the verbs."""
        formatter.write("\nOptions: -v more in the log (-vv: debug); --version; -h, --help\n\n")
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Format the epilog: where to read more."""
        formatter.write(f"\n{ctx.info_name} VERB -h shows a verb's options and an example.\n")


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("-v", "--verbose", count=True, help="Verbose (-vv: debug).")
@click.version_option(__version__, prog_name="gpunb")
@click.pass_context
def cli(ctx: click.Context, verbose: int) -> Result | None:
    """A rented GPU that feels like part of the notebook.

    Without a verb: the sessions and what they cost.
    """
    context: Context = ctx.obj
    context.verbosity += verbose
    if ctx.invoked_subcommand is None:
        command = cli.get_command(ctx, "ps")
        assert command is not None  # noqa: S101 - it is one of VERBS
        made = command.make_context("ps", [], parent=ctx)
        result: Result = command.invoke(made)
        return result
    return None


def invoke(line: str | Sequence[str], door: Door = "notebook", shell: Any = None) -> Result:
    """Run one line of the grammar.

    Parameters
    ----------
    line
        Without ``gpunb`` or ``%gpu``: ``"rent --gpu H100"``, or its words.
    door
        "terminal" or "notebook".
    shell
        The notebook's IPython shell.

    Returns
    -------
    Result
        Not shown yet. Help and versions are printed and give an empty result.

    Raises
    ------
    GpunbError
        The expected failures; `BadInput` for a line outside the grammar.
    """
    with Context(door, shell) as context:
        return _invoke(words(line), context)


_ENDING = frozenset({"down", "stop"})


def for_door(err: GpunbError, args: Sequence[str], context: Context) -> None:
    """Write the error's hint for the frontend: the whole line where a session must be named."""
    if isinstance(err, SessionAmbiguous) and args and not err.asked:
        verb, *rest = args
        name = err.proposed or "NAME"
        named = ["-s", name, *rest] if _has_session_option(verb) else [name, *rest]
        which = f", NAME being {' or '.join(err.close[:4])}" if not err.proposed and err.close else ""
        err.hint = typed(verb, *named) + which
    elif isinstance(err, (SessionNotFound, SessionOver)) and len(err.close) == 1 and err.asked:
        meant = [_instead(word, err.asked, err.close[0]) for word in args]
        if meant != list(args):
            err.hint = typed(meant[0], *meant[1:]) + f", if {err.close[0]} is meant"
    elif isinstance(err, SessionNotFound) and args and args[0] in _ENDING and not err.close:
        err.hint = "nothing is rented from here; " + typed("doctor") + " asks the clouds what else runs"
    elif isinstance(err, ConfirmationNeeded) and err.question and args:
        end = list(args).index("--") if "--" in args else len(args)
        err.hint = typed(args[0], *args[1:end], "--yes", *args[end:]) + " says yes beforehand"
    _say_bill(err, args, context)
    if err.hint is not None:
        err.hint = written(err.hint, context.door)


#: Errors that a verb raises before it has done anything.
_REFUSALS = (BadInput, SessionNotFound, SessionAmbiguous)


def _say_bill(err: GpunbError, args: Sequence[str], context: Context) -> None:
    """Set what `err` means for the bill, if the verb could affect one or a machine runs on."""
    name = next((word for word in args if not word.startswith("-")), "")
    if name and name not in VERBS:
        return  # another package's verb states its own
    undone = getattr(_verb(name), "undone", "")
    if not undone and not err.runs_on:
        err.bill = None
    elif undone and err.bill is None and not context.agreed and isinstance(err, _REFUSALS):
        err.bill = undone


def _verb(name: str) -> click.Command | None:
    return cli.get_command(click.Context(cli), name) if name in VERBS else None


def _has_session_option(verb: str) -> bool:
    params = getattr(_verb(verb), "params", ())
    return any("--session" in one.opts and not getattr(one, "hidden", False) for one in params)


def _instead(word: str, asked: str, name: str) -> str:
    """Replace the session `asked` by `name` in `word`, also in ``SESSION:path`` and ``--session=SESSION``."""
    if word == asked:
        return name
    if word.startswith(f"{asked}:"):
        return name + word[len(asked) :]
    return f"--session={name}" if word == f"--session={asked}" else word


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
    name = "%gpu" if context.door == "notebook" else "gpunb"
    args = _spelled(args)
    try:
        with cli.make_context(name, list(args), obj=context) as ctx:
            found = cli.invoke(ctx)
    except click.exceptions.Exit as err:
        return Result(exit_code=err.exit_code)
    except _NAMELESS as err:
        click.echo(err.ctx.get_help())  # a verb with verbs of its own, and none was named
        return Result(exit_code=2 if context.door == "terminal" else 0)
    except click.Abort as err:
        raise KeyboardInterrupt from err
    except click.ClickException as err:
        verb = f" {args[0]}" if args and args[0] in VERBS else ""
        refused = usage_error(err, name + verb)
        _say_bill(refused, args, context)
        raise refused from err
    except GpunbError as err:
        for_door(err, args, context)
        raise
    finally:
        if args and args[0] not in _UNWATCHED and context.opened is not None:
            context.watch()  # sessions that a failed verb left are watched, too
    if args and args[0] not in _SILENT:
        from gpunb.services import lease_warnings

        lease_warnings.tell(context)
    return found if isinstance(found, Result) else Result(found)


def _spelled(args: list[str]) -> list[str]:
    """Resolve aliases in `args`, and turn ``help VERB`` and ``version`` into options."""
    if not args:
        return args
    first, *rest = args
    if first == "help":
        return [*rest[:1], "--help"]
    if first == "version" and not rest:
        return ["--version"]
    return [ALIASES.get(first, first), *rest]


_EXTRA = re.compile(r"Got unexpected extra arguments? \((.*)\)$")


def _too_many(found: re.Match[str]) -> str:
    return f"{found[1]} is more than it takes"


def usage_error(err: click.ClickException, door: str) -> BadInput:
    """Convert click's usage error to our own error with a hint."""
    ctx = getattr(err, "ctx", None)
    where = ctx.command_path if ctx is not None else door
    hint: str | None = None
    if isinstance(err, click.NoSuchOption):
        params = ctx.command.params if ctx is not None else []
        options = [name for param in params for name in param.opts if name.startswith("--")]
        message = f"{where}: there is no option {err.option_name}"
        own = bool(getattr(ctx.command, "own_words", False)) if ctx is not None else False
        hint = did_you_mean(err.option_name, [*options, "--help"], cutoff=0.8 if own else 0.5)
        if own and hint is None:
            hint = f"the script's own arguments come after --: {where} SCRIPT -- {err.option_name} …"
    elif isinstance(err, click.BadParameter) and err.param is not None:
        called = max(err.param.opts, key=len)
        said = err.format_message().split(": ", 1)[-1].rstrip(".")
        said = re.sub(r"is not a valid integer( range)?$", "is not a whole number", said)
        message = f"{where}: {called}: {said}"
        if isinstance(err, click.MissingParameter):
            message = f"{where}: {err.param.make_metavar(ctx) if ctx else called} is missing"
    else:
        said = err.format_message().rstrip(".")
        message = f"{where}: {_EXTRA.sub(_too_many, said)}"
    return BadInput(message, hint=hint or f"{where} -h shows how it is used")


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
    as_json = "--json" in (args[: args.index("--")] if "--" in args else args)
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
    elif result.blocks:
        from rich.console import Console

        console = Console(soft_wrap=not sys.stdout.isatty())
        if not sys.stdout.isatty():
            console.width = PIPE_WIDTH  # a pipe has no width: no column is dropped
        console.print(result)
    sys.stdout.flush()


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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201

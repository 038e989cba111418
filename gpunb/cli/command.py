"""The decorator that declares a verb, with the options that all verbs share.

A verb is a click command whose callback takes the `Context` first and returns
a `Result`. Every verb has ``-h`` with an example, ``--json`` and ``-v``.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import click

from gpunb import units
from gpunb.cli.first_word import session_first
from gpunb.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from gpunb.cli.context import Context
    from gpunb.cli.first_word import FirstWord
    from gpunb.presentation.result import Result

__all__ = [
    "DURATION",
    "MONEY",
    "SESSION_OPTION",
    "CloudOption",
    "OrNever",
    "Verb",
    "complete_runs",
    "complete_sessions",
    "no_use",
    "verb",
]


if TYPE_CHECKING:
    _ParamType = click.ParamType[float]
else:  # generic in newer clicks only
    _ParamType = click.ParamType


class _Duration(_ParamType):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        try:
            return units.duration(value)
        except ValueError as err:
            self.fail(str(err), param, ctx)


class _Money(_ParamType):
    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        try:
            return units.money(value)
        except ValueError as err:
            self.fail(str(err), param, ctx)


class OrNever(_ParamType):
    """A parameter type: a time or an amount, or the word for no limit."""

    def __init__(self, inner: _ParamType, word: str) -> None:
        self.inner, self.word = inner, word
        self.name = inner.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert to a number, or infinity."""
        return math.inf if value == self.word else self.inner.convert(value, param, ctx)


DURATION = _Duration()
MONEY = _Money()


def _items(texts: list[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(text, help=about) for text, about in texts if text.startswith(incomplete)]


def complete_sessions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete names of live sessions, from the ledger."""
    from gpunb.cli.context import known_sessions

    return _items(
        [(session.name, f"{session.state.value} {session.provider}") for session in known_sessions()],
        incomplete,
    )


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete ids of the newest runs, from the ledger."""
    from gpunb.cli.context import known_runs

    return _items([(run.id, f"{run.kind} {run.name} {run.state}") for run in known_runs()], incomplete)


SESSION_OPTION = click.Option(
    ["-s", "--session"],
    metavar="SESSION",
    shell_complete=complete_sessions,
    help="Session name (optional if only one is running).",
)


YES_OPTION = click.Option(
    ["-y", "--yes"], is_flag=True, help="Skip the question; needed where no question can be asked."
)


class CloudOption(click.Option):
    """An option that only some clouds can do; its help says which."""


class Verb(click.Command):
    """A click command with an example under its help, whose first argument may be its session.

    Attributes
    ----------
    reads
        Whether it changes nothing: only then a prefix of a session's name is accepted.
    asks
        Whether it costs or ends something, so that it asks first and has ``--yes``.
    watches
        Whether it makes sure that a supervisor watches the leases.
    undone
        The statement on the bill if it is refused; "" if it can't affect a bill.
    rewrite
        Changes the words before they are parsed, where the grammar of options does not say it all.
    """

    def __init__(
        self,
        *args: Any,
        example: str = "",
        reads: bool = False,
        asks: bool = False,
        watches: bool = True,
        undone: str = "",
        first: FirstWord | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.example = example
        self.reads = reads
        self.asks = asks
        self.watches = watches
        self.undone = undone
        self.first = first
        self.rewrite: Callable[[list[click.Parameter], list[str]], list[str]] | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does; a session in first place is taken as ``--session``."""
        if self.rewrite is not None and not ctx.resilient_parsing:
            args = self.rewrite(self.params, list(args))
        if self.first is not None and not ctx.resilient_parsing:
            args = session_first(self.first, self.params, ctx, list(args))
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Collect the usage line's parts, with the session in first place."""
        pieces = super().collect_usage_pieces(ctx)
        if self.first not in {None, "never"}:
            pieces.insert(1, "[SESSION --]" if self.first == "dashed" else "[SESSION]")
        return pieces

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete as click does, with session names if the verb has no arguments of its own."""
        items = super().shell_complete(ctx, incomplete)
        if self.first not in {None, "never"} and not incomplete.startswith("-"):
            items += complete_sessions(ctx, SESSION_OPTION, incomplete)
        return items

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Format the options, those of single clouds in a section of their own."""
        general: list[tuple[str, str]] = []
        clouds: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row is not None:
                (clouds if isinstance(param, CloudOption) else general).append(row)
        for title, rows in (("Options", general), ("Options of single clouds", clouds)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Format the example as it is typed in this frontend."""
        frontend = getattr(ctx.obj, "frontend", "terminal")
        lines = self.example.splitlines()
        prefix = "%gpu " if frontend == "notebook" else "gpunb "
        if self.example.startswith("%%"):
            prefix = ""
        with formatter.section("Example" if len(lines) == 1 else "Examples"):
            for line in lines:
                formatter.write(f"{'':{formatter.current_indent}}{prefix}{line}\n")


def verb(
    name: str,
    *,
    example: str,
    session: bool = False,
    words_after: bool = False,
    reads: bool = False,
    asks: bool = False,
    undone: str = "",
    first: FirstWord | None = None,
    watches: bool = True,
) -> Callable[[Callable[..., Result]], Verb]:
    """Declare the verb `name`.

    Parameters
    ----------
    example
        What to type, without ``gpunb`` or ``%gpu``; one line each.
    session
        Whether it takes ``-s/--session``, and its session as its first argument.
    reads
        Whether it changes nothing, neither here nor on the host: only then a prefix of a session's
        name or of a run's id is accepted.
    asks
        Whether it costs or ends something: it has ``-y/--yes``, and calls `Context.confirm`.
    undone
        If it can rent, end, pay or use up something that is billed: the state if it is refused
        ("nothing was rented"). Its errors then say what they mean for the bill. The errors of other verbs
        do so only if a machine goes on, see `GpunbError.runs_on`.
    first
        With `session`: which first argument is one, see `gpunb.cli.first_word`.
    words_after
        Whether everything after the first argument belongs to another program.
    watches
        Whether it makes sure that a supervisor watches the leases; false only for verbs that do that
        themselves, or must print nothing else.
    """

    def wrap(fn: Callable[..., Result]) -> Verb:
        @click.pass_context
        def call(ctx: click.Context, /, **params: Any) -> Result:
            context: Context = ctx.obj
            as_json: bool = params.pop("as_json")
            context.as_json = as_json
            context.reads = reads
            context.verbosity += params.pop("verbose")
            context.start_log()
            if watches:
                context.watch()  # before the work: it may take hours
            result = fn(context, **params)
            result.as_json = as_json
            return result

        params = list(reversed(getattr(fn, "__click_params__", [])))
        if session:
            params.append(SESSION_OPTION)
        if asks:
            params.append(YES_OPTION)
        params.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."))
        params.append(click.Option(["-v", "--verbose"], count=True, help="Verbose (-vv: debug)."))
        settings: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
        if words_after:
            settings["allow_interspersed_args"] = False
        about = inspect.cleandoc(fn.__doc__ or "")
        return Verb(
            name,
            callback=call,
            params=params,
            help=about,
            example=example,
            context_settings=settings,
            reads=reads,
            asks=asks,
            watches=watches,
            undone=undone,
            first=(first or "known") if session else None,
        )

    return wrap


def no_use(mode: str, *names: str) -> None:
    """Refuse the parameters `names` if they were typed: with `mode` they would be ignored silently.

    Raises
    ------
    BadInput
        One was typed.
    """
    ctx = click.get_current_context()
    unset = (None, click.core.ParameterSource.DEFAULT)
    typed = [
        max(param.opts, key=len) if isinstance(param, click.Option) else param.make_metavar(ctx).strip("[].")
        for param in ctx.command.params
        if param.name in names
        and ctx.params.get(param.name)
        and ctx.get_parameter_source(param.name) not in unset
    ]
    if typed:
        which = " and ".join([", ".join(typed[:-1]), typed[-1]] if len(typed) > 1 else typed)
        msg = f"{ctx.command.name} {mode}: {which} would have no effect"
        raise BadInput(msg, hint=f"leave {which} out")

"""What a frontend says of an error: what to type next, what it means for the bill, click's errors as ours."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpunb.cli import registry
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
from gpunb.patterns import later
from gpunb.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.cli.context import Context

__all__ = ["about", "code_of", "for_frontend", "paragraphs", "say_bill", "usage_error"]

_ENDING = frozenset({"down", "stop"})


def for_frontend(err: GpunbError, args: Sequence[str], context: Context) -> None:
    """Write the error's hint for the frontend: the whole line where a session must be named."""
    if isinstance(err, SessionAmbiguous) and args and not err.asked:
        verb, rest = registry.split(args)
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
    say_bill(err, args, context)
    if err.hint is not None:
        err.hint = written(err.hint, context.frontend)


#: Errors that a verb raises before it has done anything.
_REFUSALS = (BadInput, SessionNotFound, SessionAmbiguous)


def say_bill(err: GpunbError, args: Sequence[str], context: Context) -> None:
    """Set what `err` means for the bill, if the verb could affect one or a machine runs on."""
    typed_words = list(itertools.dropwhile(lambda word: word.startswith("-"), args))
    verb, _ = registry.split(typed_words)
    if typed_words and not verb:
        return  # another package's verb states its own
    undone = getattr(registry.load(verb), "undone", "") if verb else ""
    if not undone and not err.runs_on:
        err.bill = None
    elif undone and err.bill is None and not context.agreed and isinstance(err, _REFUSALS):
        err.bill = undone


def _has_session_option(verb: str) -> bool:
    params = registry.load(verb).params if verb else ()
    return any("--session" in param.opts and not getattr(param, "hidden", False) for param in params)


def _instead(word: str, asked: str, name: str) -> str:
    """Replace the session `asked` by `name` in `word`, also in ``SESSION:path`` and ``--session=SESSION``."""
    if word == asked:
        return name
    if word.startswith(f"{asked}:"):
        return name + word[len(asked) :]
    return f"--session={name}" if word == f"--session={asked}" else word


_EXTRA = later(r"Got unexpected extra arguments? \((.*)\)$")


def _too_many(found: re.Match[str]) -> str:
    return f"{found[1]} is more than it takes"


def usage_error(err: click.ClickException, command: str) -> BadInput:
    """Convert click's usage error to our own error with a hint."""
    ctx = getattr(err, "ctx", None)
    where = ctx.command_path if ctx is not None else command
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
        text = err.format_message().split(": ", 1)[-1].rstrip(".")
        text = re.sub(r"is not a valid integer( range)?$", "is not a whole number", text)
        message = f"{where}: {called}: {text}"
        if isinstance(err, click.MissingParameter):
            message = f"{where}: {err.param.make_metavar(ctx) if ctx else called} is missing"
    else:
        text = err.format_message().rstrip(".")
        message = f"{where}: {_EXTRA.sub(_too_many, text)}"
    return BadInput(message, hint=hint or f"{where} -h shows how it is used")


#: Errors whose message is all that there is to say.
_PLAIN = (BadInput, ConfirmationNeeded, Cancelled)


@cache
def paragraphs() -> dict[str, str]:
    """Read the page: code -> its paragraph."""
    page = Path(__file__).with_name("troubleshooting.md").read_text("utf-8")
    parts = re.split(r"^## (\w+)\n", page, flags=re.MULTILINE)[1:]
    return {code: text.strip().replace("`", "") for code, text in zip(parts[::2], parts[1::2], strict=True)}


def about(word: str) -> str | None:
    """Return the text for the code `word` in any case, None where it is no code."""
    if not word.isalpha():
        return None
    for code, text in paragraphs().items():
        if code.lower() == word.lower():
            return f"{code}\n\n{text}"
    return None


def code_of(err: GpunbError) -> str | None:
    """Return the code of `err` that has a paragraph which says more than its message, if there is one."""
    if isinstance(err, _PLAIN):
        return None
    return next((kind.__name__ for kind in type(err).__mro__ if kind.__name__ in paragraphs()), None)

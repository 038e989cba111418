"""Detection of a session as a verb's first argument: ``stop fit``, ``extend fit 2h``, ``exec fit -- ls``.

A verb without arguments of its own takes any word for a session. Each other verb declares its rule:

``known``
    it is the whole name of a session and leaves the verb enough words; where the words are files, a file
    of that name comes first;
``typed``
    it is the whole name of a session, and not of the type of the verb's first argument (a length of time);
``dashed``
    it stands before ``--``;
``never``
    it is not.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from gpunb.errors import BadInput, SessionAmbiguous, SessionNotFound
from gpunb.patterns import later

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.cli.context import Context

__all__ = ["FirstWord", "places", "session_first"]

FirstWord = Literal["known", "typed", "dashed", "never"]

_NAME = later(r"[a-z0-9][a-z0-9._-]{0,31}")


def session_first(
    first: FirstWord, params: Sequence[click.Parameter], ctx: click.Context, args: list[str]
) -> list[str]:
    """Rewrite the first word of `args` to ``--session``, if it is a session.

    Raises
    ------
    BadInput
        It may be the session or the command to run there.
    """
    found = places(params, args)
    if first == "never" or not found:
        return args
    at = found[0]
    if any(arg.startswith(("-s", "--session")) for arg in args[:at]):
        return args
    word, rest = args[at], [*args[:at], *args[at + 1 :]]
    own = [param for param in params if isinstance(param, click.Argument)]
    if first == "dashed":
        is_session = rest[at : at + 1] == ["--"] and len(rest) > at + 1
        if not is_session and not ctx.allow_interspersed_args and _known(ctx, word):
            raise _could_be_both(ctx, args[at:])
    elif all(param.nargs > 0 for param in own) and len(found) > sum(one.nargs for one in own):
        is_session = True  # one more than the verb takes, so it is none of its arguments
    elif first == "typed":
        is_session = not _converts(own[0], word, ctx) and _known(ctx, word)
    else:
        enough = len(found) > sum(param.nargs for param in own if param.required and param.nargs > 0)
        files = any(isinstance(param.type, click.Path) for param in own)
        is_session = enough and _known(ctx, word) and not (files and Path(word).exists())
    return ["--session", word, *rest] if is_session else args


def _could_be_both(ctx: click.Context, words: list[str]) -> BadInput:
    path, line = ctx.command_path, shlex.join(words)
    there = shlex.join(words[1:]) or "COMMAND"
    msg = f"{path} {line}: {words[0]} is a session, and could be the command too"
    hint = f"{path} {words[0]} -- {there} runs it there; {path} -- {line} runs the command {words[0]}"
    return BadInput(msg, bill="nothing was run", hint=hint)


def _converts(argument: click.Argument, word: str, ctx: click.Context) -> bool:
    try:
        argument.type.convert(word, argument, ctx)
    except click.UsageError:
        return False
    return True


def _known(ctx: click.Context, word: str) -> bool:
    """Whether a session, live or ended, has exactly this name."""
    context: Context | None = ctx.obj
    if context is None or not _NAME.fullmatch(word):
        return False
    try:
        context.ledger.find(word)
    except SessionNotFound:
        return False
    except SessionAmbiguous:
        return True
    return True


def places(params: Sequence[click.Parameter], args: Sequence[str]) -> list[int]:
    """Find the indices of the positional arguments in `args`; none where ``--`` is first."""
    takes = {
        text: 0 if param.is_flag or param.count else param.nargs
        for param in params
        if isinstance(param, click.Option)
        for text in (*param.opts, *param.secondary_opts)
    }
    result: list[int] = []
    at = 0
    while at < len(args):
        word = args[at]
        if word == "--":
            return [*result, *range(at + 1, len(args))] if result else []
        if not word.startswith("-") or word == "-":
            result.append(at)
        else:
            at += takes.get(word, 0)
        at += 1
    return result

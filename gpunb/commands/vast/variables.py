"""``vast variables``: the environment variables that a cloud sets in every container of your account."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gpunb import log
from gpunb.cli.command import verb
from gpunb.cli.container_options import ask_secret
from gpunb.errors import BadInput
from gpunb.presentation.result import Note, Result, Table

if TYPE_CHECKING:
    from pydantic import SecretStr

    from gpunb.cli.context import Context
    from gpunb.providers.features import Variables

__all__ = ["command"]


@verb(
    "vast variables",
    asks=True,
    example="vast variables\nvast variables --set WANDB_MODE\nvast variables --delete WANDB_MODE",
)
@click.option("--cloud", metavar="NAME", help="The cloud that has them. [default: the first that can]")
@click.option("--set", "name", metavar="NAME", help="Set this one; its value is asked for.")
@click.option("--stdin", "from_stdin", is_flag=True, help="With --set: read the value from standard input.")
@click.option("--delete", metavar="NAME", help="Forget this one.")
def command(
    context: Context, *, cloud: str | None, name: str | None, from_stdin: bool, delete: str | None, yes: bool
) -> Result:
    """Show the variables of your account, without values: Vast puts them into EVERY container you rent.

    Each host reads them, strangers too: what one machine needs is better given to it alone, by
    `rent --env`, and a secret to one run alone, by `run --secret`.
    """
    from gpunb.providers.features import Variables, clouds_with, feature

    provider = context.provider(cloud or next(one.name for one in clouds_with(Variables)))
    kept = feature(provider, Variables)
    if name is not None and delete is not None:
        msg = "vast variables: takes --set or --delete, not both"
        raise BadInput(msg)
    known = sorted(kept.env_vars())
    title = provider.title
    if name is not None:
        return _set(context, kept, title, name, known, from_stdin=from_stdin, yes=yes)
    if delete is not None:
        return _delete(context, kept, title, delete, known, yes=yes)
    if not known:
        return Result([], Note(f"{title} keeps no variables for the account", "dim"))
    note = Note("every container that you rent there is given them, and its host reads them", "warn")
    return Result([{"name": one} for one in known], Table(["variable"], [[one] for one in known]), note)


def _set(
    context: Context,
    cloud: Variables,
    title: str,
    name: str,
    known: list[str],
    *,
    from_stdin: bool,
    yes: bool,
) -> Result:
    from gpunb.services.confirmations import Question

    if "=" in name:
        msg = "variables --set: takes the name only; a value on the command line stays in the shell's history"
        raise BadInput(msg, hint="gpunb asks for the value, or --stdin reads it")
    word = "Change" if name.upper() in known else "Set"
    question = Question(
        text=f"{word} the variable {name.upper()} of your account at {title}: every container "
        "that you rent there is given it, and every host reads it.",
        prompt="Set it?",
    )
    if not context.confirm(question, yes=yes):
        return Result({"set": False}, Note("nothing was changed", "dim"), exit_code=1)
    value = _read() if from_stdin else _asked(context, name)
    kept = cloud.set_env_var(name, value)
    return Result(
        {"set": True, "name": kept}, Note(f"set {kept}; machines that run now do not have it", "ok")
    )


def _asked(context: Context, name: str) -> SecretStr:
    return ask_secret(
        context, f"value of {name.upper()}", undone="nothing was changed", hint="--stdin reads it from a file"
    )


def _read() -> SecretStr:
    from pydantic import SecretStr

    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        msg = "--stdin: standard input is empty"
        raise BadInput(msg)
    log.add_secret(text)
    return SecretStr(text)


def _delete(
    context: Context, cloud: Variables, title: str, name: str, known: list[str], *, yes: bool
) -> Result:
    from gpunb.services.confirmations import Question

    if name.upper() not in known:
        msg = f"variables --delete {name!r}: {title} keeps {', '.join(known) or 'none'}"
        raise BadInput(msg)
    question = Question(text=f"Delete the variable {name.upper()} at {title}.", prompt="Delete it?")
    if not context.confirm(question, yes=yes):
        return Result({"deleted": False}, Note("nothing was changed", "dim"), exit_code=1)
    cloud.delete_env_var(name)
    return Result({"deleted": True, "name": name.upper()}, Note(f"deleted {name.upper()}", "ok"))

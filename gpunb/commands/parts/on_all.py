"""What the verbs that run something on all members of a group have in common."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from gpunb.errors import BadInput, WrongState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.cli.context import Context
    from gpunb.output.group_screen import GroupScreen
    from gpunb.services.ranks.members import Members
    from gpunb.services.ranks.playing import Ended

__all__ = ["KEEP_GOING", "RANK", "find", "keep_going", "rank", "rows", "screen", "secrets"]

_RANK: dict[str, Any] = {"metavar": "RANKS", "help": "Of a group, only these members: 0,2-3."}
_KEEP_GOING: dict[str, Any] = {
    "is_flag": True,
    "help": "Of a group, let the others go on when one has failed.",
}
RANK = click.Option(["--rank"], **_RANK)
KEEP_GOING = click.Option(["--keep-going"], **_KEEP_GOING)
rank = click.option("--rank", **_RANK)
keep_going = click.option("--keep-going", **_KEEP_GOING)


def find(context: Context, name: str | None, ranks: str | None, what: str, **others: Any) -> Members | None:
    """The members to run on, if `name` is a group's; None for a single session.

    Parameters
    ----------
    others
        Options that only groups have, by the word that is typed.

    Raises
    ------
    BadInput, WrongState
        A rank is not there, or an option of groups was given for a session.
    """
    from gpunb.services.ranks import lookup

    found = lookup.find(context, name)
    if found is not None:
        return found.chosen(ranks)
    given = [word for word, value in {"--rank": ranks, **others}.items() if value]
    if given:
        session = context.session(name)
        msg = f"{what}: {', '.join(given)} is for groups, and {session.name} is one machine"
        raise BadInput(msg, hint=f"leave {given[0]} out")
    return None


def screen(context: Context, members: Members) -> GroupScreen:
    """One screen for the output of all, in this frontend."""
    from gpunb.output.group_screen import GroupScreen

    rich = context.frontend == "notebook" and context.shell is not None
    inner = context.sink() if rich else context.text_sink()
    width = shutil.get_terminal_size().columns if not rich and sys.stdout.isatty() else 0
    return GroupScreen(inner, members.ranks, rich=rich, width=width)


def secrets(context: Context, members: Members, names: tuple[str, ...]) -> dict[str, str]:
    """Secrets for a run on all: each is read once, if every host may have it.

    Raises
    ------
    BadInput, WrongState
        As `gpunb.services.running.run_secrets.collect`.
    """
    from gpunb import trust
    from gpunb.services.running import run_secrets

    if not names or not len(members):
        return {}
    least = min(members, key=lambda member: trust.rank(member.session.trust))
    try:
        return run_secrets.collect(context, least.session, names)
    except WrongState as err:
        err.message = f"[{least.rank}] {err.message}"
        raise


def rows(members: Members, ended: Sequence[Ended]) -> dict[str, Any]:
    """How the runs ended, for ``--json``."""
    return {
        "group": members.name,
        "members": [
            {
                "rank": one.rank,
                "session": one.session,
                "run": one.run,
                "state": one.state,
                "exit_code": one.exit_code,
            }
            for one in ended
        ],
    }

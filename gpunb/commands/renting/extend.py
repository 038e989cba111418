"""``extend``: extend a session's time, idle time or budget."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from gpunb import units
from gpunb.cli.command import DURATION, MONEY, OrNever, verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Fields, Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.model import Group

__all__ = ["command"]


@verb(
    "extend",
    asks=True,
    undone="nothing was changed",
    session=True,
    first="typed",
    example="extend\nextend train 2h\nextend --budget 20 --idle 1h",
)
@click.argument("length", required=False, metavar="[TIME]", type=DURATION)
@click.option("--idle", type=OrNever(DURATION, "never"), metavar="TIME", help="The new idle time, or never.")
@click.option(
    "--budget", type=OrNever(MONEY, "none"), metavar="USD", help="The new budget for all of it, or none."
)
@click.option(
    "--count-ssh/--no-count-ssh",
    default=None,
    help="Count SSH logins as activity, or no longer.",
)
def command(
    context: Context,
    *,
    length: float | None,
    idle: float | None,
    budget: float | None,
    count_ssh: bool | None,
    session: str | None,
    yes: bool,
) -> Result:
    """Give a session more time; alone, one hour more. It also counts as activity."""
    from gpunb.presentation import tables
    from gpunb.services.questions import to_extend
    from gpunb.sessions.cost import lease

    if length is None and idle is None and budget is None and count_ssh is None:
        length = 3600.0
    given: Any = {
        "hours": None if length is None else length / 3600,
        "idle_s": idle,
        "budget_usd": budget,
        "count_ssh": count_ssh,
    }
    group = None if session is None else context.ledger.find_group(session)
    if group is not None and group.alive:
        return _extend_group(context, group, given, yes=yes)
    found = context.session(session)
    if found.group_id:
        msg = f"extend: {found.name} has the lease of its group"
        raise BadInput(msg, bill="nothing was changed", hint=typed("extend", found.group) + " extends all")
    if not context.confirm(to_extend(context.ledger, found, **given), yes=yes):
        return Result(
            {"session": found.name, "extended": False}, Note("nothing was changed", "dim"), exit_code=1
        )
    with context.progress(f"extend {found.name}"):
        found = lease.extend(context.ledger, found, **given)
    cost = context.ledger.cost(found.id)
    now = time.time()
    rest = tables.left(found, cost, 0, now)
    idle_s, left_s = found.lease.idle_s, rest["time_s"]
    return Result(
        {"session": found.name, "left": rest},
        Note(f"{found.name} lives on", "ok"),
        Fields(
            [
                ("time left", units.duration_text(left_s) if left_s is not None else "no limit"),
                ("idle limit", units.duration_text(idle_s) if idle_s is not None else "never"),
                (
                    "budget left",
                    "no limit" if rest["budget_usd"] is None else units.money_text(rest["budget_usd"]),
                ),
            ]
        ),
    )


def _extend_group(context: Context, group: Group, given: Any, *, yes: bool) -> Result:
    """Extend the one lease of a group."""
    from gpunb.presentation import tables
    from gpunb.services.questions import to_extend_group
    from gpunb.sessions.groups import extending

    lease = extending.group_lease(context.ledger, group, **given)
    question = to_extend_group(context.ledger, group, lease, given["hours"])
    if not context.confirm(question, yes=yes):
        row = {"session": group.name, "extended": False}
        return Result(row, Note("nothing was changed", "dim"), exit_code=1)
    with context.progress(f"extend {group.name}"):
        group = extending.extend_group(context.ledger, group, lease)
    first = extending.stays(group)[0]
    rest = tables.left(first, context.ledger.cost(first.id), 0, time.time())
    left_s, usd = rest["time_s"], rest["budget_usd"]
    return Result(
        {"session": group.name, "left": rest},
        Note(f"{group.name} lives on", "ok"),
        Fields(
            [
                ("time left", units.duration_text(left_s) if left_s is not None else "no limit"),
                ("budget left", "no limit" if usd is None else units.money_text(usd)),
            ]
        ),
    )

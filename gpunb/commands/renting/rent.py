"""``rent``: rent the best offer that fits, and make it ready for cells."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import container_options, offer_options
from gpunb.cli import save_template as templates
from gpunb.cli.command import DURATION, MONEY, CloudOption, OrNever, no_use, verb
from gpunb.errors import BadInput, GpunbError
from gpunb.hints import typed
from gpunb.presentation.result import Fields, Note, Opening, Result
from gpunb.units import duration_text, hourly_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.model import Group, Session

__all__ = ["command"]


@verb(
    "rent",
    asks=True,
    undone="nothing was rented",
    example=(
        "rent --name demo --for 30m\nrent --gpu H100 --for 2h --idle 15m --budget 5 --cloud all\n"
        "rent 'vram >= 80' --save out --yes\nrent --count 4 --gpu 4090 --name team --for 3h --budget 12"
    ),
)
@click.argument("query", nargs=-1, metavar="[QUERY...]")
@offer_options.filters
@click.option(
    "--offer",
    metavar="ID",
    help="This offer only: the id that `offers` shows; its beginning will do without --yes.",
)
@click.option("--name", metavar="NAME", help="What to call the session. [default: from the GPU]")
@click.option(
    "--count",
    type=int,
    metavar="N",
    help="Rent N machines as a group with one lease: NAME.0, NAME.1 … All come, or none is kept.",
)
@click.option(
    "--at-least", type=int, metavar="N", help="With --count: keep the group if so many of its machines come."
)
@click.option(
    "--idle",
    type=OrNever(DURATION, "never"),
    metavar="TIME",
    help="End after this much idle time, or never.",
)
@click.option(
    "--budget", type=OrNever(MONEY, "none"), metavar="USD", help="End before the cost exceeds this, or none."
)
@click.option(
    "--bid",
    type=MONEY,
    metavar="USD",
    cls=CloudOption,
    help="With --spot: bid so much an hour, not the least that wins (Vast).",
)
@click.option("--count-ssh", is_flag=True, help="Count SSH logins as activity.")
@container_options.options
@click.option(
    "--python", metavar="PATH", help="The host's Python for cells; static brings one. [default: found there]"
)
@click.option(
    "--requirements",
    metavar="FILE",
    type=click.Path(),
    help="Install what requirements.txt, pyproject.toml, uv.lock or a conda environment.yml lists.",
)
@click.option("--no-check", is_flag=True, help="Take the machine without comparing it with its offer.")
@click.option("--save", multiple=True, metavar="PATH", help="Bring this back from the host before the end.")
@click.option("--here", is_flag=True, help="Keep this project's folder the same there, around each run.")
@click.option(
    "--volume",
    multiple=True,
    metavar="NAME:/PATH",
    help="Mount this volume of yours; only offers where it is are taken.",
)
@click.option(
    "--save-template",
    metavar="NAME",
    cls=CloudOption,
    help="Rent nothing: keep image, variables, ports, scripts and disk as a template of yours (Vast).",
)
def command(
    context: Context,
    *,
    query: tuple[str, ...],
    offer: str | None,
    name: str | None,
    idle: float | None,
    budget: float | None,
    bid: float | None,
    count: int | None,
    at_least: int | None,
    count_ssh: bool,
    no_check: bool,
    python: str | None,
    requirements: str | None,
    save: tuple[str, ...],
    here: bool,
    volume: tuple[str, ...],
    save_template: str | None,
    yes: bool,
    length: float | None,
    disk: str | None,
    **flags: Any,
) -> Result:
    """Rent a machine and make it ready for cells.

    Takes the best offer that fits, after a yes; if that is gone, the next one like it that costs no more.
    The session ends by itself when its time is over, when nothing ran for the idle time, or when the budget
    is spent. Ctrl-C cancels, and says what was confirmed. In a notebook, `rent` alone shows the offers.
    """
    if save_template is not None or _bare(context):
        return _picker() if save_template is None else templates.run(context, save_template, disk, flags)
    from gpunb.services import renting_flow
    from gpunb.services.project import root

    project = root(Path.cwd()) if here else None
    inside = container_options.read(context, **{name: flags.pop(name) for name in container_options.NAMES})
    if project is not None:
        inside["save_to"] = str(project)
    wish = renting_flow.Wish(
        query=query,
        flags=flags,
        offer=offer,
        length=length,
        disk=disk,
        name=name,
        idle_s=idle,
        budget_usd=budget,
        bid=bid,
        python=python,
        requirements=None if requirements is None else Path(requirements),
        save=save,
        volumes=volume,
        count_ssh=count_ssh,
        check=not no_check,
        count=count,
        at_least=at_least,
        inside=inside,
    )
    if count is not None:
        no_use("--count", "here")
        group = renting_flow.rent_group(context, wish, yes=yes)
        return _none() if group is None else _group_ready(context, group)
    if at_least is not None:
        msg = "rent --at-least: says how many of a group must come"
        raise BadInput(msg, bill="nothing was rented", hint="add --count N")
    session = renting_flow.rent(context, wish, yes=yes)
    if session is None:
        return _none()
    if project is not None:
        _bind(context, session, project)
    return _ready(context, session)


def _bind(context: Context, session: Session, project: Path) -> None:
    """Bind the project and send it; the rental stands, whatever comes of that."""
    from gpunb.services.project import around

    try:
        around.bind(context, session, project)
    except GpunbError as err:
        context.say((f"the project is not there yet: {err.message}", "bad"), (err.hint or "", "dim"))


def _bare(context: Context) -> bool:
    """Whether this is a notebook, and the verb was given without options."""
    if context.frontend != "notebook" or getattr(context.shell, "kernel", None) is None:
        return False
    call = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    return all(call.get_parameter_source(name) in (default, None) for name in call.params)


def _picker() -> Result:
    result = Result(
        {"rented": False}, Note("pick an offer, or say what you need: " + typed("rent --gpu H100"), "dim")
    )
    result.opening = Opening("picker")
    return result


def _none() -> Result:
    return Result({"rented": False}, Note("nothing was rented", "dim"), exit_code=1)


def _group_ready(context: Context, group: Group) -> Result:
    from gpunb.presentation import tables
    from gpunb.services.questions import budget_text

    now = time.time()
    ready = [member for member in group.live if member.ready is not None]
    lease = ready[0].lease
    costs = context.ledger.costs()
    nxt = (
        f"%%gpu -s {group.name} at the top of a cell runs it on all"
        if context.frontend == "notebook"
        else typed("cell -f FILE", "-s", group.name)
    )
    return Result(
        {
            "group": group.name,
            "wanted": group.wanted,
            "members": [tables.session_data(one, costs[one.id], [], now) for one in ready],
        },
        Note(f"{group.name} is ready with {len(ready)} of {group.wanted} members", "ok"),
        Fields(
            [
                ("members", ", ".join(one.name for one in ready)),
                ("price", hourly_text(sum(one.hourly for one in ready))),
                ("time left", duration_text(max(0.0, (lease.deadline or now) - now))),
                ("idle limit", duration_text(lease.idle_s) if lease.idle_s is not None else "never"),
                ("budget", budget_text(lease)),
                ("will fetch", ", ".join(ready[0].save)),
                ("next", f"{nxt}; " + typed("down", group.name)),
            ]
        ),
    )


def _ready(context: Context, session: Session) -> Result:
    from gpunb.presentation import tables
    from gpunb.services.questions import budget_text
    from gpunb.sessions import start_check
    from gpunb.sessions.model import machine

    now = time.time()
    cost = context.ledger.cost(session.id)
    left = tables.lease_cells(session, cost, 0, now)
    lease = session.lease
    took = duration_text((session.ready or now) - session.created)
    nxt = (
        "%%gpu at the top of a cell runs it there"
        if context.frontend == "notebook"
        else (typed("run SCRIPT") + ", or %%gpu in a notebook")
    )
    data = tables.session_data(session, cost, [], now)
    checked = start_check.recorded(context.ledger, session)
    return Result(
        data,
        Note(f"{session.name} is ready after {took}", "ok"),
        *tables.check_notes(checked),
        Fields(
            [
                ("machine", f"{machine(session.gpu, session.gpus)} on {session.provider}"),
                ("checked", "" if checked is None else f"{checked.summary()}, in {checked.took_s:.1f} s"),
                ("price", hourly_text(session.hourly)),
                ("time left", left[0] if lease.deadline is not None else ""),
                ("idle limit", duration_text(lease.idle_s) if lease.idle_s is not None else "never"),
                ("budget", budget_text(lease)),
                ("will fetch", ", ".join(session.save)),
                *tables.port_rows(session),
                ("next", nxt),
            ]
        ),
    )

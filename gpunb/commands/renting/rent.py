"""``rent``: rent the best offer that fits, and make it ready for cells."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import container_options, offer_options
from gpunb.cli import save_template as templates
from gpunb.cli.command import DURATION, MONEY, OrNever, verb
from gpunb.errors import BadInput, NoFunds
from gpunb.hints import typed
from gpunb.presentation.result import Fields, Note, Opening, Result
from gpunb.services import volume_mounts
from gpunb.text import clean
from gpunb.units import duration_text, hourly_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.offers import Ranked, SearchResult
    from gpunb.services.confirmations import Question
    from gpunb.sessions.lifecycle import RentRequest
    from gpunb.sessions.lifecycle.agreement import Agreement
    from gpunb.sessions.model import Session

__all__ = ["command"]


@verb(
    "rent",
    asks=True,
    undone="nothing was rented",
    example=(
        "rent --name demo --for 30m\nrent --gpu H100 --for 2h --idle 15m --budget 5 --cloud all\n"
        "rent 'vram >= 80' --save out --yes"
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
    "--idle",
    type=OrNever(DURATION, "never"),
    metavar="TIME",
    help="End after this much idle time, or never.",
)
@click.option(
    "--budget", type=OrNever(MONEY, "none"), metavar="USD", help="End before the cost exceeds this, or none."
)
@click.option(
    "--bid", type=MONEY, metavar="USD", help="With --spot: bid so much an hour, not the least that wins."
)
@click.option("--count-ssh", is_flag=True, help="Count SSH logins as activity.")
@container_options.options
@click.option("--python", metavar="PATH", help="The host's Python for cells. [default: found there]")
@click.option(
    "--requirements",
    metavar="FILE",
    type=click.Path(),
    help="Install what requirements.txt, pyproject.toml, uv.lock or a conda environment.yml lists.",
)
@click.option("--save", multiple=True, metavar="PATH", help="Bring this back from the host before the end.")
@click.option(
    "--volume",
    multiple=True,
    metavar="NAME:/PATH",
    help="Mount this volume of yours; only offers where it is are taken.",
)
@click.option(
    "--save-template",
    metavar="NAME",
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
    count_ssh: bool,
    python: str | None,
    requirements: str | None,
    save: tuple[str, ...],
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
    from gpunb import units
    from gpunb.services import image_facts, renting, reservations
    from gpunb.services.running import packages

    needs = packages.read(Path(requirements)) if requirements is not None else None
    settings = context.settings
    if settings.refused:
        context.tell(*(Note(clean(one.text()), "warn") for one in settings.refused))
    inside = container_options.read(context, **{name: flags.pop(name) for name in container_options.NAMES})
    if name is not None:
        _check_name(context, name)
    found = offer_options.find(context, query, length=length, limit=None, disk=disk, **flags)
    rows = found.rows if offer is None else offer_options.chosen(found.rows, offer, whole=yes)
    rows = _at_bid(rows, bid, spot=bool(flags.get("spot")))
    if not rows:
        raise _nothing(context, found, offer)
    disks: list[volume_mounts.Mount] = []
    if volume:
        rows, disks = volume_mounts.choose(context, volume, rows)
    asked = renting.request(
        settings,
        name=name,
        hours=found.query.ask.hours,
        # a machine paid in advance is not ended when idle, unless that is requested
        idle_s=float("inf") if idle is None and flags.get("reserved") else idle,
        budget_usd=budget,
        disk_gb=found.query.ask.disk_gb,
        image_gb=found.query.image_gb,
        python=python,
        **inside,
        save=list(save) or None,
        count_ssh=count_ssh,
        renter=" ".join(context.renter()),
        volumes={disk.volume.id: disk.path for disk in disks},
    )
    rows = renting.fitting(context.provider, rows, asked)
    if asked.template:
        rows, asked = container_options.with_template(context, rows, asked)
        rows = renting.fitting(context.provider, rows, asked)
    if asked.image or asked.entrypoint:
        with context.progress("rent") as progress:
            first = rows[0].offer
            asked = image_facts.with_facts(asked, first, context.provider(first.provider), progress.say)
    most = None if flags.get("max_price") is None else units.money(str(flags["max_price"]))
    rows, agreed, question = _affordable(context, rows, asked, most)
    reservations.check(context.provider, rows[0].offer, agreed.hours)
    if disks:
        context.tell(*(Note(f"volume {disk.text()}") for disk in disks))
    if yes and question.needed:
        context.tell(Fields(list(question.rows)))
    session = None
    if context.confirm(question, yes=yes):
        door = renting.Door(
            ledger=context.ledger,
            provider=context.provider,
            progress=lambda: context.progress("rent"),
            say=lambda text: context.tell(Note(text, "warn")),
            confirm=context.put if context.can_ask else None,
        )
        session = renting.rent(door, rows, asked, agreed, max_usd_h=most)
    if session is None:
        return Result({"rented": False}, Note("nothing was rented", "dim"), exit_code=1)
    if requirements is not None and needs is not None:
        packages.install(context, session, context.agent(session), path=Path(requirements), needs=needs)
    return _ready(context, session, asked)


def _affordable(
    context: Context, rows: list[Ranked], asked: RentRequest, most: float | None
) -> tuple[list[Ranked], Agreement, Question]:
    """The question for the first row, skipping clouds whose accounts are empty.

    Raises
    ------
    NoFunds
        None of them can be paid.
    """
    from gpunb.services import renting

    while True:
        agreed = renting.agreement(rows[0], asked, tolerance=context.settings.price_tolerance, max_usd_h=most)
        try:
            return (
                rows,
                agreed,
                renting.question(context.ledger, rows[0], asked, agreed, provider=context.provider),
            )
        except NoFunds as err:
            rest = [row for row in rows if row.offer.provider != err.provider]
            if not rest:
                raise
            rows = rest
            context.tell(Note(f"{err.message}: its offers are left out", "warn"))


def _at_bid(rows: list[Ranked], bid: float | None, *, spot: bool) -> list[Ranked]:
    """The offers that a bid of `bid` dollars an hour wins now, at that price: the bid is paid."""
    if bid is None:
        return rows
    if not spot:
        msg = "rent --bid: only interruptible machines take bids"
        raise BadInput(msg, bill="nothing was rented", hint="add --spot")
    won = [row for row in rows if row.offer.usd_h <= bid + 1e-9]
    if rows and not won:
        least = min(row.offer.usd_h for row in rows)
        msg = f"rent --bid {bid:g}: wins none of {len(rows)} offers; {hourly_text(least)} wins one"
        raise BadInput(msg, bill="nothing was rented")
    return [replace(row, offer=replace(row.offer, usd_h=bid)) for row in won]


def _bare(context: Context) -> bool:
    """Whether this is a notebook, and the verb was given without options."""
    if context.door != "notebook" or getattr(context.shell, "kernel", None) is None:
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


def _check_name(context: Context, name: str) -> None:
    """Refuse a bad or taken name before any cloud is queried."""
    from gpunb.sessions.ledger.sessions import valid_name

    valid_name(name)
    if any(session.name == name for session in context.ledger.sessions()):
        msg = f"rent --name {name!r} is taken by a live session"
        raise BadInput(
            msg, bill="nothing was rented", hint="choose another name; " + typed("ps") + " shows the sessions"
        )


def _nothing(context: Context, found: SearchResult, offer: str | None) -> Exception:
    from gpunb.offers import explain

    if offer is not None and found.rows:
        msg = f"rent --offer {offer!r} is not among the {len(found.rows)} offers that fit now"
        return BadInput(msg, bill="nothing was rented", hint=typed("offers") + " lists them with their ids")
    if found.failed and len(found.failed) == len(found.answers):
        error = found.failed[0].error
        if len(found.failed) == 1 and error is not None:
            error.bill = error.bill or "nothing was rented"
            return error
    asked = ", ".join(answer.provider for answer in found.answers)
    msg = f"no offer fits (asked: {asked}): {'; '.join(explain(found))}"
    more = offer_options.further(context, [answer.provider for answer in found.answers])
    hint = "; ".join([*more, typed("offers --why") + " shows what there is"])
    return BadInput(msg, bill="nothing was rented", hint=hint)


def _ready(context: Context, session: Session, request: RentRequest) -> Result:
    from gpunb.presentation import tables
    from gpunb.services.questions import budget_text
    from gpunb.services.running.gpu_check import gpu_trouble
    from gpunb.sessions.access import host_access
    from gpunb.sessions.model import machine

    now = time.time()
    cost = context.ledger.cost(session.id)
    left = tables.lease_cells(session, cost, 0, now)
    lease = session.lease
    took = duration_text((session.ready or now) - session.created)
    nxt = (
        "%%gpu at the top of a cell runs it there"
        if context.door == "notebook"
        else (typed("run SCRIPT") + ", or %%gpu in a notebook")
    )
    data = tables.session_data(session, cost, [], now)
    client = host_access.held(session.id)
    trouble = gpu_trouble(client, session) if client is not None else ""
    return Result(
        data,
        Note(f"{session.name} is ready after {took}", "ok"),
        *([Note(f"WARNING: {trouble}", "bad")] if trouble else []),
        Fields(
            [
                ("machine", f"{machine(session.gpu, session.gpus)} on {session.provider}"),
                ("price", hourly_text(session.hourly)),
                ("time left", left[0] if lease.deadline is not None else ""),
                ("idle limit", duration_text(lease.idle_s) if lease.idle_s is not None else "never"),
                ("budget", budget_text(lease)),
                ("will fetch", ", ".join(request.save)),
                *tables.port_rows(session),
                ("next", nxt),
            ]
        ),
    )

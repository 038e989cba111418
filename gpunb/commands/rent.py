"""``rent``: the best offer that fits, until it is ready for cells."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunb.commands import market, mounts
from gpunb.commands.result import Block, Fields, Note, Opening, Result, clean
from gpunb.commands.verb import DURATION, MONEY, OrNever, verb
from gpunb.errors import AuthFailed, BadInput, NoFunds, OfferGone, ProviderError, QuotaExhausted, RateLimited
from gpunb.units import duration_text, money_text, price_text

if TYPE_CHECKING:
    from gpunb.commands.context import Context
    from gpunb.offers import Ranked, SearchResult
    from gpunb.sessions.lifecycle import RentRequest
    from gpunb.sessions.model import Session

__all__ = ["command"]

TRIED = 10
# a cloud that refused for certain leaves the way free to the next; anything else stops here
_NEXT_CLOUD = (OfferGone, NoFunds, AuthFailed, RateLimited, QuotaExhausted)


@verb(
    "rent",
    example=(
        "rent --name demo --for 30m\nrent --gpu H100 --for 2h --idle 15m --budget 5 --cloud all\n"
        "rent 'vram >= 80' --save out --yes"
    ),
)
@click.argument("query", nargs=-1, metavar="[QUERY...]")
@market.filters
@click.option("--offer", metavar="ID", help="This offer only: the id that `offers` shows, or its beginning.")
@click.option("--name", metavar="NAME", help="What to call the session. [default: from the GPU]")
@click.option(
    "--idle",
    type=OrNever(DURATION, "never"),
    metavar="TIME",
    help="End after so long without work, or never.",
)
@click.option(
    "--budget", type=OrNever(MONEY, "none"), metavar="USD", help="End before it costs more, or none."
)
@click.option("--count-ssh", is_flag=True, help="Somebody logged in at a terminal counts as activity.")
@click.option("--image", metavar="NAME", help="The container image or the system, as the cloud calls it.")
@click.option("--python", metavar="PATH", help="The host's Python for cells. [default: found there]")
@click.option(
    "--requirements",
    metavar="FILE",
    type=click.Path(),
    help="Install what requirements.txt, pyproject.toml, uv.lock or a conda environment.yml lists.",
)
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable on the machine.")
@click.option("--save", multiple=True, metavar="PATH", help="Bring this back from the host before the end.")
@click.option(
    "--volume",
    multiple=True,
    metavar="NAME:/PATH",
    help="Mount this volume of yours; only offers where it is are taken.",
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def command(
    context: Context,
    *,
    query: tuple[str, ...],
    offer: str | None,
    name: str | None,
    idle: float | None,
    budget: float | None,
    count_ssh: bool,
    image: str | None,
    python: str | None,
    requirements: str | None,
    env: tuple[str, ...],
    save: tuple[str, ...],
    volume: tuple[str, ...],
    yes: bool,
    length: float | None,
    disk: str | None,
    **flags: Any,
) -> Result:
    """Rent a machine and make it ready for cells.

    Takes the best offer that fits, and the next one if that is gone. The session ends by itself
    when its time is over, when nothing ran for the idle time, or when the budget is spent. Ctrl-C
    cancels, and says what was confirmed. In a notebook, `rent` alone shows the offers to pick from.
    """
    if _bare(context):
        return _picker()
    from gpunb.commands import requirements as packages
    from gpunb.commands.run import variables

    needs = packages.read(Path(requirements)) if requirements is not None else None
    settings = context.settings
    if settings.refused:
        context.tell(*(Note(clean(one.text()), "warn") for one in settings.refused))
    pairs = variables("rent", env)
    if name is not None:
        _check_name(context, name)
    found = market.find(context, query, length=length, limit=None, disk=disk, **flags)
    rows = found.rows if offer is None else market.chosen(found.rows, offer)
    if not rows:
        raise _nothing(found, offer)
    disks: list[mounts.Mount] = []
    if volume:
        rows, disks = mounts.choose(context, volume, rows)
    best = rows[0]
    request = _request(
        name=name,
        hours=found.query.ask.hours,
        idle_s=settings.idle if idle is None else idle,
        budget_usd=settings.budget if budget is None else budget,
        budget_most=settings.budget_most,
        disk_gb=found.query.ask.disk_gb,
        image=image,
        python=python or settings.python or "",
        env=pairs,
        save=list(save) or list(settings.save),
        count_ssh=count_ssh,
        renter=" ".join(context.renter()),
        volumes={disk.volume.id: disk.path for disk in disks},
    )
    if best.hourly > 0 or context.interactive:
        context.tell(*_plan(best, request))
        context.tell(*(Note(f"volume {disk.text()}") for disk in disks))
    if best.hourly > 0 and not context.ask("rent it?", yes=yes):
        return Result({"rented": False}, Note("nothing was rented", "dim"), exit_code=1)
    session = _rent(context, rows, request)
    if requirements is not None and needs is not None:
        packages.install(context, session, context.agent(session), path=Path(requirements), needs=needs)
    return _ready(context, session, request)


def _bare(context: Context) -> bool:
    """Whether this is a notebook, and nothing but the verb was given."""
    if context.door != "notebook" or getattr(context.shell, "kernel", None) is None:
        return False
    call = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    return all(call.get_parameter_source(name) in (default, None) for name in call.params)


def _picker() -> Result:
    result = Result(
        {"rented": False}, Note("pick an offer, or say what you need: %gpu rent --gpu H100", "dim")
    )
    result.opening = Opening("picker")
    return result


def _rent(context: Context, rows: list[Ranked], request: RentRequest) -> Session:
    from gpunb.sessions import lifecycle, supervisor

    by_cloud: dict[str, list[Ranked]] = {}
    for row in rows:
        by_cloud.setdefault(row.offer.provider, []).append(row)
    last: ProviderError | None = None
    for cloud, theirs in by_cloud.items():
        if last is not None:
            context.tell(Note(f"{last.message}; trying {cloud}", "warn"))
            context.tell(*_plan(theirs[0], request))
        try:
            with context.progress("rent") as progress:
                return lifecycle.rent(
                    context.ledger,
                    context.provider(cloud),
                    [row.offer for row in theirs[:TRIED]],
                    request,
                    progress=progress,
                    watch=supervisor.ensure,
                )
        except _NEXT_CLOUD as err:
            if err.effect != "none":
                raise
            last = err
    assert last is not None  # noqa: S101 - there is at least one cloud
    raise last


def _request(**values: Any) -> RentRequest:
    from gpunb.sessions.lifecycle import RentRequest

    return RentRequest(**values)


def _check_name(context: Context, name: str) -> None:
    """Refuse a bad or taken name before any cloud is asked."""
    from gpunb.sessions.ledger import valid_name

    valid_name(name)
    if any(session.name == name for session in context.ledger.sessions()):
        msg = f"rent --name {name!r} is taken by a live session"
        raise BadInput(
            msg, bill="nothing was rented", hint="choose another name; gpunb ps shows the sessions"
        )


def _nothing(found: SearchResult, offer: str | None) -> Exception:
    from gpunb.offers import explain

    if offer is not None and found.rows:
        msg = f"rent --offer {offer!r} is not among the {len(found.rows)} offers that fit now"
        return BadInput(msg, bill="nothing was rented", hint="gpunb offers lists them with their ids")
    if found.failed and len(found.failed) == len(found.answers):
        error = found.failed[0].error
        if len(found.failed) == 1 and error is not None:
            error.bill = error.bill or "nothing was rented"
            return error
    msg = "no offer fits: " + "; ".join(explain(found))
    return BadInput(msg, bill="nothing was rented", hint="gpunb offers --why shows what there is")


def _plan(row: Ranked, request: RentRequest) -> list[Block]:
    from gpunb.commands.views import machine

    offer = row.offer
    limits = [f"{duration_text((request.hours or 0) * 3600)}"]
    if request.idle_s is not None and math.isfinite(request.idle_s):
        limits.append(f"{duration_text(request.idle_s)} idle")
    if request.budget_usd is not None and math.isfinite(request.budget_usd):
        limits.append(money_text(request.budget_usd))
    where = offer.country or offer.region
    where = "" if where == offer.provider else where
    return [
        Fields(
            [
                (
                    "machine",
                    f"{machine(offer.gpu, offer.gpus)} on {offer.provider}{f' in {where}' if where else ''}",
                ),
                ("host", f"{offer.trust}, {offer.kind}, {offer.rental}"),
                ("price", f"{price_text(row.hourly)} an hour with {request.disk_gb:g} GB of disk"),
                ("for all of it", money_text(row.total)),
                ("ends after", " or ".join(limits)),
            ]
        )
    ]


def _ready(context: Context, session: Session, request: RentRequest) -> Result:
    from gpunb.commands import views
    from gpunb.sessions import kernelspecs

    kernelspecs.sweep(context.ledger.sessions())
    kernelspecs.install(session)
    now = time.time()
    cost = context.ledger.cost(session.id)
    left = views.lease_cells(session, cost, 0, now)
    lease = session.lease
    took = duration_text((session.ready or now) - session.created)
    nxt = (
        "%%gpu at the top of a cell runs it there"
        if context.door == "notebook"
        else "gpunb run SCRIPT, or %%gpu in a notebook"
    )
    data = views.session_data(session, cost, [], now)
    return Result(
        data,
        Note(f"{session.name} is ready after {took}", "ok"),
        Fields(
            [
                ("machine", f"{views.machine(session.gpu, session.gpus)} on {session.provider}"),
                ("price", f"{price_text(session.hourly)} an hour"),
                ("time left", left[0] if lease.deadline is not None else ""),
                ("idle limit", duration_text(lease.idle_s) if lease.idle_s is not None else "never"),
                ("budget", money_text(lease.budget_usd) if lease.budget_usd is not None else ""),
                ("brought back", ", ".join(request.save)),
                ("next", nxt),
            ]
        ),
    )

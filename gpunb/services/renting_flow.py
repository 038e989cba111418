"""A rental from the words that ask for it to the ready session: the same at the verb and in Python.

Offers are searched, those that can't do what is asked are left out, the question is put or has its yes, and
`gpunb.services.renting` rents. Nothing is rented before all that can be checked has been checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpunb import units
from gpunb.errors import BadInput, NoFunds
from gpunb.hints import typed
from gpunb.providers.machine import ports
from gpunb.services import image_facts, renting, reservations, searching, volume_mounts
from gpunb.text import clean
from gpunb.units import hourly_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gpunb.offers import Ranked, SearchResult
    from gpunb.services.confirmations import Question
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.lifecycle import RentRequest
    from gpunb.sessions.lifecycle.agreement import Agreement
    from gpunb.sessions.model import Group, Session

__all__ = ["Wish", "rent", "rent_group"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a rental is asked for. Each default is the setting, or none.

    Attributes
    ----------
    query, flags
        The search, as `gpunb.services.searching.find` takes it.
    offer
        The id of the only offer that will do.
    length
        Seconds from the create call to the end.
    idle_s, budget_usd
        Seconds and US dollars; infinity is never, or no limit.
    bid
        US dollars an hour for a spot machine.
    requirements
        A file of packages that are installed on the host when it is ready.
    volumes
        ``NAME:/PATH`` of each volume to mount.
    check
        Whether the machine is compared with its offer before it is ready.
    agreed
        Called after the yes and before anything is rented; what it raises ends the rental.
    before
        A sentence before the question: what the rental is a part of.
    count, at_least
        How many machines a group has, and how many it needs at least; None is one machine, and all.
    inside
        Further fields of `gpunb.sessions.lifecycle.RentRequest`: image, variables, ports, scripts.
    """

    query: Sequence[str] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    offer: str | None = None
    length: float | None = None
    disk: str | None = None
    name: str | None = None
    idle_s: float | None = None
    budget_usd: float | None = None
    bid: float | None = None
    python: str | None = None
    requirements: Path | None = None
    save: Sequence[str] = ()
    volumes: Sequence[str] = ()
    count_ssh: bool = False
    check: bool = True
    before: str = ""
    agreed: Callable[[], object] | None = None
    count: int | None = None
    at_least: int | None = None
    inside: Mapping[str, Any] = field(default_factory=dict)


def rent(context: Workspace, wish: Wish, *, yes: bool) -> Session | None:
    """Rent the best offer that fits; returns the ready session, or None if the answer was no.

    Raises
    ------
    BadInput
        A value breaks its rule, or no offer fits; nothing was rented.
    ConfirmationNeeded
        There is no yes, and none can be given here.
    GpunbError
        As `gpunb.services.renting.rent`.
    """
    from gpunb.services.running import packages

    needs = packages.read(wish.requirements) if wish.requirements is not None else None
    rows, asked, disks, most = _found(context, wish, yes=yes)
    rows, agreed, question = _affordable(context, rows, asked, most, wish.before)
    reservations.check(context.provider, rows[0].offer, agreed.hours)
    if disks:
        context.say(*((f"volume {disk.text()}", "") for disk in disks))
    if yes and question.needed:
        context.show_agreed(question)
    if not context.confirm(question, yes=yes):
        return None
    if wish.agreed is not None:
        wish.agreed()
    frontend = renting.RentalFrontend(
        ledger=context.ledger,
        provider=context.provider,
        progress=lambda: context.progress("rent"),
        say=lambda text: context.say((text, "warn")),
        confirm=context.put if context.can_ask else None,
    )
    session = renting.rent(frontend, rows, asked, agreed, max_usd_h=most)
    if session is not None and wish.requirements is not None and needs is not None:
        packages.install(context, session, context.agent(session), path=wish.requirements, needs=needs)
    return session


def rent_group(context: Workspace, wish: Wish, *, yes: bool) -> Group | None:
    """Rent `wish.count` machines as a group; returns it, or None if the answer was no.

    Raises
    ------
    GpunbError
        As `rent`, and as `gpunb.services.group_renting.rent`.
    """
    from gpunb.services import group_renting
    from gpunb.services.running import packages

    count = wish.count or 0
    group_renting.check_count(count, wish.at_least, wish.name)
    for option, given in (
        ("--offer", wish.offer),
        ("--volume", wish.volumes),
        ("--reserved", wish.flags.get("reserved")),
        ("--host", wish.flags.get("host")),
    ):
        if given:
            msg = f"rent --count {count}: {option} means one machine"
            raise BadInput(msg, bill="nothing was rented", hint="leave one of the two out")
    needs = packages.read(wish.requirements) if wish.requirements is not None else None
    rows, asked, _, most = _found(context, wish, yes=yes)
    group = group_renting.rent(
        context, rows, asked, count=count, at_least=wish.at_least, most=most, yes=yes, agreed=wish.agreed
    )
    for member in group.live if group is not None and wish.requirements is not None else ():
        if needs is not None and wish.requirements is not None:
            packages.install(context, member, context.agent(member), path=wish.requirements, needs=needs)
    return group


def _found(
    context: Workspace, wish: Wish, *, yes: bool
) -> tuple[list[Ranked], RentRequest, list[volume_mounts.Mount], float | None]:
    """The offers that fit, the request, the volumes to mount, and the highest price that was given."""
    settings = context.settings
    if settings.refused:
        context.say(*((clean(refused.text()), "warn") for refused in settings.refused))
    if wish.name is not None:
        _check_name(context, wish.name)
    flags = dict(wish.flags)
    result = searching.find(context, wish.query, length=wish.length, limit=None, disk=wish.disk, **flags)
    rows = result.rows if wish.offer is None else searching.chosen(result.rows, wish.offer, whole=yes)
    rows = _at_bid(rows, wish.bid, spot=bool(flags.get("spot")))
    if not rows:
        raise _nothing(context, result, wish.offer)
    disks: list[volume_mounts.Mount] = []
    if wish.volumes:
        rows, disks = volume_mounts.choose(context, wish.volumes, rows)
    rows, asked = _request(context, wish, result, rows, disks)
    most = None if flags.get("max_price") is None else units.money(str(flags["max_price"]))
    return rows, asked, disks, most


def _request(
    context: Workspace,
    wish: Wish,
    found: SearchResult,
    rows: list[Ranked],
    disks: Sequence[volume_mounts.Mount],
) -> tuple[list[Ranked], RentRequest]:
    """The request, and the offers that can meet it."""
    asked = renting.request(
        context.settings,
        name=wish.name,
        hours=found.query.ask.hours,
        # a machine paid in advance is not ended when idle, unless that is requested
        idle_s=float("inf") if wish.idle_s is None and wish.flags.get("reserved") else wish.idle_s,
        budget_usd=wish.budget_usd,
        disk_gb=found.query.ask.disk_gb,
        image_gb=found.query.image_gb,
        python=wish.python,
        **wish.inside,
        save=list(wish.save) or None,
        count_ssh=wish.count_ssh,
        check=wish.check,
        renter=" ".join(context.renter()),
        volumes={disk.volume.id: disk.path for disk in disks},
    )
    rows = renting.fitting(context.provider, rows, asked)
    if asked.template:
        rows, asked = _with_template(context, rows, asked)
        rows = renting.fitting(context.provider, rows, asked)
    if asked.image or asked.entrypoint:
        with context.progress("rent") as progress:
            first = rows[0].offer
            asked = image_facts.with_facts(asked, first, context.provider(first.provider), progress.say)
    return rows, asked


def _with_template(
    context: Workspace, rows: list[Ranked], asked: RentRequest
) -> tuple[list[Ranked], RentRequest]:
    """Merge the template's values into the request; also returns the rows of the template's cloud.

    Raises
    ------
    BadInput
        None of the clouds has such a template, or one has several of that name.
    """
    from gpunb.providers.features import Templates

    refused: BadInput | None = None
    for cloud in dict.fromkeys(row.offer.provider for row in rows):
        provider = context.provider(cloud)
        if not isinstance(provider, Templates):
            continue
        try:
            template = provider.template(asked.template)
        except BadInput as err:
            refused = refused or err
            continue
        # the create call's script takes the place of the template's: gpunb's runs the template's, too
        script = "\n".join(text for text in (template.onstart.strip(), asked.onstart.strip()) if text)
        return [row for row in rows if row.offer.provider == cloud], replace(
            asked,
            template=template.id,
            onstart=script,
            image=asked.image or template.image or None,
            disk_gb=max(asked.disk_gb, template.disk_gb),
            ports=ports.wanted((*template.ports, *asked.ports)),
            env={**template.env, **asked.env},
            start_command=asked.start_command or template.start_command,
        )
    if refused is not None:
        raise refused
    return rows, asked


def _affordable(
    context: Workspace, rows: list[Ranked], asked: RentRequest, most: float | None, before: str
) -> tuple[list[Ranked], Agreement, Question]:
    """The question for the first row, skipping clouds whose accounts are empty.

    Raises
    ------
    NoFunds
        None of them can be paid.
    """
    while True:
        agreed = renting.agreement(rows[0], asked, tolerance=context.settings.price_tolerance, max_usd_h=most)
        try:
            return (
                rows,
                agreed,
                renting.question(
                    context.ledger, rows[0], asked, agreed, before=before, provider=context.provider
                ),
            )
        except NoFunds as err:
            rest = [row for row in rows if row.offer.provider != err.provider]
            if not rest:
                raise
            rows = rest
            context.say((f"{err.message}: its offers are left out", "warn"))


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


def _check_name(context: Workspace, name: str) -> None:
    """Refuse a bad or taken name before any cloud is queried."""
    from gpunb.sessions.ledger.sessions import valid_name

    valid_name(name)
    if any(session.name == name for session in context.ledger.sessions()):
        msg = f"rent --name {name!r} is taken by a live session"
        raise BadInput(
            msg, bill="nothing was rented", hint="choose another name; " + typed("ps") + " shows the sessions"
        )


def _nothing(context: Workspace, found: SearchResult, offer: str | None) -> Exception:
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
    more = searching.further(context, [answer.provider for answer in found.answers])
    hint = "; ".join([*more, typed("offers --why") + " shows what there is"])
    return BadInput(msg, bill="nothing was rented", hint=hint)

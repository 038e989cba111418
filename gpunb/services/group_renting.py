"""Renting a group: one question with the money of all members in it, one lease, all members or none."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb.errors import BadInput, NoFunds
from gpunb.hints import typed
from gpunb.services import renting
from gpunb.services.confirmations import Question
from gpunb.services.questions import budget_text
from gpunb.sessions.cost import funds, limits
from gpunb.sessions.cost.lease import DEFAULT_HOURS, lease_for_all
from gpunb.sessions.cost.totals import slug
from gpunb.sessions.groups.forming import AT_ONCE, form
from gpunb.sessions.integrations import kernelspecs, ssh_config
from gpunb.sessions.ledger.sessions import label_for, new_id, valid_name
from gpunb.sessions.lifecycle.agreement import Agreement, trust_rank
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.model import Group, Lease, Session, machine
from gpunb.units import duration_text, hourly_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.offers import Ranked
    from gpunb.progress import Progress
    from gpunb.providers import Offer
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle import RentRequest

__all__ = ["MOST", "check_count", "rent"]

MOST = 64
LOCAL = "local"
_SPARE = 3  # further offers that each member may try


def check_count(count: int, at_least: int | None, name: str | None) -> int:
    """Check the numbers of a group and its name; returns how many members it needs.

    Raises
    ------
    BadInput
        One breaks its rule.
    """
    if not 2 <= count <= MOST:
        msg = f"rent --count {count}: a group has 2 to {MOST} machines"
        hint = "one machine is rented without --count" if count == 1 else None
        raise BadInput(msg, bill="nothing was rented", hint=hint)
    if at_least is not None and not 1 <= at_least <= count:
        msg = f"rent --at-least {at_least}: must be 1 to {count}, which --count asks for"
        raise BadInput(msg, bill="nothing was rented")
    if name is not None:
        valid_name(name)
        if len(name) > 29:
            msg = f"rent --name {name!r}: a group's name has 29 characters at most: its members add numbers"
            raise BadInput(msg, bill="nothing was rented")
    return count if at_least is None else at_least


def rent(
    context: Workspace,
    rows: Sequence[Ranked],
    asked: RentRequest,
    *,
    count: int,
    at_least: int | None,
    most: float | None,
    yes: bool,
    agreed: Callable[[], object] | None = None,
    at_once: int = AT_ONCE,
) -> Group | None:
    """Rent `count` machines like the first of `rows`; returns the group, or None if the answer was no.

    Parameters
    ----------
    most
        The price an hour of one machine that was also agreed to (``--max-price``).
    agreed
        Called after the yes and before anything is rented.

    Raises
    ------
    BadInput
        A value breaks its rule, or there are too few offers; nothing was rented.
    GpunbError
        As `gpunb.sessions.groups.forming.form`.
    """
    needed = check_count(count, at_least, asked.name)
    _free_name(context.ledger, asked.name)
    alike = _alike(rows)
    chosen = _chosen(alike, count, needed)
    offers = [row.offer for row in chosen]
    terms = _terms(offers, asked, tolerance=context.settings.price_tolerance, most=most)
    lease = lease_for_all(
        offers,
        now=context.ledger.clock.time(),
        hours=asked.hours,
        idle_s=asked.idle_s,
        budget_usd=asked.budget_usd,
        budget_most=asked.budget_most,
        disk_gb=asked.disk_gb,
    )
    lease.count_ssh = asked.count_ssh
    limits.check_all(context.ledger, offers, lease=lease, disk_gb=asked.disk_gb)
    question = _question(context, offers, asked, terms, lease, needed)
    if yes and question.needed:
        context.show_agreed(question)
    if not context.confirm(question, yes=yes):
        return None
    if agreed is not None:
        agreed()
    # the time before the yes is not part of the lease
    lease.deadline = context.ledger.clock.time() + terms.hours * 3600.0
    asked = replace(asked, agreed=terms, lease=lease)
    group = _record(context.ledger, offers, asked, count, needed)
    with context.progress("rent") as progress:
        form(
            context.ledger,
            group,
            _renter(context, alike, offers, asked, group, progress),
            provider=context.provider,
            at_once=at_once,
            progress=progress,
        )
    found = context.ledger.group(group.name)
    kernelspecs.sweep(context.ledger.sessions())
    for member in found.live:
        kernelspecs.install(member)
    ssh_config.refresh(context.ledger.sessions())
    return found


def _free_name(ledger: Ledger, name: str | None) -> None:
    taken = {session.name for session in ledger.sessions()} | {group.name for group in ledger.groups()}
    if name is not None and name in taken:
        msg = f"rent --name {name!r} is taken by a live session or group"
        hint = "choose another name; " + typed("ps") + " shows the sessions"
        raise BadInput(msg, bill="nothing was rented", hint=hint)


def _alike(rows: Sequence[Ranked]) -> list[Ranked]:
    """The offers like the first: the same GPUs, kind and rental, and a host trusted at least as far."""
    first = rows[0].offer

    def like(other: Offer) -> bool:
        same = (other.gpu, other.gpus, other.kind, other.rental)
        return same == (first.gpu, first.gpus, first.kind, first.rental) and trust_rank(
            other.trust
        ) >= trust_rank(first.trust)

    return [row for row in rows if like(row.offer)]


def _chosen(alike: Sequence[Ranked], count: int, needed: int) -> list[Ranked]:
    """The offers of the members; one that names no machine stands for as many as are wanted."""
    kinds = [row for row in alike if _many(row.offer)]
    chosen = list(alike[:count])
    while kinds and len(chosen) < count:
        chosen.append(kinds[0])
    if len(chosen) < needed or (len(chosen) < count and needed == count):
        first = alike[0].offer
        what = machine(first.gpu, first.gpus)
        msg = f"rent --count {count}: there are {len(chosen)} offers of {what} that fit and are alike"
        hint = f"--count {len(chosen)}, or ask for less: " + typed("offers --why") + " shows what there is"
        raise BadInput(
            msg, bill="nothing was rented", hint=hint if len(chosen) > 1 else typed("offers --why")
        )
    return chosen


def _many(offer: Offer) -> bool:
    """Whether the offer stands for any number of rentals: it names no machine, or it is this one."""
    return not offer.machine_id or offer.provider == LOCAL


def _terms(offers: Sequence[Offer], asked: RentRequest, *, tolerance: float, most: float | None) -> Agreement:
    """What a yes covers: any machine like these that costs no more than the dearest of them."""
    dearest = max(offers, key=lambda offer: offer.hourly(asked.disk_gb))
    least = min((offer.trust for offer in offers), key=trust_rank)
    shown = replace(
        dearest,
        trust=least,
        down_usd_gb=max(offer.down_usd_gb for offer in offers),
        up_usd_gb=max(offer.up_usd_gb for offer in offers),
    )
    hours = DEFAULT_HOURS if asked.hours is None else asked.hours
    return Agreement.to(shown, hours=hours, disk_gb=asked.disk_gb, tolerance=tolerance, max_usd_h=most)


def _question(  # noqa: PLR0917
    context: Workspace,
    offers: Sequence[Offer],
    asked: RentRequest,
    agreed: Agreement,
    lease: Lease,
    needed: int,
) -> Question:
    """The one question: the money of all members, the lease that they share, and what happens with fewer."""
    first, count = offers[0], len(offers)
    length = duration_text(agreed.hours * 3600.0)
    hourly = sum(offer.hourly(asked.disk_gb) for offer in offers)
    total = sum(offer.total(agreed.hours, disk_gb=asked.disk_gb) for offer in offers)
    clouds = ", ".join(dict.fromkeys(offer.provider for offer in offers))
    traffic = any(offer.down_usd_gb or offer.up_usd_gb for offer in offers)
    ends = [f"after {length}"]
    if lease.idle_s is not None:
        ends.append(f"after {duration_text(lease.idle_s)} without work on any of them")
    budget = budget_text(lease, traffic=traffic)
    if budget:
        ends.append(f"when all together have cost {budget}")
    fewer = "if fewer come, those that came are ended"
    if needed < count:
        fewer = f"if fewer than {needed} come, those that came are ended"
    each = " + ".join(price_text(offer.hourly(asked.disk_gb)) for offer in offers[:4])
    each += f" and {count - 4} more" if count > 4 else ""
    instead = f"the next like it, for {price_text(agreed.most_usd_h)} an hour at most"
    rows = [
        ("machines", f"{count} times {machine(first.gpu, first.gpus)} on {clouds}"),
        ("hosts", ", ".join(dict.fromkeys(offer.trust for offer in offers))),
        ("price", f"{hourly_text(hourly)} for all ({each})"),
        (f"total for {length}", f"{money_text(total)} for all"),
        ("traffic", "costs on top" if traffic else ""),
        ("ends", " or ".join(ends)),
        ("fewer", fewer),
        ("if one is gone", instead),
        ("not enough money", _short(context, offers, asked, agreed)),
    ]
    text = (
        f"Rent {count} times {machine(first.gpu, first.gpus)} on {clouds}: {hourly_text(hourly)} for all, "
        f"{money_text(total)} for {length}. They end together {' or '.join(ends)}; {fewer}. "
        f"If one is gone: {instead}."
    )
    if traffic:
        text += " Traffic costs on top."
    if rows[-1][1]:
        text += f" NOT ENOUGH MONEY: {rows[-1][1]}."
    return Question(
        text=text,
        rows=tuple((name, value) for name, value in rows if value),
        prompt="Rent them?",
        usd=round(total, 6),
        needed=hourly > 0 or traffic,
        undone="nothing was rented",
    )


def _short(context: Workspace, offers: Sequence[Offer], asked: RentRequest, agreed: Agreement) -> str:
    """What the accounts lack for all members, as text; "" if nothing.

    Raises
    ------
    NoFunds
        One holds nothing.
    """
    lacks = []
    for cloud in dict.fromkeys(offer.provider for offer in offers):
        theirs = [offer for offer in offers if offer.provider == cloud]
        hourly = sum(offer.hourly(asked.disk_gb) for offer in theirs)
        held = funds.ask(context.ledger, context.provider(cloud)) if hourly > 0 else None
        if held is None:
            continue
        price = sum(
            max(offer.total(agreed.hours, disk_gb=asked.disk_gb), offer.reserve_h * offer.usd_h)
            for offer in theirs
        )
        if held.usd <= 0:
            msg = f"the account at {held.title} holds {money_text(held.usd)}; this costs {money_text(price)}"
            hint = f"add credit on {held.title}'s page, or rent elsewhere: --cloud"
            raise NoFunds(msg, provider=cloud, bill="nothing was rented", hint=hint)
        now = context.ledger.clock.time()
        lacks.append(funds.shortage(held, context.ledger.sessions(), now, more=price, hourly=hourly))
    return "; ".join(lack for lack in lacks if lack)


def _record(ledger: Ledger, offers: Sequence[Offer], asked: RentRequest, count: int, needed: int) -> Group:
    """Record the group and all its members before anything is rented."""
    import os

    members = []
    for rank in range(count):
        offer, ident = offers[min(rank, len(offers) - 1)], new_id()
        members.append(
            Session(
                id=ident,
                name="",
                provider=offer.provider,
                label=label_for(ledger.installation, ident),
                lease=replace(asked.lease or Lease()),
                gpu=offer.gpu,
                gpus=offer.gpus,
                trust=offer.trust,
                save=list(asked.save),
                save_to=_own_folder(asked.save_to or os.getcwd(), rank),  # noqa: PTH109
                renter=asked.renter,
            )
        )
    group = Group(id=new_id(), name=asked.name or "", wanted=count, at_least=needed)
    return ledger.add_group(group, members, slug=slug(offers[0]), claim_s=Timing().claim_s)


def _own_folder(save_to: str, rank: int) -> str:
    """The folder that a member's results come to: they must not take each other's place."""
    return f"{save_to.rstrip('/')}/rank-{rank}"


def _renter(  # noqa: PLR0917
    context: Workspace,
    alike: Sequence[Ranked],
    chosen: Sequence[Offer],
    asked: RentRequest,
    group: Group,
    progress: Progress,
) -> Callable[[Session], object]:
    """What rents one member: its own offer, then spare ones that no other member tries."""
    spare = [row for row in alike if not _many(row.offer) and row.offer not in chosen]
    kinds = [row for row in alike if _many(row.offer)]
    count, lock = len(group.members), threading.Lock()

    def one(member: Session) -> object:
        own = [row for row in alike if member.rank < len(chosen) and row.offer == chosen[member.rank]]
        rows = [*own[:1], *spare[member.rank :: count][:_SPARE], *(row for row in kinds if row not in own)]
        said = _Said(member.name, progress, lock)
        frontend = renting.RentalFrontend(
            ledger=context.ledger,
            provider=context.provider,
            progress=lambda: contextlib.nullcontext(said),
            say=said.say,
        )
        return renting.rent_member(frontend, rows, replace(asked, requested=member.id))

    return one


class _Said:
    """The progress of one member, told among that of the others."""

    def __init__(self, name: str, inner: Progress, lock: threading.Lock) -> None:
        self._name, self._inner, self._lock = name, inner, lock

    def say(self, message: str) -> None:
        """Pass the message on, with the member's name."""
        with self._lock:
            self._inner.say(f"{self._name}: {message}")

    def advance(self, done: float, total: float | None = None, unit: str = "") -> None:
        """Leave figures out: several members have theirs at once."""

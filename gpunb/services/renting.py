"""Renting, shared by all frontends: the question, what a yes covers, and the offers that are tried.

A yes is for the offer that was shown. If that is gone, the next one is taken unasked only if it is like it
(the same GPUs, kind of rental and machine, a host trusted at least as far) and costs no more than was agreed
to (the setting ``price_tolerance``, or ``--max-price``). Anything else is asked again, or ends it where
the user can't be asked. The budget stays what was agreed to.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpunb.errors import (
    AuthFailed,
    BadInput,
    LimitReached,
    NoFunds,
    OfferGone,
    ProviderError,
    QuotaExhausted,
    RateLimited,
)
from gpunb.hints import typed
from gpunb.services import reservations
from gpunb.services.questions import to_rent
from gpunb.sessions import lifecycle
from gpunb.sessions.cost import funds, limits, limits_used
from gpunb.sessions.cost.lease import DEFAULT_HOURS, lease_for
from gpunb.sessions.integrations import kernelspecs, ssh_config
from gpunb.sessions.lifecycle.agreement import Agreement
from gpunb.sessions.model import machine
from gpunb.sessions.supervisor import process
from gpunb.units import money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from gpunb.offers import Ranked
    from gpunb.progress import Progress
    from gpunb.providers import Offer, Provider
    from gpunb.services.confirmations import Question
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle import RentRequest
    from gpunb.sessions.model import Session
    from gpunb.settings import Settings

__all__ = ["RentalFrontend", "agreement", "fitting", "question", "rent", "rent_member", "request"]

TRIED = 10
# after a certain refusal of one cloud the next is tried; anything else stops here
_NEXT_CLOUD = (OfferGone, NoFunds, AuthFailed, RateLimited, QuotaExhausted)


@dataclass(frozen=True, slots=True, kw_only=True)
class RentalFrontend:
    """The callbacks that a rental needs from its frontend.

    Attributes
    ----------
    confirm
        Asks, and returns whether it was a yes; None where the user can't be asked any more.
    say
        Shows a line while renting.
    watch
        See `gpunb.sessions.lifecycle.rent`.
    """

    ledger: Ledger
    provider: Callable[[str], Provider]
    progress: Callable[[], AbstractContextManager[Progress]]
    say: Callable[[str], None]
    confirm: Callable[[Question], bool] | None = None
    watch: Callable[[Ledger], object] = process.ensure


def request(
    settings: Settings,
    *,
    hours: float | None = None,
    idle_s: float | None = None,
    budget_usd: float | None = None,
    disk_gb: float | None = None,
    check: bool = True,
    **more: object,
) -> RentRequest:
    """Build the request, with the settings as defaults.

    Parameters
    ----------
    check
        False leaves the start check out, which the settings have on.
    more
        Further fields of `gpunb.sessions.lifecycle.RentRequest`.
    """
    values = {
        "hours": settings.hours if hours is None else hours,
        "idle_s": settings.idle if idle_s is None else idle_s,
        "budget_usd": settings.budget if budget_usd is None else budget_usd,
        "budget_most": settings.budget_most,
        "disk_gb": settings.disk_gb if disk_gb is None else disk_gb,
        "python": settings.python or "",
        "save": list(settings.save),
        "check": settings.check.model_dump(exclude={"on"}) if check and settings.check.on else None,
        **{name: value for name, value in more.items() if value is not None},
    }
    return lifecycle.RentRequest(**values)  # type: ignore[arg-type]


def agreement(
    row: Ranked, asked: RentRequest, *, tolerance: float, max_usd_h: float | None = None
) -> Agreement:
    """Build the agreement that a yes to `row` gives."""
    return Agreement.to(
        row.offer,
        hours=DEFAULT_HOURS if asked.hours is None else asked.hours,
        disk_gb=asked.disk_gb,
        tolerance=tolerance,
        max_usd_h=max_usd_h,
    )


def question(
    ledger: Ledger,
    row: Ranked,
    asked: RentRequest,
    agreed: Agreement,
    *,
    before: str = "",
    provider: Callable[[str], Provider] | None = None,
) -> Question:
    """The question before `row` is rented, after all checks that can be made beforehand.

    Parameters
    ----------
    provider
        Returns the cloud, which is queried for the account's balance where it can.

    Raises
    ------
    NoFunds
        The account holds nothing.
    BadInput
        The name is bad or taken, the disk too large, or a limit of the lease breaks its rule.
    LimitReached
        A cap over all sessions refuses it.
    """
    from gpunb.sessions.ledger.sessions import valid_name

    if asked.name is not None:
        valid_name(asked.name)
        if any(session.name == asked.name for session in ledger.sessions()):
            msg = f"name: {asked.name!r} is taken by a live session"
            hint = "choose another name; " + typed("ps") + " shows the sessions"
            raise BadInput(msg, bill="nothing was rented", hint=hint)
    if asked.disk_gb > row.offer.disk_max_gb:
        msg = f"disk_gb: {asked.disk_gb:g}: the offer has at most {row.offer.disk_max_gb:g} GB"
        raise BadInput(msg, bill="nothing was rented")
    _capped(ledger, row.offer, asked, None if provider is None else provider(row.offer.provider))
    short = "" if provider is None else _short(ledger, row.offer, asked, agreed, provider)
    return to_rent(row.offer, asked, agreed, before=before, short=short)


def _capped(ledger: Ledger, offer: Offer, asked: RentRequest, provider: Provider | None) -> None:
    """Refuse what a cap over all sessions refuses; what others rent on the account counts."""
    if limits_used.current() is None and limits_used.agents() is None:
        return
    if provider is not None and offer.hourly(asked.disk_gb) > 0:
        with suppress(ProviderError):  # what was listed last counts
            limits_used.note_others(ledger, provider, provider.instances())
    lease = lease_for(
        offer,
        now=ledger.clock.time(),
        hours=asked.hours,
        idle_s=asked.idle_s,
        budget_usd=asked.budget_usd,
        budget_most=asked.budget_most,
        disk_gb=asked.disk_gb,
    )
    try:
        limits.check(ledger, offer, lease=lease, disk_gb=asked.disk_gb)
    except LimitReached as err:
        err.bill = "nothing was rented"
        raise


def _short(
    ledger: Ledger, offer: Offer, asked: RentRequest, agreed: Agreement, provider: Callable[[str], Provider]
) -> str:
    hourly = offer.hourly(asked.disk_gb)
    held = funds.ask(ledger, provider(offer.provider)) if hourly > 0 else None
    if held is None:
        return ""
    price = max(offer.total(agreed.hours, disk_gb=asked.disk_gb), offer.reserve_h * offer.usd_h)
    if held.usd <= 0:
        msg = f"the account at {held.title} holds {money_text(held.usd)}; this costs {money_text(price)}"
        hint = f"add credit on {held.title}'s page, or rent elsewhere: --cloud"
        raise NoFunds(msg, provider=offer.provider, bill="nothing was rented", hint=hint)
    return funds.shortage(held, ledger.sessions(), ledger.clock.time(), more=price, hourly=hourly)


def fitting(provider: Callable[[str], Provider], rows: Sequence[Ranked], asked: RentRequest) -> list[Ranked]:
    """Filter `rows` to those that meet the request, before a question is shown.

    Raises
    ------
    BadInput
        None does; the message has the reasons, the commonest first.
    """
    out, reasons, spec = [], Counter[str](), asked.spec()
    clouds = {row.offer.provider: provider(row.offer.provider) for row in rows}
    for row in rows:
        if why := clouds[row.offer.provider].unfit(row.offer, spec):
            reasons[why] += 1
        else:
            out.append(row)
    if rows and not out:
        text = "; ".join(f"{why} ({count})" for why, count in reasons.most_common(4))
        msg = f"none of the {len(rows)} offers that fit can do what is asked for: {text}"
        raise BadInput(msg, bill="nothing was rented", hint=typed("offers --why") + " shows what there is")
    return out


def rent(
    frontend: RentalFrontend,
    rows: Sequence[Ranked],
    asked: RentRequest,
    agreed: Agreement,
    *,
    max_usd_h: float | None = None,
) -> Session | None:
    """Rent the first of `rows`, which was agreed to, or another one within the agreement.

    Returns
    -------
    Session or None
        The ready session; None if a further question was answered with no.

    Raises
    ------
    OfferGone
        What was agreed to is gone, and the user can't be asked about the rest.
    GpunbError
        As `gpunb.sessions.lifecycle.rent`.
    """
    left = list(rows)
    shut: set[str] = set()  # clouds that would refuse every further offer
    while True:
        fitting = [row for row in left if row.offer.provider not in shut and not agreed.differs(row.offer)]
        session, failed = _try_clouds(frontend, fitting, replace(asked, agreed=agreed), shut)
        if session is not None:
            if session.offer.get("rental") == "reserved":
                _reserve(frontend, session, agreed)
            kernelspecs.sweep(frontend.ledger.sessions())
            kernelspecs.install(session)
            ssh_config.refresh(frontend.ledger.sessions())
            return session
        left = [row for row in left if row not in fitting and row.offer.provider not in shut]
        if not left:
            raise failed
        first = left[0]
        if frontend.confirm is None:
            raise _stopped(failed, first, asked, agreed)
        agreed = agreement(first, asked, tolerance=agreed.tolerance, max_usd_h=max_usd_h)
        try:
            says = question(
                frontend.ledger, first, asked, agreed, before=failed.message, provider=frontend.provider
            )
        except NoFunds as err:
            shut.add(first.offer.provider)
            failed = err
            left = [row for row in left if row.offer.provider not in shut]
            if not left:
                raise
            continue
        if not frontend.confirm(says):
            return None


def _reserve(frontend: RentalFrontend, session: Session, agreed: Agreement) -> None:
    """Pay for a reserved rental in advance; if that fails it stays on demand, and the user is told."""
    provider = frontend.provider(session.provider)
    usd_h, most = reservations.of_session(session)
    plan = reservations.for_hours(usd_h, agreed.hours, most=most)
    try:
        answer = reservations.prepay(frontend.ledger, provider, session, plan)
    except (ProviderError, LimitReached) as err:
        next_step = err.hint or typed("vast prepay", session.name)
        bill = err.bill or "nothing was paid"
        frontend.say(f"{session.name} runs, and is NOT reserved: {err.message}; {bill}; {next_step}")
        return
    rate = answer.get("discount_rate")
    less = f", {rate:.0%} less an hour" if isinstance(rate, (int, float)) else ""
    frontend.say(f"paid {money_text(plan.usd)} in advance into {session.name}{less}")


def rent_member(frontend: RentalFrontend, rows: Sequence[Ranked], asked: RentRequest) -> Session:
    """Rent one of `rows` for a member of a group, within its agreement; nothing more is asked.

    Raises
    ------
    OfferGone
        None of them came up.
    GpunbError
        As `gpunb.sessions.lifecycle.rent`.
    """
    agreed = asked.agreed
    fitting = [row for row in rows if agreed is None or not agreed.differs(row.offer)]
    session, failed = _try_clouds(frontend, fitting, asked, set())
    if session is None:
        raise failed
    return session


def _try_clouds(
    frontend: RentalFrontend, rows: Sequence[Ranked], asked: RentRequest, shut: set[str]
) -> tuple[Session | None, ProviderError]:
    """Try one cloud after the other, in the order of their best offers."""
    by_cloud: dict[str, list[Ranked]] = {}
    for row in rows:
        by_cloud.setdefault(row.offer.provider, []).append(row)
    failed: ProviderError = OfferGone(
        "no offer matches what was agreed to", provider="", bill="nothing was rented"
    )
    for number, (cloud, theirs) in enumerate(by_cloud.items()):
        if number:
            offer = theirs[0].offer
            price = price_text(offer.hourly(asked.disk_gb))
            frontend.say(
                f"{failed.message}; trying {machine(offer.gpu, offer.gpus)} on {cloud}, {price} an hour"
            )
        try:
            with frontend.progress() as progress:
                offers = [row.offer for row in theirs[:TRIED]]
                return lifecycle.rent(
                    frontend.ledger,
                    frontend.provider(cloud),
                    offers,
                    asked,
                    progress=progress,
                    watch=frontend.watch,
                ), failed
        except _NEXT_CLOUD as err:
            if err.effect != "none":
                raise
            failed = err
            if not isinstance(err, OfferGone):
                shut.add(cloud)
    return None, failed


def _stopped(failed: ProviderError, row: Ranked, asked: RentRequest, agreed: Agreement) -> OfferGone:
    offer = row.offer
    price = price_text(offer.hourly(asked.disk_gb))
    why = agreed.differs(offer)
    msg = (
        f"{failed.message}; the next is {machine(offer.gpu, offer.gpus)} on {offer.provider} at {price} "
        f"an hour, which is not what was agreed to{f': {why}' if why else ''}"
    )
    return OfferGone(
        msg,
        provider=offer.provider,
        bill=failed.bill or "nothing was rented",
        hint=typed("rent --offer", offer.id) + " rents that one; --max-price USD agrees to more beforehand",
    )

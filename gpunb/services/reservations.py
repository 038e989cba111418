"""Reservations: a machine rented on demand, then paid for in advance at a discount.

Vast.ai's page on reserved instances: 0.2 from a month of 720 hours on, 0.3 from three (a host may name
another most, ``credit_discount_max``): 576 dollars pay for a month of what costs 1 dollar an hour. The
discount is certain only from the answer to the payment; figures before that are marked as approximate.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, GpunbError, NoFunds
from gpunb.hints import typed
from gpunb.services.confirmations import Question
from gpunb.units import duration_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpunb.providers import Offer, Provider
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["MONTH_H", "Plan", "check", "for_amount", "for_hours", "of_offer", "of_session", "paid"]
__all__ += ["prepay", "to_prepay"]

MONTH_H = 720.0
_DISCOUNTS = ((3.0, 0.3), (1.0, 0.2))
EVENT = "prepaid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A payment in advance: `usd` dollars for about `hours` hours, at `rate` (0.2) below `usd_h` an hour."""

    usd: float
    hours: float
    rate: float
    usd_h: float

    @property
    def text(self) -> str:
        """The plan as text, with "about" before estimates."""
        left = f", about {self.rate:.0%} less" if self.rate else ", without a discount"
        price = price_text(self.usd_h * (1 - self.rate))
        length = duration_text(self.hours * 3600.0)
        return f"{money_text(self.usd)} at once for about {length}: {price} an hour{left}"


def for_hours(usd_h: float, hours: float, *, most: float = 1.0) -> Plan:
    """The payment in advance for `hours` hours of a machine whose GPUs cost `usd_h` dollars an hour."""
    rate = next((min(share, most) for months, share in _DISCOUNTS if hours >= months * MONTH_H - 1e-6), 0.0)
    return Plan(usd=round(usd_h * (1 - rate) * hours, 2), hours=hours, rate=rate, usd_h=usd_h)


def for_amount(usd_h: float, usd: float, *, most: float = 1.0) -> Plan:
    """The plan for a payment of `usd` dollars."""
    for months, share in _DISCOUNTS:
        rate = min(share, most)
        hours = usd / (usd_h * (1 - rate))
        if hours >= months * MONTH_H - 1e-2:
            return Plan(usd=usd, hours=hours, rate=rate, usd_h=usd_h)
    return Plan(usd=usd, hours=usd / usd_h, rate=0.0, usd_h=usd_h)


def of_offer(offer: Offer, hours: float) -> Plan:
    """The payment in advance for a reserved offer.

    Raises
    ------
    BadInput
        For less than a month there is no discount.
    """
    if hours < MONTH_H - 1e-6:
        length = duration_text(hours * 3600.0)
        msg = f"--reserved for {length}: a reservation is for a month (30d) or more; less has no discount"
        raise BadInput(msg, bill="nothing was rented", hint="--for 30d, or leave --reserved out")
    return for_hours(offer.usd_h, hours, most=_most(offer.raw))


def check(provider_of: Callable[[str], Provider], offer: Offer, hours: float) -> None:
    """Refuse a reservation that the account can't pay, where the cloud reports its balance.

    Raises
    ------
    BadInput
        It is for less than a month.
    NoFunds
        The balance is smaller than the payment.
    """
    if offer.rental != "reserved":
        return
    plan, provider = of_offer(offer, hours), provider_of(offer.provider)
    balance = provider.check().balance_usd
    if balance is not None and balance < plan.usd:
        due = money_text(plan.usd)
        msg = f"{provider.title} has {money_text(balance)} on the account, and {due} are due at once"
        hint = "add credit, or take less time"
        raise NoFunds(msg, provider=provider.name, bill="nothing was rented", hint=hint)


def to_prepay(session: Session, plan: Plan) -> Question:
    """The question before money is paid into a machine."""
    reserved = session.offer.get("rental") == "reserved"
    again = " What is paid later can make the discount smaller." if reserved else ""
    return Question(
        text=f"Pay into {session.name} in advance: {plan.text}. It is for this machine alone; an early end "
        f"gives back what is left, less the discount that was given so far.{again}",
        prompt=f"pay {money_text(plan.usd)}?",
        usd=plan.usd,
    )


def prepay(ledger: Ledger, provider: Provider, session: Session, plan: Plan) -> Mapping[str, Any]:
    """Pay once and record it; returns the cloud's answer (``discount_rate``, ``timescale`` in months).

    Raises
    ------
    ProviderError
        It was refused; or `gpunb.errors.OutcomeUnknown`, and it may have been paid.
    LimitReached
        It is more than a cap over all sessions allows.
    """
    from gpunb.providers.features import Prepay, feature
    from gpunb.sessions.cost import limits

    cloud = feature(provider, Prepay)
    limits.admit_payment(ledger, plan.usd)
    try:
        answer = cloud.prepay(session.instance_id, plan.usd)
    except GpunbError as err:
        if getattr(err, "effect", "none") != "none":
            err.bill = f"{money_text(plan.usd)} may have been paid into {session.name}"
            err.hint = typed("vast prepay", session.name) + " shows what it holds; don't pay again before"
            with suppress(GpunbError):
                ledger.note(session.id, f"{EVENT}-unknown", f"{plan.usd:.2f}")
        else:
            err.bill = err.bill or "nothing was paid"
        raise
    ledger.note(session.id, EVENT, f"{plan.usd:.2f}")
    return answer


def paid(ledger: Ledger, session: Session) -> float:
    """US dollars that gpunb paid into the session in advance."""
    total = 0.0
    for event in ledger.events(session.id):
        if event.kind == EVENT:
            with suppress(ValueError):
                total += float(event.detail)
    return total


def _most(raw: Mapping[str, Any]) -> float:
    most = raw.get("credit_discount_max")
    return float(most) if isinstance(most, (int, float)) and 0 <= most < 1 else 1.0


def of_session(session: Session) -> tuple[float, float]:
    """The hourly price of the session's GPUs, and its host's largest discount."""
    raw = session.offer.get("raw")
    return max(0.0, session.usd_h - session.stopped_usd_h), _most(raw if isinstance(raw, dict) else {})

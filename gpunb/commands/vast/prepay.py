"""``vast prepay``: pay for a machine in advance, for a discount."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import DURATION, MONEY, verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Fields, Note, Result
from gpunb.units import money_text, price_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.providers.features import Prepay
    from gpunb.sessions.model import Session

__all__ = ["command"]


@verb(
    "vast prepay",
    asks=True,
    undone="nothing was paid",
    session=True,
    first="typed",
    example="vast prepay\nvast prepay --for 30d\nvast prepay train 576",
)
@click.argument("amount", required=False, metavar="[USD]", type=MONEY)
@click.option("--for", "length", type=DURATION, metavar="TIME", help="So much as that long costs: 30d, 90d.")
def command(
    context: Context, *, amount: float | None, length: float | None, session: str | None, yes: bool
) -> Result:
    """Pay USD from your credit into the machine of a session, for a discount (Vast.ai).

    Without an amount: what it holds, and what months would cost. Later payments change the discount, so
    pay for all of the time at once. `rent --reserved --for 30d` does it when it rents. What an early end
    gives back is what is left, less the discount so far.
    """
    from gpunb.providers.features import Prepay, feature
    from gpunb.services import reservations

    found = context.session(session)
    provider = context.provider(found.provider)
    cloud = feature(provider, Prepay)
    if amount is not None and length is not None:
        msg = "vast prepay: takes USD or --for, not both"
        raise BadInput(msg, bill="nothing was paid")
    usd_h, most = reservations.of_session(found)
    if amount is None and length is None:
        return _shown(context, cloud, found)
    if usd_h <= 0 or (amount is not None and amount <= 0):
        msg = f"prepay: {found.name} costs {price_text(usd_h)} an hour; an amount must be above 0"
        raise BadInput(msg, bill="nothing was paid")
    if amount is not None:
        plan = reservations.for_amount(usd_h, amount, most=most)
    else:
        plan = reservations.for_hours(usd_h, (length or 0.0) / 3600.0, most=most)
    if not context.confirm(reservations.to_prepay(found, plan), yes=yes):
        return Result({"session": found.name, "paid": False}, Note("nothing was paid", "dim"), exit_code=1)
    with context.progress(f"prepay {found.name}"):
        answer = reservations.prepay(context.ledger, provider, found, plan)
    rate = answer.get("discount_rate")
    less = f", {rate:.0%} less an hour" if isinstance(rate, (int, float)) else ""
    data = {"session": found.name, "paid": True, "usd": plan.usd, "discount_rate": rate}
    return Result(
        data,
        Note(f"paid {money_text(plan.usd)} into {found.name}{less}", "ok"),
        Note("the ledger goes on counting the full price, so its budget ends no later than before", "dim"),
    )


def _shown(context: Context, cloud: Prepay, found: Session) -> Result:
    from gpunb.services import reservations

    usd_h, most = reservations.of_session(found)
    with context.progress(f"deposit of {found.name}"):
        left = cloud.deposit(found.instance_id).get("balance")
    balance = float(left) if isinstance(left, (int, float)) else None
    plans = [reservations.for_hours(usd_h, months * reservations.MONTH_H, most=most) for months in (1, 3, 6)]
    data = {
        "session": found.name,
        "deposit_usd": balance,
        "plans": [{"usd": plan.usd, "hours": plan.hours, "about_rate": plan.rate} for plan in plans],
    }
    rows = [
        ("holds", "" if balance is None else money_text(balance)),
        ("price", f"{price_text(usd_h)} an hour"),
    ]
    rows += [(f"{plan.hours / 24:g} days", plan.text) for plan in plans if usd_h > 0]
    return Result(data, Fields(rows), Note(typed("vast prepay", found.name, "--for", "30d") + " pays", "dim"))

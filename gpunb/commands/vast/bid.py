"""``vast bid``: change the bid for an interruptible machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import MONEY, OrNever, verb
from gpunb.errors import WrongState
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result
from gpunb.units import costs_text, price_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb(
    "vast bid",
    asks=True,
    undone="nothing was changed",
    session=True,
    first="typed",
    example="vast bid 1.20\nvast bid train win",
)
@click.argument("price", metavar="USD|win", type=OrNever(MONEY, "win"))
def command(context: Context, *, price: float, session: str | None, yes: bool) -> Result:
    """Bid USD an hour for the machine of an interruptible session, or what wins now.

    A machine that was taken back by a higher bid comes back when yours is higher. `rent --spot` rents such
    machines.
    """
    from gpunb.providers.features import Bids, feature
    from gpunb.services.questions import to_bid
    from gpunb.sessions import lifecycle
    from gpunb.sessions.cost import limits
    from gpunb.sessions.model import SessionState

    found = context.session(session)
    provider = context.provider(found.provider)
    market = feature(provider, Bids)
    if found.offer.get("rental") != "spot":
        msg = f"session {found.name} is {found.offer.get('rental') or 'on-demand'}: it takes no bids"
        raise WrongState(
            msg, bill="nothing was changed", hint=typed("rent --spot") + " rents interruptible machines"
        )
    wins = price == float("inf")
    if wins:
        limits.check_unknown_price(found)
    else:
        limits.check_price(context.ledger, found, price)
    if not context.confirm(to_bid(found, None if wins else price), yes=yes):
        return Result({"session": found.name, "bid": False}, Note("nothing was changed", "dim"), exit_code=1)
    with context.progress(f"bid for {found.name}"):
        market.change_bid(found.instance_id, None if wins else price)
        found = lifecycle.refresh(context.ledger, provider, found)
    shown = "what wins now" if wins else f"{price_text(price)} an hour"
    notes = [
        Note(f"the bid for {found.name} is {shown}", "ok"),
        Note(f"it is {found.state.value} and {costs_text(found.hourly)}", ""),
    ]
    if found.state is SessionState.STOPPED:
        notes.append(
            Note(typed("start -s", found.name) + " brings it back if that bid is the highest", "dim")
        )
    data = {
        "session": found.name,
        "state": found.state.value,
        "bid_usd_h": None if wins else price,
        "usd_h": found.usd_h,
    }
    return Result(data, *notes)

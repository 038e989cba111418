"""Account balances, compared with what the rentals will still cost until their leases end.

Vast.ai is prepaid: at zero it stops every instance and bills the disks on, and where no payment method is
saved it deletes instances and data ("Negative Balances" of its page on billing). The other clouds have no
call that tells a balance (`gpunb.providers.base.Provider.balance`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gpunb.hints import typed
from gpunb.sessions.foreign_errors import ANY
from gpunb.units import duration_text, money_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.providers.base import Provider
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = ["Funds", "ask", "bound", "lines", "shortage"]


class Funds(NamedTuple):
    """An account's balance when it was last queried.

    Attributes
    ----------
    usd
        US dollars; below zero is a debt.
    at
        When, Unix seconds.
    title, means
        The cloud's name, and what it does when nothing is left (`Provider.broke`).
    """

    provider: str
    title: str
    usd: float
    at: float
    means: str


def ask(ledger: Ledger, provider: Provider) -> Funds | None:
    """Query the account's balance and store it in the ledger; None where its cloud has none."""
    try:
        usd = provider.balance()
        if usd is None:
            return None
        funds = Funds(
            provider=provider.name,
            title=provider.title,
            usd=usd,
            at=ledger.clock.time(),
            means=provider.broke,
        )
        ledger.note_funds(funds)
    except ANY:  # a key without that right, a cloud that is down: neither blocks renting or ending
        return None
    return funds


def bound(sessions: Sequence[Session], provider: str, now: float) -> tuple[float, float]:
    """Cost of a cloud's live sessions until their leases end, and an hour, in US dollars."""
    usd = hourly = 0.0
    for session in sessions:
        if session.provider == provider and session.alive:
            left = max(0.0, (session.lease.deadline or now) - now)
            usd += session.hourly * left / 3600.0
            hourly += session.hourly
    return usd, hourly


def shortage(funds: Funds, sessions: Sequence[Session], now: float, *, more: float, hourly: float) -> str:
    """A warning if the account can't pay `more` US dollars on top of its rentals; "" if it can.

    Parameters
    ----------
    hourly
        US dollars an hour of what is to be rented.
    """
    taken, running = bound(sessions, funds.provider, now)
    if funds.usd >= taken + more:
        return ""
    holds = f"the account at {funds.title} holds {money_text(funds.usd)}"
    beside = f" and the leases of what runs there take {money_text(taken)}" if taken else ""
    speed = running + hourly
    lasts = max(0.0, funds.usd / speed * 3600.0) if speed > 0 else 0.0
    enough = f"enough for {duration_text(lasts)}" if lasts >= 60.0 else "nothing to pay it with"
    return f"{holds}{beside}, {enough}; at zero {funds.means}"


def lines(ledger: Ledger, sessions: Sequence[Session], now: float) -> list[tuple[str, str]]:
    """(cloud, warning) for each account that can't pay until the leases end."""
    out: list[tuple[str, str]] = []
    for funds in ledger.funds():
        taken, hourly = bound(sessions, funds.provider, now)
        if not hourly:
            continue
        since = max(0.0, now - funds.at)
        left = funds.usd - hourly * since / 3600.0
        if left >= taken:
            continue
        lasts = max(0.0, left / hourly * 3600.0)
        when = f"in about {duration_text(lasts)}" if lasts >= 60.0 else "now"
        text = (
            f"the account at {funds.title} holds {money_text(left)}, and the leases there "
            f"take {money_text(taken)}: {when} {funds.means}; add credit on its page, or end something: "
            + typed("down")
        )
        out.append((funds.provider, text))
    return out

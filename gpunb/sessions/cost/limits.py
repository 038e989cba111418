"""Caps over all sessions (settings ``[limits]`` and ``[agent]``): what they refuse, warn of and end.

What a rental takes of a cap is refused before its create call, inside the transaction that records it, so
that any number of processes together stay below. What counts against a cap says `limits_used`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb.errors import LimitReached
from gpunb.hints import typed
from gpunb.sessions.access import renter
from gpunb.sessions.cost.lease import Due
from gpunb.sessions.cost.limits_used import (
    PERIODS,
    agents,
    amount_text,
    amounts,
    current,
    period,
    used,
    why,
)
from gpunb.sessions.model import OVER, Session, SessionState, offer_to_dict
from gpunb.trust import rank
from gpunb.units import duration_text, money_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.providers.base import Offer
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Lease
    from gpunb.settings import LimitsSettings

__all__ = [
    "admit",
    "admit_payment",
    "admit_volume",
    "check",
    "check_all",
    "check_price",
    "check_unknown_price",
    "crossed",
    "lines",
]

WARN_S = 600.0
WARN_SHARE = 0.9
_ROUNDING = 1e-6
_LATE_H = 0.05  # a lease counts from the create call, a session from a moment before it


def admit(ledger: Ledger, session_id: str) -> None:
    """Refuse what a session, as the ledger has it now, would take beyond a cap.

    Called inside the transaction that records the rental, the start or the extension: what is refused here is
    rolled back with it.

    Raises
    ------
    LimitReached
        A cap is crossed; the message names it, its value and what is used.
    SettingsError
        The settings can't be read.
    """
    _check(ledger, ledger.get(session_id))


def _check(ledger: Ledger, session: Session, planned: Sequence[Session] = (), bill: str = "") -> None:
    limits = current()
    over = None if limits is None else _over(ledger, limits, session, planned)
    if over is not None:
        raise _refused(*over, bill=bill)
    limits = agents() if session.agent else None
    over = None if limits is None else _over(ledger, limits, session, planned, by_agents=True)
    if over is not None:
        raise _refused(*over, table="agent", bill=bill)


def _over(
    ledger: Ledger,
    limits: LimitsSettings,
    session: Session,
    planned: Sequence[Session],
    *,
    by_agents: bool = False,
) -> tuple[str, str, str] | None:
    """The first cap that `session` crosses, its value, and why; None if it crosses none."""
    if limits.clouds is not None and session.provider not in limits.clouds:
        return "clouds", ", ".join(limits.clouds), f"this rental is on {session.provider}"
    if limits.trust is not None and rank(session.trust) < rank(limits.trust):
        return "trust", limits.trust, f"the host's trust is {session.trust}"
    deadline = session.lease.deadline
    if limits.max_hours is not None and deadline is not None:
        hours = (deadline - session.created) / 3600.0
        if hours > limits.max_hours + _LATE_H:
            return "max_hours", f"{limits.max_hours:g}", f"the session would last {hours:.3g} hours"
    for cap, most in amounts(limits).items():
        found = used(ledger, cap, planned=planned, by_agents=by_agents)
        part = found.by.get(session.id, 0.0)
        if part > 0 and found.total > most + _ROUNDING:
            return cap, amount_text(cap, most), why(cap, found.total - part, found.others, part)
    return None


def check(ledger: Ledger, offer: Offer, *, lease: Lease, disk_gb: float = 0.0) -> None:
    """Refuse a rental of `offer` that `admit` would refuse, before a question about it is asked.

    Raises
    ------
    LimitReached, SettingsError
        As `admit`.
    """
    check_all(ledger, [offer], lease=lease, disk_gb=disk_gb)


def check_all(ledger: Ledger, offers: Sequence[Offer], *, lease: Lease, disk_gb: float = 0.0) -> None:
    """As `check`, of several machines that are rented together.

    Raises
    ------
    LimitReached, SettingsError
        As `admit`.
    """
    if current() is None and agents() is None:
        return
    now = ledger.clock.time()
    planned = [
        Session(
            id=f"planned {number}",
            name="",
            provider=offer.provider,
            label="",
            state=SessionState.CREATING,
            created=now,
            lease=lease,
            usd_h=offer.hourly(disk_gb),
            gpu=offer.gpu,
            gpus=offer.gpus,
            trust=offer.trust,
            offer=offer_to_dict(offer),
            renter=renter.agent(),
        )
        for number, offer in enumerate(offers)
    ]
    for session in planned:
        _check(ledger, session, planned=planned, bill="nothing was rented" if len(planned) > 1 else "")


def check_price(ledger: Ledger, session: Session, usd_h: float) -> None:
    """Refuse another price of a session, US dollars an hour, that a cap does not allow.

    Raises
    ------
    LimitReached, SettingsError
        As `admit`.
    """
    if usd_h > session.usd_h:
        dearer = replace(session, usd_h=usd_h)
        _check(ledger, dearer, planned=[dearer], bill="nothing was changed")


def admit_payment(ledger: Ledger, usd: float) -> None:
    """Refuse a payment in advance beyond the caps of the day and the month.

    Raises
    ------
    LimitReached, SettingsError
        As `admit`.
    """
    limits = current()
    for cap, most in amounts(limits).items() if limits is not None else ():
        found = used(ledger, cap)
        if cap in PERIODS and found.total + usd > most + _ROUNDING:
            raise _refused(cap, amount_text(cap, most), why(cap, found.total, found.others, usd))


def admit_volume(ledger: Ledger, usd_h: float) -> None:
    """Refuse a volume of `usd_h` US dollars an hour, which no lease ends, beyond the caps of money.

    Raises
    ------
    LimitReached, SettingsError
        As `admit`.
    """
    limits, now = current(), ledger.clock.time()
    for cap, most in amounts(limits).items() if limits is not None else ():
        if cap == "usd_h" or cap in PERIODS:
            hours = (period(cap, now)[1] - now) / 3600.0 if cap in PERIODS else 1.0
            found = used(ledger, cap)
            if usd_h > 0 and found.total + usd_h * hours > most + _ROUNDING:
                more = why(cap, found.total, found.others, usd_h * hours)
                raise _refused(cap, amount_text(cap, most), more, bill="nothing was rented")


def check_unknown_price(session: Session) -> None:
    """Refuse a price that is known only when it is set, where there is a cap of money.

    Raises
    ------
    LimitReached, SettingsError
        There is one.
    """
    tables = {"limits": current(), "agent": agents() if session.agent else None}
    for table, caps in tables.items():
        for cap in ("usd_h", *PERIODS):
            most = getattr(caps, cap, None)
            if most is not None:
                msg = (
                    f"your cap {table}.{cap} = {amount_text(cap, most)} can't be held against what wins now: "
                    "its price is known when it is set"
                )
                raise LimitReached(
                    msg,
                    bill="nothing was changed",
                    hint=typed("vast bid", session.name, "USD") + " bids an amount",
                )


def crossed(
    ledger: Ledger, limits: LimitsSettings, *, ahead_s: float = 0.0, by_agents: bool = False
) -> dict[str, Due]:
    """The sessions that a cap ends now, by id.

    A period's cap ends all that cost something. The cap of the hourly price ends the newest until the rest is
    below it. Caps of number, trust and clouds end nothing: they say what may be rented.

    Parameters
    ----------
    ahead_s
        Spending is counted as it will be in so many seconds, so that the end comes before the cap.
    """
    now = ledger.clock.time()
    live = [one for one in ledger.sessions() if one.hourly > 0 and one.state is not SessionState.ENDING]
    live = [one for one in live if one.agent] if by_agents else live
    table = "agent" if by_agents else "limits"
    out: dict[str, Due] = {}
    for cap, most in amounts(limits).items():
        if cap in PERIODS:
            soon = (
                used(ledger, cap, now=now, by_agents=by_agents).now
                + math.fsum(one.hourly for one in live) * ahead_s / 3600.0
            )
            if soon > most - _ROUNDING and live:
                text = f"the cap of {amount_text(cap, most)} for {PERIODS[cap]} is reached ({table}.{cap})"
                out.update({one.id: Due(why="limit", text=text) for one in live})
        elif cap == "usd_h":
            # one that is ending already is on its way out: it must not take another with it
            over = (
                math.fsum(one.hourly for one in live) + used(ledger, cap, by_agents=by_agents).others - most
            )
            for one in sorted(live, key=lambda session: session.created, reverse=True):
                if over <= _ROUNDING:
                    break
                text = f"all sessions together cost more than {amount_text(cap, most)} ({table}.usd_h)"
                out[one.id] = Due(why="limit", text=text)
                over -= one.hourly
    if limits.max_hours is not None:
        for one in live:
            if now + ahead_s >= one.created + (limits.max_hours + _LATE_H) * 3600.0:
                text = f"it has lasted {limits.max_hours:g} hours ({table}.max_hours)"
                out.setdefault(one.id, Due(why="limit", text=text))
    return out


def lines(ledger: Ledger, limits: LimitsSettings, now: float) -> list[tuple[str, str]]:
    """A warning for each cap of money that is nearly reached, as (cap, text)."""
    hourly = math.fsum(session.hourly for session in ledger.sessions() if session.state not in OVER)
    out: list[tuple[str, str]] = []
    for cap, most in amounts(limits).items():
        if cap not in PERIODS or hourly <= 0:
            continue
        spent = used(ledger, cap, now=now).now
        left_s = max(0.0, most - spent) / hourly * 3600.0
        if left_s <= WARN_S or spent >= WARN_SHARE * most:
            out.append(
                (
                    cap,
                    f"{money_text(spent)} of your cap of {amount_text(cap, most)} for {PERIODS[cap]} are "
                    f"spent (limits.{cap}): in {duration_text(left_s)} at this rate all paid sessions end, "
                    "after what they save; " + typed("limits") + " shows the caps",
                )
            )
    return out


def _refused(cap: str, value: str, because: str, *, table: str = "limits", bill: str = "") -> LimitReached:
    msg = f"your cap {table}.{cap} = {value} refuses this: {because}"
    return LimitReached(
        msg, bill=bill or None, hint=typed("limits") + " shows the caps and what is left of each"
    )

"""Caps over all sessions (settings ``[limits]``): what counts against them, what they refuse and end.

What a rental takes of a cap is refused before its create call, inside the transaction that records it, so
that any number of processes together stay below. Against a period's cap count what was spent in it and what
the live sessions may still cost until it or their lease ends.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.errors import LimitReached
from gpunb.hints import typed
from gpunb.sessions.access import renter
from gpunb.sessions.cost.lease import Due
from gpunb.sessions.cost.totals import between
from gpunb.sessions.model import (
    OVER,
    OtherInstance,
    Session,
    SessionState,
    offer_from_dict,
    offer_to_dict,
)
from gpunb.trust import rank
from gpunb.units import duration_text, money_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gpunb.providers.base import Instance, Offer, Provider
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Lease
    from gpunb.settings import AgentSettings, LimitsSettings

__all__ = [
    "AMOUNTS",
    "PERIODS",
    "Used",
    "admit",
    "admit_payment",
    "admit_volume",
    "agents",
    "check",
    "check_price",
    "check_unknown_price",
    "crossed",
    "current",
    "lines",
    "note_others",
    "own",
    "used",
]

#: The caps in money over a period, and the period's name in messages.
PERIODS = {"usd_day": "today", "usd_month": "this month"}
AMOUNTS = ("usd_h", *PERIODS, "sessions", "gpus")  # caps that something is counted against
KEEP_S = 40 * 86400.0  # instances of others are remembered for longer than the longest period
WARN_S = 600.0
WARN_SHARE = 0.9
_ROUNDING = 1e-6
_LATE_H = 0.05  # a lease counts from the create call, a session from a moment before it


@dataclass(slots=True, kw_only=True)
class Used:
    """What counts against one cap.

    Attributes
    ----------
    now
        US dollars spent, US dollars an hour, sessions or GPUs.
    ahead
        US dollars that live sessions may still cost within the period.
    others
        The part of `now` that belongs to instances on the accounts which are not ours.
    by
        Session id -> its part of `now` and `ahead`.
    """

    now: float = 0.0
    ahead: float = 0.0
    others: float = 0.0
    by: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """What is used, and promised."""
        return self.now + self.ahead


def current(folder: Path | None = None) -> LimitsSettings | None:
    """The caps that hold in `folder` (the working folder if None); None if no cap is set.

    Raises
    ------
    SettingsError
        The settings can't be read.
    """
    from gpunb import settings

    found = settings.load(cwd=folder).limits
    return found if found.model_fields_set else None


def own() -> LimitsSettings | None:
    """The user's own caps, without those of a project's file.

    Raises
    ------
    SettingsError
        As `current`.
    """
    return current(Path("/"))


def agents() -> AgentSettings | None:
    """The caps over what agents rent, which are the user's own; None if no cap is set.

    Raises
    ------
    SettingsError
        As `current`.
    """
    from gpunb import settings

    found = settings.load(cwd=Path("/")).agent
    return found if found.model_fields_set - {"confirm"} else None


def period(cap: str, now: float) -> tuple[float, float]:
    """The begin and end (Unix seconds) of the day or month of local time that `now` is in."""
    day = dt.datetime.fromtimestamp(now).astimezone().date()
    if cap == "usd_month":
        first = day.replace(day=1)
        last = (first + dt.timedelta(days=32)).replace(day=1)
    else:
        first, last = day, day + dt.timedelta(days=1)
    begin, end = (dt.datetime.combine(one, dt.time()).astimezone().timestamp() for one in (first, last))
    return begin, end


def used(
    ledger: Ledger,
    cap: str,
    *,
    now: float | None = None,
    planned: Sequence[Session] = (),
    by_agents: bool = False,
) -> Used:
    """What counts against `cap` ("usd_h", "usd_day", "usd_month", "sessions", "gpus") now.

    Parameters
    ----------
    planned
        Sessions that the ledger does not have yet, or as they are to become.
    by_agents
        Count the sessions only that agents have rented.
    """
    at = ledger.clock.time() if now is None else now
    recorded = [one for one in ledger.sessions() if one.state is not SessionState.REQUESTED]
    live = [*{one.id: one for one in (*recorded, *planned)}.values()]
    if by_agents:
        live = [one for one in live if one.agent]
    others = [] if by_agents else ledger.others()
    theirs = ledger.agents() if by_agents else None
    out = Used()
    begin, end = period(cap, at)
    if cap in PERIODS:
        for session_id, segments in ledger.segments_since(begin).items():
            if theirs is not None and session_id not in theirs:
                continue
            out.by[session_id] = between(segments, begin, at).total
        out.now = math.fsum(out.by.values())
        for session in live:
            ahead = _ahead(ledger, session, at, end)
            out.ahead += ahead
            out.by[session.id] = out.by.get(session.id, 0.0) + ahead
        out.others = math.fsum(
            instance.usd_h * max(0.0, instance.last - max(begin, instance.first)) / 3600
            for instance in others
        )
    else:
        out.by = {one.id: _part(cap, one) for one in live}
        out.now = math.fsum(out.by.values())
        here = [instance for instance in others if instance.gone is None]
        # how many GPUs another's instance has is not listed
        out.others = math.fsum(
            {"usd_h": instance.usd_h, "gpus": 0.0, "sessions": 1.0}[cap] for instance in here
        )
    for volume in () if by_agents else ledger.idle_volumes():
        usd_h = volume.usd_h or 0.0
        if cap == "usd_h":
            out.now += usd_h
        elif cap in PERIODS:
            out.now += usd_h * max(0.0, at - max(begin, volume.since)) / 3600.0
            out.ahead += usd_h * max(0.0, end - at) / 3600.0
    out.now += out.others
    return out


def _part(cap: str, session: Session) -> float:
    if cap == "usd_h":
        return session.hourly
    running = session.state is not SessionState.STOPPED
    return float(session.gpus if cap == "gpus" and running else cap == "sessions")


def _ahead(ledger: Ledger, session: Session, now: float, end: float) -> float:
    """What a live session may still cost until `end` or the end of its lease, US dollars."""
    lease = session.lease
    if session.state is SessionState.ENDING or session.hourly <= 0:
        return 0.0
    until = end if lease.deadline is None else min(end, lease.deadline)
    hours = max(0.0, until - now) / 3600.0
    paid = session.state in {SessionState.READY, SessionState.REACHABLE, SessionState.BOOTING}
    cost = session.hourly * offer_from_dict(session.offer).billed_h(hours, more=paid)
    if lease.budget_usd is not None:
        cost = min(cost, max(0.0, lease.budget_usd - lease.counted(ledger.cost(session.id, now))))
    return cost


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
    for cap, most in _amounts(limits).items():
        found = used(ledger, cap, planned=planned, by_agents=by_agents)
        part = found.by.get(session.id, 0.0)
        if part > 0 and found.total > most + _ROUNDING:
            return cap, _text(cap, most), _why(cap, found.total - part, found.others, part)
    return None


def check(ledger: Ledger, offer: Offer, *, lease: Lease, disk_gb: float = 0.0) -> None:
    """Refuse a rental of `offer` that `admit` would refuse, before a question about it is asked.

    Raises
    ------
    LimitReached, SettingsError
        As `admit`.
    """
    if current() is None and agents() is None:
        return
    now = ledger.clock.time()
    planned = Session(
        id="",
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
    _check(ledger, planned, planned=[planned])


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
    for cap, most in _amounts(limits).items() if limits is not None else ():
        found = used(ledger, cap)
        if cap in PERIODS and found.total + usd > most + _ROUNDING:
            raise _refused(cap, _text(cap, most), _why(cap, found.total, found.others, usd))


def admit_volume(ledger: Ledger, usd_h: float) -> None:
    """Refuse a volume of `usd_h` US dollars an hour, which no lease ends, beyond the caps of money.

    Raises
    ------
    LimitReached, SettingsError
        As `admit`.
    """
    limits, now = current(), ledger.clock.time()
    for cap, most in _amounts(limits).items() if limits is not None else ():
        if cap == "usd_h" or cap in PERIODS:
            hours = (period(cap, now)[1] - now) / 3600.0 if cap in PERIODS else 1.0
            found = used(ledger, cap)
            if usd_h > 0 and found.total + usd_h * hours > most + _ROUNDING:
                why = _why(cap, found.total, found.others, usd_h * hours)
                raise _refused(cap, _text(cap, most), why, bill="nothing was rented")


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
                    f"your cap {table}.{cap} = {_text(cap, most)} can't be held against what wins now: "
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
    for cap, most in _amounts(limits).items():
        if cap in PERIODS:
            soon = (
                used(ledger, cap, now=now, by_agents=by_agents).now
                + math.fsum(one.hourly for one in live) * ahead_s / 3600.0
            )
            if soon > most - _ROUNDING and live:
                text = f"the cap of {_text(cap, most)} for {PERIODS[cap]} is reached ({table}.{cap})"
                out.update({one.id: Due(why="limit", text=text) for one in live})
        elif cap == "usd_h":
            # one that is ending already is on its way out: it must not take another with it
            over = (
                math.fsum(one.hourly for one in live) + used(ledger, cap, by_agents=by_agents).others - most
            )
            for one in sorted(live, key=lambda session: session.created, reverse=True):
                if over <= _ROUNDING:
                    break
                text = f"all sessions together cost more than {_text(cap, most)} ({table}.usd_h)"
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
    for cap, most in _amounts(limits).items():
        if cap not in PERIODS or hourly <= 0:
            continue
        spent = used(ledger, cap, now=now).now
        left_s = max(0.0, most - spent) / hourly * 3600.0
        if left_s <= WARN_S or spent >= WARN_SHARE * most:
            out.append(
                (
                    cap,
                    f"{money_text(spent)} of your cap of {_text(cap, most)} for {PERIODS[cap]} are spent "
                    f"(limits.{cap}): in {duration_text(left_s)} at this rate all paid sessions end, after "
                    "what they save; " + typed("limits") + " shows the caps",
                )
            )
    return out


def note_others(ledger: Ledger, provider: Provider, listed: Iterable[Instance]) -> None:
    """Record instances on the account that are not ours, with what they cost since they were first seen."""
    now = ledger.clock.time()
    mine = {session.instance_id for session in ledger.sessions() if session.provider == provider.name}
    labels = {intent.label for intent in ledger.intents(unresolved=True)}
    known = {instance.id: instance for instance in ledger.others(provider.name)}
    seen: dict[str, OtherInstance] = {}
    for instance in listed:
        if (
            instance.id in mine
            or instance.label in labels
            or provider.ended(instance)
            or not instance.usd_h > 0
        ):
            continue
        first = known[instance.id].first if instance.id in known else min(now, instance.created or now)
        seen[instance.id] = OtherInstance(
            provider=provider.name, id=instance.id, usd_h=instance.usd_h, first=first, last=now
        )
    for ident, before in known.items():
        if ident not in seen and ident not in mine and now - before.last < KEEP_S:
            before.gone = before.gone or now
            seen[ident] = before
    if seen or known:
        ledger.save_others(provider.name, list(seen.values()))


def _amounts(limits: LimitsSettings) -> Mapping[str, float]:
    """The caps that are numbers of what is used, those that are set."""
    return {cap: float(most) for cap in AMOUNTS if (most := getattr(limits, cap)) is not None}


def _text(cap: str, value: float) -> str:
    return money_text(value) if cap.startswith("usd") else f"{value:g}"


def _why(cap: str, before: float, others: float, part: float) -> str:
    """What is used of a cap, and what comes on top, in words."""
    theirs = (
        f", {_text(cap, others)} of it by instances on your accounts that are not gpunb's" if others else ""
    )
    if cap in PERIODS:
        return (
            f"{money_text(before)} are spent or promised for {PERIODS[cap]}{theirs}, "
            f"and this may cost {money_text(part)} more"
        )
    unit = {"usd_h": " an hour", "sessions": " sessions", "gpus": " GPUs"}[cap]
    return f"{_text(cap, before)}{unit} are in use{theirs}, and this takes {_text(cap, part)}"


def _refused(cap: str, value: str, why: str, *, table: str = "limits", bill: str = "") -> LimitReached:
    msg = f"your cap {table}.{cap} = {value} refuses this: {why}"
    return LimitReached(
        msg, bill=bill or None, hint=typed("limits") + " shows the caps and what is left of each"
    )

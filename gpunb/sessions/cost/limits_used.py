"""What counts against the caps over all sessions (settings ``[limits]`` and ``[agent]``), and in what words.

Against a period's cap count what was spent in it and what the live sessions may still cost until it or their
lease ends.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.sessions.cost.totals import between
from gpunb.sessions.model import OtherInstance, Session, SessionState, offer_from_dict
from gpunb.units import money_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gpunb.providers.base import Instance, Provider
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.settings import AgentSettings, LimitsSettings

__all__ = [
    "AMOUNTS",
    "PERIODS",
    "Used",
    "agents",
    "amount_text",
    "amounts",
    "current",
    "note_others",
    "own",
    "period",
    "used",
    "why",
]

#: The caps in money over a period, and the period's name in messages.
PERIODS = {"usd_day": "today", "usd_month": "this month"}
AMOUNTS = ("usd_h", *PERIODS, "sessions", "gpus")  # caps that something is counted against
KEEP_S = 40 * 86400.0  # instances of others are remembered for longer than the longest period


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


def amounts(limits: LimitsSettings) -> Mapping[str, float]:
    """The caps that are numbers of what is used, those that are set."""
    return {cap: float(most) for cap in AMOUNTS if (most := getattr(limits, cap)) is not None}


def amount_text(cap: str, value: float) -> str:
    """A value of a cap, in words: dollars or a number."""
    return money_text(value) if cap.startswith("usd") else f"{value:g}"


def why(cap: str, before: float, others: float, part: float) -> str:
    """What is used of a cap, and what comes on top, in words."""
    theirs = (
        f", {amount_text(cap, others)} of it by instances on your accounts that are not gpunb's"
        if others
        else ""
    )
    if cap in PERIODS:
        return (
            f"{money_text(before)} are spent or promised for {PERIODS[cap]}{theirs}, "
            f"and this may cost {money_text(part)} more"
        )
    unit = {"usd_h": " an hour", "sessions": " sessions", "gpus": " GPUs"}[cap]
    return f"{amount_text(cap, before)}{unit} are in use{theirs}, and this takes {amount_text(cap, part)}"

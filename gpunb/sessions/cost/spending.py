"""Spending report: cost by session, day, cloud and run, beside the clouds' own figures."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError
from gpunb.providers.base import Capability
from gpunb.sessions.cost import bills
from gpunb.sessions.cost.totals import between
from gpunb.sessions.model import OVER, Cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gpunb.providers.base import Provider, UsageLine
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import RunNote, Segment, Session

__all__ = ["RunCost", "Spent", "added", "ask_clouds", "by_day", "of_run", "spent"]


@dataclass(slots=True, kw_only=True)
class Spent:
    """The cost of one session within a period.

    Attributes
    ----------
    seconds
        How long it has lived altogether.
    whole
        Whether all of its life lies within that period.
    provider_usd
        What its provider says that all of it cost; None where it has not said.
    not_billed
        Whether the provider has charged nothing for it yet.
    contradicts
        The assumption about its billing that its figure speaks against, "" if none.
    """

    session: Session
    cost: Cost
    seconds: float
    whole: bool = True
    provider_usd: float | None = None
    not_billed: bool = False
    contradicts: str = ""

    @property
    def difference(self) -> float | None:
        """The provider's figure minus ours in US dollars; None if they can't be compared."""
        if self.provider_usd is None or not self.whole:
            return None
        return self.provider_usd - self.cost.total


@dataclass(slots=True, kw_only=True)
class RunCost:
    """The machine's cost during a run; runs that overlap each count all of it."""

    run: RunNote
    session: Session
    seconds: float
    usd: float


def added(costs: Iterable[Cost]) -> Cost:
    """Sum costs by kind."""
    gpu = disk = bandwidth = 0.0
    for cost in costs:
        gpu, disk, bandwidth = gpu + cost.gpu, disk + cost.disk, bandwidth + cost.bandwidth
    return Cost(gpu=gpu, disk=disk, bandwidth=bandwidth)


def spent(ledger: Ledger, *, since: float = 0.0) -> list[Spent]:
    """Sessions that cost something or were live since `since` (Unix seconds), newest first."""
    now = ledger.clock.time()
    out = []
    for session in reversed(ledger.sessions(alive=False)):
        end = session.ended or now
        if end < since:
            continue
        receipt = ledger.receipt(session.id)
        out.append(
            Spent(
                session=session,
                cost=between(ledger.segments(session.id), since, now),
                seconds=max(0.0, end - session.created),
                whole=session.created >= since,
                provider_usd=receipt.provider_usd if receipt is not None else None,
                not_billed=receipt is not None and receipt.not_billed,
                contradicts=receipt.contradicts if receipt is not None else "",
            )
        )
    return out


def by_day(ledger: Ledger, sessions: Iterable[Session], *, since: float = 0.0) -> list[tuple[str, Cost]]:
    """The cost of each day with spending (local dates), as (date, cost), newest first."""
    now = ledger.clock.time()
    days: dict[str, list[Cost]] = {}
    for session in sessions:
        segments = ledger.segments(session.id)
        if not segments:
            continue
        begin = max(since, min(segment.start for segment in segments))
        last = max(now if segment.end is None else segment.end for segment in segments)
        while begin < last:
            day = dt.datetime.fromtimestamp(begin).astimezone().date()
            midnight = dt.datetime.combine(day + dt.timedelta(days=1), dt.time())
            end = min(midnight.astimezone().timestamp(), last)
            cost = between(segments, begin, end)
            if cost.total:
                days.setdefault(day.isoformat(), []).append(cost)
            begin = end
    return sorted(((day, added(costs)) for day, costs in days.items()), reverse=True)


def of_run(segments: Iterable[Segment], run: RunNote, until: float) -> float:
    """The machine's cost from a run's start to its end in US dollars, without billing steps.

    Parameters
    ----------
    until
        Where a run that has not ended is counted to.
    """
    end = run.ended if run.ended is not None else until
    usd = 0.0
    for segment in segments:
        if segment.kind == "bandwidth":
            continue
        both = min(end, until if segment.end is None else segment.end) - max(run.started, segment.start)
        usd += segment.rate * max(0.0, both) / 3600.0
    return usd


def ask_clouds(
    ledger: Ledger, rows: Sequence[Spent], providers: Callable[[str], Provider]
) -> list[tuple[str, str]]:
    """Query the providers' own figures for `rows`, and store them in the receipts.

    Returns (provider, reason) of those that could not be asked. One that has no such figure
    is left out.
    """
    failed: list[tuple[str, str]] = []
    for name in sorted({row.session.provider for row in rows}):
        mine = [row for row in rows if row.session.provider == name]
        try:
            provider = providers(name)
            if not provider.can(Capability.USAGE):
                continue
            ids = {
                intent.instance_id: one
                for one in mine
                for intent in ledger.intents(one.session.id)
                if intent.instance_id
            }
            lines = provider.usages(list(ids))
        except GpunbError as err:
            failed.append((name, err.message))
            continue
        answers: dict[str, list[UsageLine]] = {}
        for line in lines:
            owner = ids.get(line.instance_id)
            if owner is not None:
                answers.setdefault(owner.session.id, []).append(line)
        asked = {ident.session.id for ident in ids.values()}
        for one in mine:
            if one.session.id in asked:
                by = bills.summed(answers.get(one.session.id, ()), one.cost.total)
                _say(ledger, one, by)
                _keep(ledger, one)
    return failed


def _say(ledger: Ledger, one: Spent, by: Mapping[str, float] | None) -> None:
    """The provider's current figure; an earlier one stays if it no longer reports any."""
    if by is None:
        one.not_billed = one.provider_usd is None
        return
    one.provider_usd, one.not_billed = sum(by.values()), False
    one.contradicts = bills.contradicted(ledger, one.session, by)


def _keep(ledger: Ledger, one: Spent) -> None:
    receipt = ledger.receipt(one.session.id)
    figures = (one.provider_usd, one.not_billed, one.contradicts)
    if receipt is None or one.session.state not in OVER:
        return
    if (receipt.provider_usd, receipt.not_billed, receipt.contradicts) != figures:
        receipt.provider_usd, receipt.not_billed, receipt.contradicts = figures
        ledger.save_receipt(receipt)

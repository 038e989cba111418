"""Routes of costs and receipts."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from gpunb.presentation import tables
from gpunb.server import schemas, shown
from gpunb.server.handlers.base import Handler, authorized, guarded
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.presentation import api, models
    from gpunb.server.hub import Hub
    from gpunb.sessions.cost.spending import Spent

__all__ = ["ROUTES"]


class Cost(Handler):
    """``GET cost``: costs from the ledger."""

    @guarded
    @authorized
    async def get(self) -> None:
        """Return the costs by session, day or cloud."""
        by = schemas.word("by", self.query("by"), ("session", "day", "cloud"))
        days = schemas.number("days", self.query("days"), default=30, least=1, most=36_500)
        await self.answer(self.hub.quick, _cost, self.hub, by, days)


class Receipts(Handler):
    """``GET receipts``: receipts of ended sessions."""

    @guarded
    @authorized
    async def get(self) -> None:
        """List the receipts, newest first."""
        limit = schemas.number("limit", self.query("limit"), default=50, least=1, most=1000)
        await self.answer(self.hub.quick, _receipts, self.hub, limit)


def _cost(hub: Hub, by: str, days: int) -> api.Costs:
    from gpunb.sessions.cost import spending

    ledger = hub.ledger()
    begin = max(0.0, time.time() - days * 86_400.0)
    rows = spending.spent(ledger, since=begin)
    if by == "session":
        found = [_session(spent) for spent in rows]
    elif by == "day":
        sessions = [spent.session for spent in rows]
        found = [
            {"key": day, "label": day, "cost": tables.dollars(cost)}
            for day, cost in spending.by_day(ledger, sessions, since=begin)
        ]
    else:
        found = [
            _cloud(name, [spent for spent in rows if spent.session.provider == name])
            for name in sorted({spent.session.provider for spent in rows})
        ]
    total = tables.dollars(spending.added(spent.cost for spent in rows))
    usd_h = math.fsum(session.hourly for session in ledger.sessions())
    return {"by": by, "rows": found, "total": total, "usd_h": round(usd_h, 6)}


def _session(one: Spent) -> api.CostRow:
    return {
        "key": one.session.id,
        "label": clean(one.session.name),
        "provider": one.session.provider,
        "state": one.session.state.value,
        "seconds": one.seconds,
        "cost": tables.dollars(one.cost),
        "provider_usd": one.provider_usd,
    }


def _cloud(name: str, rows: list[Spent]) -> api.CostRow:
    from gpunb.sessions.cost import spending

    figures = [spent.provider_usd for spent in rows if spent.provider_usd is not None]
    return {
        "key": name,
        "label": name,
        "provider": name,
        "cost": tables.dollars(spending.added(spent.cost for spent in rows)),
        "provider_usd": math.fsum(figures) if figures else None,
    }


def _receipts(hub: Hub, limit: int) -> dict[str, list[models.Receipt]]:
    return {"receipts": [shown.receipt(receipt) for receipt in hub.ledger().receipts(limit)]}


ROUTES: list[tuple[str, type[Handler]]] = [(r"/cost", Cost), (r"/receipts", Receipts)]

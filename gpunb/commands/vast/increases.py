"""``vast increases``: price increases that hosts request for running machines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.text import clean
from gpunb.units import price_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.providers import Provider
    from gpunb.providers.features import PriceIncrease
    from gpunb.sessions.model import Session

__all__ = ["command"]


COLUMNS = (
    Column("id"),
    Column("session"),
    Column("instance", drop=9),
    Column("$/h", right=True),
    Column("$/GPU/h", right=True),
    Column("disk $/GB/month", right=True, drop=5),
    Column("in $/GB", right=True, drop=4),
    Column("out $/GB", right=True, drop=3),
    Column("fee", right=True, drop=2),
    Column("contract ends", right=True, drop=1),
)


@verb(
    "vast increases",
    asks=True,
    undone="nothing was changed",
    example="vast increases\nvast increases --accept 4711\nvast increases --refuse 4711",
)
@click.option("--accept", type=int, metavar="ID", help="Pay the new price from now on.")
@click.option("--refuse", type=int, metavar="ID", help="Keep the old price; the host may end the rental.")
def command(context: Context, *, accept: int | None, refuse: int | None, yes: bool) -> Result:
    """Show, accept or refuse the price increases that hosts ask for."""
    from gpunb.providers.features import PriceIncreases, feature
    from gpunb.services.questions import to_answer_increase

    if accept is not None and refuse is not None:
        msg = "vast increases: takes --accept or --refuse, not both"
        raise BadInput(msg, bill="nothing was changed")
    wanted = accept if accept is not None else refuse
    names = {found.instance_id: found for found in context.ledger.sessions()}
    rows: list[list[object]] = []
    data: list[dict[str, Any]] = []
    notes: list[Block] = []
    for cloud in _clouds(context):
        try:
            for increase in feature(cloud, PriceIncreases).price_increases():
                if wanted is not None and increase.id != wanted:
                    continue
                session = names.get(increase.instance_id)
                data.append(
                    {
                        "id": increase.id,
                        "provider": cloud.name,
                        "session": session.name if session else None,
                        "instance": increase.instance_id,
                        **_prices(increase, session),
                    }
                )
                rows.append(_row(data[-1]))
                if wanted is not None:
                    row = data[-1]
                    question = to_answer_increase(
                        row["session"] or f"instance {row['instance']}",
                        _terms(rows[-1]),
                        accept=accept is not None,
                    )
                    if not context.confirm(question, yes=yes):
                        return Result([], Note("nothing was changed", "dim"), exit_code=1)
                    feature(cloud, PriceIncreases).answer_price_increase(
                        increase.id, accept=accept is not None
                    )
        except ANY as err:
            if wanted is not None:
                raise
            notes.append(Note(clean(f"{cloud.name}: {words(err)}"), "warn"))
    if wanted is not None:
        if not rows:
            msg = f"increases: there is no price increase {wanted}"
            raise BadInput(msg, bill="nothing was changed", hint=typed("vast increases") + " lists them")
        word = "accepted" if accept is not None else "refused"
        notes.append(Note(f"{word} price increase {wanted}", "ok"))
    blocks: list[Block] = [Table(COLUMNS, rows)] if rows else []
    if not rows and not notes:
        notes.append(Note("no host asks for more", "dim"))
    return Result(data, *blocks, *notes)


def _clouds(context: Context) -> list[Provider]:
    from gpunb.providers import keys, names
    from gpunb.providers.features import PriceIncreases

    used = {session.provider for session in context.ledger.sessions()}
    used |= set(keys.asked(context.settings, names()))
    return [cloud for cloud in context.clouds(sorted(used)) if isinstance(cloud, PriceIncreases)]


def _prices(one: PriceIncrease, session: Session | None) -> dict[str, Any]:
    """All prices accepted with it; for a session's machine the price of the whole machine."""
    old, new = one.hourly(session.gpus or 1, session.disk_gb) if session else (None, None)
    return {
        "old_usd_h": old,
        "new_usd_h": new,
        "gpu_usd_h": [one.old_gpu_usd_h, one.new_gpu_usd_h],
        "disk_usd_gb_month": [one.old_disk_usd_gb_month, one.new_disk_usd_gb_month],
        "up_usd_gb": [one.old_up_usd_gb, one.new_up_usd_gb],
        "down_usd_gb": [one.old_down_usd_gb, one.new_down_usd_gb],
        "platform_fee": [one.old_fee, one.new_fee],
        "ends": [one.contract_end, one.new_end],
    }


def _row(one: dict[str, Any]) -> list[object]:
    def change(name: str, text: Any) -> str:
        old, new = one[name]
        if old is None and new is None:
            return ""
        return f"{text(old)} → {text(new)}" if old != new else str(text(old))

    whole = one["new_usd_h"]
    return [
        str(one["id"]),
        Cell(one["session"] or "", "strong"),
        one["instance"],
        "" if whole is None else f"{price_text(one['old_usd_h'])} → {price_text(whole)}",
        change("gpu_usd_h", price_text),
        change("disk_usd_gb_month", price_text),
        change("down_usd_gb", price_text),
        change("up_usd_gb", price_text),
        change("platform_fee", lambda share: f"{share:.0%}"),
        change("ends", _day),
    ]


def _terms(row: list[object]) -> str:
    """Describe the changes: the columns that have an arrow."""
    named = [(column.heading, str(cell)) for column, cell in zip(COLUMNS, row, strict=True)]
    return "; ".join(f"{heading} {text}" for heading, text in named if "→" in text) or "nothing changes"


def _day(at: float | None) -> str:
    return "?" if at is None else time.strftime("%Y-%m-%d", time.localtime(at))

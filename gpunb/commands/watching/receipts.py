"""``receipts``: cost, runs and saved files of ended sessions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import no_use, verb
from gpunb.errors import SessionNotFound
from gpunb.hints import typed
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Cell, Note, Result, Table
from gpunb.units import duration_text, money_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.model import Receipt

__all__ = ["command"]


@verb("receipts", reads=True, example="receipts\nreceipts train\nreceipts -n 100 --json")
@click.argument("name", required=False, metavar="[SESSION]")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many."
)
def command(context: Context, *, name: str | None, limit: int) -> Result:
    """List the receipts, newest first, or show one whole: what ran, for how long, and what it cost."""
    from gpunb.presentation import tables
    from gpunb.sessions.model import machine

    ledger = context.ledger
    if name is not None:
        no_use("SESSION", "limit")
        session = context.session(name)
        found = ledger.receipt(session.id)
        if found is None:
            msg = f"session {session.name} has no receipt: it is {session.state.value}"
            raise SessionNotFound(msg, hint=typed("show", session.name) + " tells what it is")
        return Result(found.data(), *tables.receipt_blocks(found))
    receipts = ledger.receipts(limit)
    if not receipts:
        return Result([], Note("no receipts yet: no session has ended", "dim"))
    rows = []
    for one in receipts:
        gone = Cell("confirmed", "ok") if one.confirmed is not None else Cell("NOT CONFIRMED", "bad")
        rows.append(
            [
                Cell(one.name, "strong"),
                Cell(one.session_id, "dim"),
                machine(one.gpu, one.gpus),
                one.provider,
                time.strftime("%Y-%m-%d %H:%M", time.localtime(one.ended)),
                duration_text(one.seconds),
                money_text(one.cost.total),
                _billed(one),
                tables.ENDED_BY.get(one.why, one.why),
                gone,
            ]
        )
    heads = [
        Column("session"),
        Column("id", drop=7 if len({one.name for one in receipts}) == len(receipts) else 0),
        Column("gpu", drop=6),
        Column("cloud", drop=2),
        Column("ended", right=True, drop=1),
        Column("duration", right=True, drop=5),
        Column("cost", right=True),
        Column("billed", right=True, drop=3),
        Column("ended by", drop=4, wrap=True),
        Column("gone", wrap=True),
    ]
    return Result([one.data() for one in receipts], Table(heads, rows))


def _billed(receipt: Receipt) -> str:
    if receipt.not_billed:
        return "not yet"
    return "" if receipt.provider_usd is None else money_text(receipt.provider_usd)

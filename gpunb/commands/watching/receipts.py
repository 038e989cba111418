"""``receipts``: cost, runs and saved files of ended sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import no_use, verb
from gpunb.errors import SessionNotFound
from gpunb.hints import typed
from gpunb.presentation.receipt_columns import receipts_table
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("receipts", reads=True, example="receipts\nreceipts train\nreceipts -n 100 --json")
@click.argument("name", required=False, metavar="[SESSION]")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many."
)
def command(context: Context, *, name: str | None, limit: int) -> Result:
    """List the receipts, newest first, or show one whole: what ran, for how long, and what it cost."""
    from gpunb.presentation import tables
    from gpunb.sessions.start_check import StartCheck

    ledger = context.ledger
    if name is not None:
        no_use("SESSION", "limit")
        session = context.session(name)
        receipt = ledger.receipt(session.id)
        if receipt is None:
            msg = f"session {session.name} has no receipt: it is {session.state.value}"
            raise SessionNotFound(msg, hint=typed("show", session.name) + " tells what it is")
        check = StartCheck.from_data(receipt.check) if receipt.check else None
        return Result(receipt.data(), *tables.receipt_blocks(receipt), *tables.check_blocks(check))
    receipts = ledger.receipts(limit)
    if not receipts:
        return Result([], Note("no receipts yet: no session has ended", "dim"))
    data = [one.data() for one in receipts]
    return Result(data, receipts_table(data))

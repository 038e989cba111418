"""``runs``: list the cells and jobs that were run, from the ledger."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import verb
from gpunb.presentation.result import Block, Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb("runs", reads=True, example="runs\nruns -s train -n 100", session=True)
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many."
)
def command(context: Context, *, session: str | None, limit: int) -> Result:
    """List the cells and jobs that were run, newest first, also those of ended sessions.

    It reads this machine's ledger only. How runs do that nobody follows, the supervisor asks their
    hosts every 20 seconds; `jobs`, `logs` and `attach` ask at once.
    """
    from gpunb.presentation import tables

    ledger = context.ledger
    wanted = context.session(session).id if session else None
    runs = ledger.runs(wanted, limit)
    names = {found.id: found.name for found in ledger.sessions()}
    block: Block = tables.runs_table(runs, names, time.time()) if runs else Note("no runs yet", "dim")
    return Result([asdict(run) for run in runs], block)

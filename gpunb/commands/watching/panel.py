"""``panel``: all sessions in one view, updated live.

In a notebook it is a widget with buttons; in a terminal a live table. `top` is the load of one host.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import DURATION, complete_sessions, no_use, verb
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Cell, Note, Opening, Result, Table
from gpunb.units import duration_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.cli.context import Context
    from gpunb.presentation.models import SessionFacts

__all__ = ["command", "shown"]

EVERY_S = 1.0


@verb("panel", reads=True, example="panel\npanel train\npanel --once")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_sessions)
@click.option("--once", is_flag=True, help="Print once and exit (default when not a terminal).")
@click.option("--for", "length", type=DURATION, metavar="TIME", help="Stop after so long. [default: Ctrl-C]")
def command(context: Context, *, names: tuple[str, ...], once: bool, length: float | None) -> Result:
    """Show the sessions as they change: state, lease, cost, what runs.

    In a notebook: a panel with the hosts' load, logs, and buttons that extend, stop and end.
    """
    live = context.frontend == "terminal" and not once and not context.as_json and sys.stdout.isatty()
    if not live:
        no_use("--once" if once else "outside of a terminal", "length")
    wanted = tuple(context.session(name).name for name in names)
    result = shown(_shapes(context, wanted))
    if context.frontend == "notebook" and not once:
        result.opening = Opening("panel", wanted)
    elif live:
        _live(context, wanted, length)
        return Result()
    return result


def _shapes(context: Context, names: Sequence[str]) -> list[SessionFacts]:
    from gpunb.presentation.shapes import session_shapes

    found = session_shapes(context.ledger)
    return [one for one in found if not names or one["name"] in names]


def shown(shapes: Sequence[SessionFacts], *, now: float | None = None) -> Result:
    """The sessions as a table with their total cost."""
    from gpunb.sessions.model import machine

    at = time.time() if now is None else now
    rows = []
    for one in shapes:
        lease = one["lease"]
        left = "" if lease["ends"] is None else duration_text(max(0.0, lease["ends"] - at))
        by = f" ({lease['ends_by']})" if left and lease["ends_by"] else ""
        rows.append(
            [
                Cell(one["name"], "strong"),
                Cell(one["state"], one["tone"]),
                machine(one["gpu"], one["gpus"]),
                one["provider"],
                str(one["runs_active"] or ""),
                _money(one["cost"]["total"], 2),
                _money(one["usd_h"], 3),
                Cell(f"{left}{by}", "bad" if lease["soon"] else ""),
            ]
        )
    data = list(shapes)
    if not rows:
        return Result(data, Note("no live sessions; rent starts one", "dim"))
    spent = sum(one["cost"]["total"] or 0.0 for one in shapes)
    hourly = sum(one["usd_h"] or 0.0 for one in shapes)
    total = ["", "", "", "", "", _money(spent, 2), _money(hourly, 3), ""]
    heads = [
        Column("session"),
        Column("state", wrap=True),
        Column("gpu", drop=1),
        Column("cloud", drop=2),
        Column("runs", right=True, drop=3),
        Column("cost", right=True),
        Column("$/h", right=True),
        Column("ends in"),
    ]
    return Result(data, Table(heads, rows, total=total if len(rows) > 1 else None))


def _money(usd: float | None, digits: int) -> str:
    return "?" if usd is None else (money_text if digits == 2 else price_text)(usd)


def _live(context: Context, names: Sequence[str], length: float | None) -> None:
    from rich.console import Console
    from rich.live import Live

    end = None if length is None else time.monotonic() + length
    with Live(console=Console(), auto_refresh=False, screen=False) as live:
        try:
            while end is None or time.monotonic() < end:
                live.update(shown(_shapes(context, names)), refresh=True)
                time.sleep(EVERY_S)
        except KeyboardInterrupt:
            return

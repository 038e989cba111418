"""``panel``: all sessions in one view, updated live.

In a notebook it is a widget with buttons; in a terminal a live table. `top` is the load of one host.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from gpunb.cli.command import DURATION, complete_sessions, no_use, verb
from gpunb.presentation.result import Note, Opening, Result
from gpunb.presentation.session_columns import PANEL_COLUMNS, PanelLine
from gpunb.presentation.shown import table_of

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
    return [facts for facts in found if not names or facts["name"] in names]


def shown(shapes: Sequence[SessionFacts], *, now: float | None = None) -> Result:
    """The sessions as a table with their total cost."""
    data = list(shapes)
    if not data:
        return Result(data, Note("no live sessions; rent starts one", "dim"))
    at = time.time() if now is None else now
    lines = [PanelLine(facts, at) for facts in data]
    return Result(data, table_of(PANEL_COLUMNS, lines, total=len(lines) > 1))


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

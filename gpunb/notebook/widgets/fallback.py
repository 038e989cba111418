"""Static tables for saved notebooks, consoles and pages without widgets, escaped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gpunb.presentation.offer_columns import OFFER_COLUMNS, cell_text, heading
from gpunb.presentation.result import Cell, Note, Result, Table
from gpunb.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.notebook.widgets.searching import Found
    from gpunb.presentation.models import SessionFacts

__all__ = ["offers", "sessions"]

SHOWN = 20


def offers(found: Found | None) -> Result:
    """Show the first offers, and how to rent without a widget."""
    if found is None:
        return Result(None, Note("asking the clouds for offers; run the cell again to see them", "dim"))
    columns = [column for column in OFFER_COLUMNS if column.px or column.key == "offer_id"]
    rows = [[Cell(cell_text(column, row), column.tone) for column in columns] for row in found.rows[:SHOWN]]
    hours = duration_text(found.hours * 3600)
    blocks: list[Any] = [
        Table(
            [heading(column) for column in columns],
            rows,
            title=f"{len(found.rows):,} offers for {hours} at {time.strftime('%H:%M')}",
        )
    ]
    if len(found.rows) > SHOWN:
        blocks.append(Note(f"{len(found.rows) - SHOWN:,} more", "dim"))
    blocks += [
        Note(f"{one['provider']}: {one['message']}" + (f" ({one['hint']})" if one["hint"] else ""), "warn")
        for one in found.failed
    ]
    blocks.append(Note("without the widget: %gpu rent --offer ID --for 2h", "dim"))
    return Result(None, *blocks)


def sessions(shapes: Sequence[SessionFacts]) -> Result:
    """Show the sessions as they were, and at what time."""
    from gpunb.commands.watching.panel import shown

    result = shown(shapes)
    result.blocks.append(Note(f"as of {time.strftime('%H:%M')}; %gpu panel brings it up to date", "dim"))
    return result

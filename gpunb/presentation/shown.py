"""Tables of which each column is declared once: its heading, its cells, its total."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from gpunb.presentation.result import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.presentation.columns import Column

__all__ = ["Shown", "table_of"]

Row = TypeVar("Row")


class Shown(Generic[Row]):
    """A column with what it shows.

    Parameters
    ----------
    column
        Its heading, and how it gives way where there is no room.
    cell
        Makes the cell of a row.
    total
        Makes its cell in the last row, of all rows; without it that is empty.
    """

    __slots__ = ("cell", "column", "total")

    def __init__(
        self,
        column: Column,
        cell: Callable[[Row], object],
        total: Callable[[Sequence[Row]], object] | None = None,
    ) -> None:
        self.column = column
        self.cell = cell
        self.total = total


def table_of(columns: Sequence[Shown[Row]], rows: Sequence[Row], *, total: bool = False) -> Table:
    """Return the table of `rows`; `total` adds the last row."""
    return Table(
        [shown.column for shown in columns],
        [[shown.cell(row) for shown in columns] for row in rows],
        [shown.total(rows) if shown.total else "" for shown in columns] if total else None,
    )

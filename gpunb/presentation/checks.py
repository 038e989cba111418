"""The start check for people: its figures beside the offer's, and what is told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.presentation.columns import Column
from gpunb.presentation.result import Cell, Note, Table

if TYPE_CHECKING:
    from gpunb.presentation.result import Block
    from gpunb.sessions.start_check import StartCheck

__all__ = ["blocks", "notes"]

_TONES = {"wrong": "bad", "weak": "warn"}


def notes(check: StartCheck | None) -> list[Block]:
    """Return a line for each thing that is worse than offered, or that could not be compared."""
    if check is None:
        return []
    return [
        *(Note(one, "bad") for one in check.wrong),
        *(Note(one, "warn") for one in check.weak),
        *(Note(one, "dim") for one in check.notes),
    ]


def blocks(check: StartCheck | None) -> list[Block]:
    """Return the figures as a table, and the lines about them."""
    if check is None:
        return []
    rows = [
        [one.what, one.offered, Cell(one.found, _TONES.get(one.verdict, "")), Cell(one.verdict, "dim")]
        for one in check.figures
    ]
    heads = [Column("checked"), Column("offered", wrap=True), Column("there", wrap=True), Column("", drop=1)]
    return [*([Table(heads, rows)] if rows else []), *notes(check)]

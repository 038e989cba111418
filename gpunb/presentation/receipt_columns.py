"""The columns of the list of receipts, for terminals, notebooks and JupyterLab.

A column is added here and nowhere else, if `gpunb.presentation.models.Receipt` has its field: `make types`
writes ``labextension/src/columns.ts`` from this list.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.presentation.columns import Column
from gpunb.presentation.result import Cell
from gpunb.presentation.shown import Shown, table_of
from gpunb.sessions.model import machine
from gpunb.units import duration_text, money_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gpunb.presentation.result import Table

__all__ = ["ENDED_BY", "RECEIPT_COLUMNS", "ReceiptColumn", "receipts_table"]

#: Why a session ended, in the words of messages.
ENDED_BY = {"down": "you", "deadline": "its time limit", "idle": "its idle limit", "budget": "its budget"}


@dataclass(frozen=True, slots=True)
class ReceiptColumn:
    """One column of the list of receipts.

    Parameters
    ----------
    key
        The receipt's field.
    label
        Its head.
    form
        How the value is written: a name in `FORMS` here and in ``labextension/src/receipts.ts``.
    drop
        0 stays; of the others the largest goes first where a terminal has no room.
    wrap
        Whether a cell may take several lines.
    terminal, lab
        Where it is shown.
    """

    key: str
    label: str
    form: str = "text"
    drop: int = 0
    wrap: bool = False
    terminal: bool = True
    lab: bool = True

    @property
    def right(self) -> bool:
        """Whether the column is right-aligned, as numbers are."""
        return self.form in {"duration", "money", "billed"}


RECEIPT_COLUMNS = (
    ReceiptColumn("name", "Session", form="name"),
    ReceiptColumn("session_id", "ID", form="id", drop=7, lab=False),
    ReceiptColumn("gpu", "GPU", form="gpu", drop=6),
    ReceiptColumn("provider", "Cloud", drop=2),
    ReceiptColumn("started", "Started", form="time", terminal=False),
    ReceiptColumn("ended", "Ended", form="time", drop=1),
    ReceiptColumn("ended", "Duration", form="duration", drop=5),
    ReceiptColumn("cost", "Cost", form="money"),
    ReceiptColumn("provider_usd", "Billed", form="billed", drop=3),
    ReceiptColumn("why", "Ended by", form="why", drop=4, wrap=True),
    ReceiptColumn("confirmed", "Gone", form="gone", wrap=True),
    ReceiptColumn("agent", "Agent", drop=8),
)


def _billed(value: float | None, receipt: Mapping[str, Any]) -> str:
    if receipt["not_billed"]:
        return "not yet"
    return "" if value is None else money_text(value)


FORMS: dict[str, Callable[[Any, Mapping[str, Any]], object]] = {
    "text": lambda value, _: str(value or ""),
    "name": lambda value, _: Cell(value, "strong"),
    "id": lambda value, _: Cell(value, "dim"),
    "gpu": lambda value, one: machine(value, one["gpus"]),
    "time": lambda value, _: time.strftime("%Y-%m-%d %H:%M", time.localtime(value)),
    "duration": lambda value, one: duration_text(max(0.0, value - one["started"])),
    "money": lambda value, _: money_text(value["total"]),
    "billed": _billed,
    "why": lambda value, _: ENDED_BY.get(value, value),
    "gone": lambda value, _: Cell("NOT CONFIRMED", "bad") if value is None else Cell("confirmed", "ok"),
}


def receipts_table(receipts: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of `gpunb.presentation.models.Receipt`; ids stay if names are not unique."""
    unique = len({receipt["name"] for receipt in receipts}) == len(receipts)

    def shown(column: ReceiptColumn) -> Shown[Mapping[str, Any]]:
        drop = 0 if column.form == "id" and not unique else column.drop
        head = Column(column.label.lower(), right=column.right, drop=drop, wrap=column.wrap)
        return Shown(head, lambda one: FORMS[column.form](one.get(column.key), one))

    return table_of([shown(column) for column in RECEIPT_COLUMNS if column.terminal], receipts)

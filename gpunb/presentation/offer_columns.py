"""The columns of offer tables, in one list for terminals, notebooks and JupyterLab.

A column is added here and nowhere else, if `gpunb.presentation.models.Offer` has its field: `make types`
writes ``picker/columns.js`` from this list, and the picker makes its grid, heads and cells from that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.presentation.columns import Column
from gpunb.units import duration_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["OFFER_COLUMNS", "OfferColumn", "cell_text", "heading"]


@dataclass(frozen=True, slots=True)
class OfferColumn:
    """One column of an offer table.

    Parameters
    ----------
    key
        The offer's field.
    label
        Its head.
    unit
        Behind the label.
    form
        How the value is written: a name in `FORMS` here and in ``picker/table.js``.
    px
        Pixels that head and cells need on a page; 0 leaves it out of the picker.
    grow
        Its share of the room that is left.
    drop
        0 stays; of the others the largest goes first where there is no room.
    card
        Its place where a row has two lines (CSS's grid-area); "" leaves it out there.
    terminal
        Whether terminals show it.
    more
        The first click sorts from the largest down.
    tone
        Of the cells: "", strong or dim.
    """

    key: str
    label: str
    unit: str = ""
    form: str = "text"
    px: int = 0
    grow: float = 1.0
    drop: int = 0
    card: str = ""
    terminal: bool = True
    more: bool = False
    tone: str = ""

    @property
    def right(self) -> bool:
        """Whether the column is right-aligned, as numbers are."""
        return self.form not in {"text", "gpu", "cloud", "place"}


OFFER_COLUMNS = (
    OfferColumn("place", "#", form="whole"),
    OfferColumn("gpu", "GPU", form="gpu", px=114, grow=1.3, card="1 / 1 / 2 / 3", tone="strong"),
    OfferColumn("vram_gb", "VRAM", "GB", form="number", px=104, grow=0.4, drop=2, more=True),
    OfferColumn("provider", "Cloud", form="cloud", px=94, grow=0.8, card="2 / 1"),
    OfferColumn("kind", "Kind", drop=5),
    OfferColumn("region", "Region", form="place", px=92, grow=1.7, drop=1, card="2 / 2"),
    OfferColumn("cores", "Cores", form="number", px=70, grow=0.4, drop=8, more=True),
    OfferColumn("ram_gb", "RAM", "GB", form="whole", px=96, grow=0.4, drop=7, more=True),
    OfferColumn("trust", "Host", px=102, grow=0.7, drop=6, tone="dim"),
    OfferColumn("reliability", "Reliable", form="percent", px=88, grow=0.6, drop=10, more=True, tone="dim"),
    OfferColumn("usd_h", "$/h", form="price", px=68, grow=0.6, card="2 / 3"),
    OfferColumn("total_usd", "Total", form="money", px=78, grow=0.7, card="1 / 3", tone="strong"),
    OfferColumn("ready_s", "Ready in", form="duration", px=96, grow=0.6, drop=4),
    OfferColumn("ends_s", "For at most", form="duration", drop=9),
    OfferColumn("offer_id", "ID", drop=3, tone="dim"),
)


def _gpu(offer: Mapping[str, Any]) -> str:
    from gpunb.sessions.model import machine

    return machine(offer["gpu"], offer["gpus"])


FORMS: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "text": lambda value, _: str(value or ""),
    "number": lambda value, _: f"{value:g}" if value else "",
    "whole": lambda value, _: f"{value:.0f}" if value else "",
    "percent": lambda value, _: "" if value is None else f"{100 * value:.3g}%",
    "duration": lambda value, _: "" if value is None else duration_text(value),
    "price": lambda value, _: "?" if value is None else price_text(value),
    "money": lambda value, _: "?" if value is None else money_text(value),
    "gpu": lambda _, offer: _gpu(offer),
    "cloud": lambda value, offer: f"{value} (spot)" if offer["spot"] else str(value),
    "place": lambda value, offer: str(offer["country"] or value),
}


def cell_text(column: OfferColumn, offer: Mapping[str, Any]) -> str:
    """Return the column's text for an offer (`gpunb.presentation.models.Offer`)."""
    return FORMS[column.form](offer.get(column.key), offer)


def heading(column: OfferColumn) -> Column:
    """Return the column for a terminal's table."""
    return Column(f"{column.label.lower()} {column.unit}".strip(), right=column.right, drop=column.drop)

"""The filter options shared by `offers` and `rent`, and the table of what was found."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import completers
from gpunb.cli.command import DURATION
from gpunb.presentation.offer_columns import OFFER_COLUMNS, cell_text, heading
from gpunb.presentation.result import Block, Cell, Note, Table
from gpunb.text import clean
from gpunb.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.offers import Ranked, SearchResult
    from gpunb.presentation.rows import OfferRow
    from gpunb.providers import Offer

__all__ = [
    "filters",
    "offer_rows",
    "offers_table",
    "problems",
]


ID_SHOWN = 8  # characters of an id, more where two begin alike


def filters(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Add the filter options to a verb."""
    options = [
        click.option(
            "--gpu",
            multiple=True,
            metavar="NAME",
            shell_complete=completers.gpus,
            help="GPU model, e.g. H100 or rtx4090 (comma-separated).",
        ),
        click.option("--gpus", metavar="N", help="How many GPUs: 4, 1..8 or 2.. ."),
        click.option("--vram", metavar="GB", help="Minimum memory per GPU."),
        click.option("--max-price", metavar="USD", help="Maximum price per hour, disk included."),
        click.option("--max-total", metavar="USD", help="Maximum total price."),
        click.option(
            "--cloud",
            "--provider",
            "cloud",
            multiple=True,
            metavar="NAME",
            shell_complete=completers.clouds,
            help="Clouds to ask; several with commas, or all. [default: the setting clouds]",
        ),
        click.option(
            "--host",
            multiple=True,
            metavar="HOST",
            help="A machine of your own: as in ~/.ssh/config, or USER@HOST:PORT.",
        ),
        click.option(
            "--region",
            multiple=True,
            metavar="NAME",
            shell_complete=completers.regions,
            help="Countries or regions: EU, US, DE.",
        ),
        click.option("--disk", metavar="GB", help="Disk, in the price. [default: the setting disk_gb]"),
        click.option(
            "--type",
            "kind",
            multiple=True,
            metavar="KIND",
            shell_complete=completers.kinds,
            help="container, vm or bare-metal.",
        ),
        click.option("--spot", is_flag=True, help="Spot machines: cheaper, can be reclaimed."),
        click.option("--reserved", is_flag=True, help="Reserved for months."),
        click.option("--verified", is_flag=True, help="Only hosts that the cloud has verified."),
        click.option(
            "--for",
            "length",
            type=DURATION,
            metavar="TIME",
            help="How long: 90m, 2h, 1d. [default: the setting hours]",
        ),
        click.option("--up", metavar="GB", help="Expected upload by the host, in the price."),
        click.option("--down", metavar="GB", help="Expected download by the host, in the price."),
    ]
    for option in reversed(options):
        fn = option(fn)
    return fn


def problems(result: SearchResult) -> list[Block]:
    """Notes on what excluded clouds or offers: failures as warnings, filters dimmed."""
    from gpunb.offers import explain

    failed = {answer.provider for answer in result.failed}
    return [Note(line, "warn" if line.split(":", 1)[0] in failed else "dim") for line in explain(result)]


def offers_table(result: SearchResult) -> Table:
    """The table of offers, best first."""
    from gpunb.presentation.shapes import ranked_shape

    now = time.time()
    short = short_ids([row.offer.id for row in result.rows])
    columns = [column for column in OFFER_COLUMNS if column.terminal]
    rows = []
    for row in result.rows:
        offer = row.offer
        notes = {
            **ranked_shape(row),
            "place": row.place,
            "kind": f"{offer.kind}, {offer.rental}",
            "spot": False,  # the column kind says it
            "offer_id": short[offer.id],
            "ends_s": None if offer.ends is None else max(0.0, offer.ends - now),
        }
        rows.append([Cell(cell_text(column, notes), column.tone) for column in columns])
    ask = result.query.ask
    title = f"prices for {duration_text(ask.hours * 3600)} with {ask.disk_gb:g} GB of disk"
    return Table([heading(column) for column in columns], rows, title=title)


def facts(offer: Offer) -> list[str]:
    """Facts of the offer's system, cloud-init and interconnect, as far as the cloud reports them."""
    configuration = offer.raw.get("configuration")
    inside = configuration if isinstance(configuration, Mapping) else {}
    listed = inside.get("os") or offer.raw.get("os_options")
    systems = [clean(one)[:60] for one in listed if isinstance(one, str)] if isinstance(listed, list) else []
    more = f" and {len(systems) - 8} more" if len(systems) > 8 else ""
    init = offer.raw.get("cloudInitAvailable")
    nvlink = inside.get("nvLink") if isinstance(inside.get("nvLink"), bool) else offer.raw.get("bw_nvlink")
    out = []
    if systems:
        out.append(f"systems: {', '.join(systems[:8])}{more}")
    if isinstance(init, bool):
        out.append(
            "cloud-init: variables and a start script" if init else "no cloud-init: no variables, no script"
        )
    if isinstance(nvlink, (bool, int, float)) and offer.gpus > 1:
        out.append("NVLink between the GPUs" if nvlink else "no NVLink")
    if reach := clean(inside.get("interconnect") or "")[:40]:
        out.append(f"interconnect: {reach}")
    return out


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """Unique prefixes of `ids`; short ids stay whole."""
    result = {}
    for ident in ids:
        size = ID_SHOWN
        while size < len(ident) and sum(other.startswith(ident[:size]) for other in ids) > ids.count(ident):
            size += 1
        result[ident] = ident if len(ident) <= size + 2 else f"{ident[:size]}…"
    return result


def offer_rows(rows: Sequence[Ranked]) -> list[OfferRow]:
    """Convert offers to plain values, for ``--json``."""
    return [
        {
            "place": row.place,
            "provider": row.offer.provider,
            "id": row.offer.id,
            "gpu": row.offer.gpu,
            "gpus": row.offer.gpus,
            "vram_gb": row.offer.vram_gb,
            "kind": row.offer.kind,
            "rental": row.offer.rental,
            "region": row.offer.region,
            "country": row.offer.country,
            "cores": row.offer.cores,
            "ram_gb": row.offer.ram_gb,
            "trust": row.offer.trust,
            "reliability": row.offer.reliability,
            "usd_h": row.hourly,
            "total_usd": row.total,
            "ready_s": row.ready.total_s,
        }
        for row in rows
    ]

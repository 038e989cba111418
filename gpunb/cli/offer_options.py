"""The filter options shared by `offers` and `rent`, and their search."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import completers
from gpunb.cli.command import DURATION
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.offer_columns import OFFER_COLUMNS, cell_text, heading
from gpunb.presentation.result import Block, Cell, Note, Table
from gpunb.text import clean
from gpunb.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.cli.context import Context
    from gpunb.offers import Ranked, SearchResult
    from gpunb.presentation.rows import OfferRow
    from gpunb.providers import Offer
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = [
    "KeptHistory",
    "chosen",
    "clouds",
    "filters",
    "find",
    "further",
    "offer_rows",
    "offers_table",
    "problems",
]


ID_SHOWN = 8  # characters of an id, more where two begin alike
NO_KEY = (
    "no cloud has a key yet, so only this computer is asked; "
    + typed("login vast")
    + " adds one (or deepinfra, fluence, sesterce)"
)


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


class KeptHistory:
    """History of earlier rentals, read from the ledger once."""

    def __init__(self, ledger: Ledger) -> None:
        from gpunb.offers.pricing import OWN_BOOT_S, Terms
        from gpunb.sessions.model import offer_from_dict

        self._failed: dict[tuple[str, str], int] = {}
        since = ledger.clock.time() - 14 * 86400.0
        for failure in ledger.failures(since=since):
            key = (failure.provider, failure.machine_id)
            self._failed[key] = self._failed.get(key, 0) + 1
        boots: dict[str, list[float]] = {}
        for session in ledger.sessions(alive=False):
            if session.ready and session.created:
                # the image's pull is predicted for each offer, and comes on top
                pulled = Terms().ready(offer_from_dict(session.offer)).image_s
                took = session.ready - session.created
                boots.setdefault(session.provider, []).append(max(OWN_BOOT_S, took - pulled))
        self._boots = {name: statistics.median(times[-20:]) for name, times in boots.items()}

    def failures(self, provider: str, machine_id: str, host_id: str) -> int:  # noqa: ARG002 - the protocol's names
        """Count failed rentals on that machine in the last two weeks."""
        return self._failed.get((provider, machine_id), 0) if machine_id else 0

    def boot_seconds(self, provider: str) -> float | None:
        """Median time of the last twenty boots there, in seconds."""
        return self._boots.get(provider)


def clouds(context: Context, asked: Sequence[str]) -> list[str]:
    """The names of the clouds to query.

    Raises
    ------
    BadInput
        One of them is not installed.
    """
    from gpunb.providers import keys, names
    from gpunb.text import did_you_mean

    wanted = [name.strip().lower() for given in asked for name in given.split(",") if name.strip()]
    source = "--cloud" if wanted else "the setting clouds"
    installed = names()
    wanted = wanted or keys.asked(context.settings, installed)
    if "all" in wanted:
        return installed
    for name in wanted:
        if name not in installed:
            msg = f"{source}: there is no cloud {name!r}; installed are {', '.join(installed)}"
            raise BadInput(msg, bill="nothing was rented", hint=did_you_mean(name, installed))
    return list(dict.fromkeys(wanted))


def further(context: Context, asked: Sequence[str]) -> list[str]:
    """Hints on how to query clouds that are not among `asked`: an option, or a key."""
    from gpunb.providers import keys, names

    others = [name for name in names() if name not in asked and name != keys.LOCAL]
    keyed = [name for name in others if keys.has_key(context.settings, name)]
    keyless = [name for name in others if name not in keyed]
    out = [f"--cloud all asks {', '.join(keyed)} too"] if keyed else []
    if keyless:
        rest = f" (or {', '.join(keyless[1:])})" if keyless[1:] else ""
        out.append(typed("login", keyless[0]) + f"{rest} adds a cloud")
    return out


def find(
    context: Context, query: Sequence[str], *, length: float | None, limit: int | None, **flags: Any
) -> SearchResult:
    """Search the clouds for offers by the flags and the query text.

    Parameters
    ----------
    length
        Seconds of the rental; None is the setting.
    flags
        The values of `filters`.
    """
    from gpunb.offers import query_from_flags, search
    from gpunb.providers import keys

    settings = context.settings
    named = flags.pop("cloud")
    asked = clouds(context, named)
    hours = settings.hours if length is None else length / 3600
    disk = flags.pop("disk")
    given = {name: value for name, value in flags.items() if value not in (None, (), False)}
    disk = disk or f"{settings.disk_gb:g}"
    wanted = query_from_flags(" ".join(query), hours=hours, disk=disk, limit=limit, **given)
    if not named and asked == [keys.LOCAL] and keys.LOCAL not in settings.clouds:
        context.tell(Note(NO_KEY, "warn"))
    with context.progress("offers") as progress:
        waiting = set(asked)
        progress.say(f"asking {', '.join(sorted(waiting))}")

        def answered(answer: Any) -> None:
            waiting.discard(answer.provider)
            if waiting:
                progress.say(f"waiting for {', '.join(sorted(waiting))}")

        return search(
            {one.name: one for one in (context.clouds(asked) if not named else map(context.provider, asked))},
            wanted,
            on_answer=answered,
            history=KeptHistory(context.ledger),
        )


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
    columns = [one for one in OFFER_COLUMNS if one.terminal]
    rows = []
    for row in result.rows:
        offer = row.offer
        told = {
            **ranked_shape(row),
            "place": row.place,
            "kind": f"{offer.kind}, {offer.rental}",
            "spot": False,  # the column kind says it
            "offer_id": short[offer.id],
            "ends_s": None if offer.ends is None else max(0.0, offer.ends - now),
        }
        rows.append([Cell(cell_text(one, told), one.tone) for one in columns])
    ask = result.query.ask
    title = f"prices for {duration_text(ask.hours * 3600)} with {ask.disk_gb:g} GB of disk"
    return Table([heading(one) for one in columns], rows, title=title)


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
    found = {}
    for one in ids:
        size = ID_SHOWN
        while size < len(one) and sum(other.startswith(one[:size]) for other in ids) > ids.count(one):
            size += 1
        found[one] = one if len(one) <= size + 2 else f"{one[:size]}…"
    return found


def chosen(rows: Sequence[Ranked], wanted: str, *, whole: bool = False) -> list[Ranked]:
    """The rows whose offer has the id `wanted`, or the only one whose id begins with it.

    Parameters
    ----------
    whole
        Whether a prefix is refused: where the user does not see the offer before it is rented.

    Raises
    ------
    BadInput
        Several offers begin so, or one does and its whole id is needed.
    """
    exact = [row for row in rows if row.offer.id == wanted]
    start = wanted.rstrip("…")
    near = [row for row in rows if start and row.offer.id.startswith(start)]
    if not exact and len({(row.offer.provider, row.offer.id) for row in near}) > 1:
        ids = ", ".join(f"{row.offer.provider} {row.offer.id}" for row in near[:5])
        msg = f"rent --offer {wanted!r} begins {len(near)} ids: {ids}"
        raise BadInput(msg, bill="nothing was rented", hint="type more of it")
    if whole and near and not exact:
        found = near[0].offer
        msg = f"rent --offer {wanted!r} is only the beginning of {found.id} at {found.provider}"
        hint = f"with --yes no question shows which one is meant, so type the whole id: --offer {found.id}"
        raise BadInput(msg, bill="nothing was rented", hint=hint)
    return exact or near


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

"""``offers``: machines that can be rented now, by total price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import offer_options
from gpunb.cli.command import CloudOption, no_use, verb
from gpunb.errors import BadInput
from gpunb.presentation.result import Block, Note, Result
from gpunb.services import searching

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.presentation.rows import OffersFound

__all__ = ["command"]

SHOWN = 15


@verb(
    "offers",
    reads=True,
    example=(
        "offers\noffers --gpu H100,H200 --max-price 3 --cloud all\n"
        "offers 'vram >= 80 and reliability > 0.98' --for 6h --why"
    ),
)
@click.argument("query", nargs=-1, metavar="[QUERY...]")
@offer_options.filters
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, 1000),
    help=f"How many to show. [default: the query's limit, else {SHOWN}]",
)
@click.option("--why", is_flag=True, help="Explain the ranking and what was filtered out.")
@click.option(
    "--images",
    is_flag=True,
    cls=CloudOption,
    help="The images that the cloud knows and offers (Fluence) instead.",
)
@click.option(
    "--templates",
    metavar="WORD",
    cls=CloudOption,
    help="Templates with this word in their name (Vast, Fluence) instead.",
)
@click.option(
    "--benchmarks",
    metavar="MACHINE|GPU",
    cls=CloudOption,
    help="What that machine or GPU reached in tests (Vast) instead.",
)
@click.option(
    "--reports",
    metavar="MACHINE",
    cls=CloudOption,
    help="What renters reported of this machine (Vast) instead.",
)
def command(
    context: Context,
    *,
    query: tuple[str, ...],
    limit: int | None,
    why: bool,
    images: bool,
    templates: str | None,
    reports: str | None,
    benchmarks: str | None,
    **flags: Any,
) -> Result:
    """Find machines that can be rented now, best first: price for the whole time, waiting and risk.

    QUERY is a condition in words, as 'gpu = H100 and price < 3 order by total'.
    """
    instead = {"--templates": templates, "--reports": reports, "--benchmarks": benchmarks}
    modes = [*(["--images"] if images else []), *(name for name, word in instead.items() if word is not None)]
    if modes:
        from gpunb.commands.parts import further_offers

        if len(modes) > 1:
            msg = f"offers {' '.join(modes)}: takes one of these"
            raise BadInput(msg)
        no_use(modes[0], "query", "limit", "why", *(name for name in flags if name != "cloud"))
        return further_offers.shown(context, flags["cloud"], modes[0], instead.get(modes[0]) or "")
    result = searching.find(context, query, limit=limit, **flags)
    if result.query.limit is None:
        result.rows = result.rows[:SHOWN]
    blocks: list[Block] = []
    if result.rows:
        blocks.append(offer_options.offers_table(result))
        if result.matched > len(result.rows):
            blocks.append(Note(f"{result.matched - len(result.rows)} more fit; -n shows more", "dim"))
    if why:
        for row in result.rows:
            blocks.append(Note(f"{row.place}. {row.offer.provider} {row.offer.id}", "strong"))
            blocks += [Note(f"   {line}", "") for line in (*row.why(), *offer_options.facts(row.offer))]
    notes = offer_options.problems(result)
    blocks += (
        notes
        if why or not result.rows
        else [note for note in notes if isinstance(note, Note) and note.tone == "warn"]
    )
    data: OffersFound = {
        "offers": offer_options.offer_rows(result.rows),
        "matched": result.matched,
        "failed": [{"provider": answer.provider, "error": str(answer.error)} for answer in result.failed],
    }
    return Result(data, *blocks)

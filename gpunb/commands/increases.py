"""``increases``: hosts that want more for a machine that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from gpunb.commands.result import Block, Cell, Note, Result, Table
from gpunb.commands.verb import verb
from gpunb.errors import BadInput, GpunbError
from gpunb.units import price_text

if TYPE_CHECKING:
    from gpunb.commands.context import Context
    from gpunb.providers import Provider

__all__ = ["command"]


@verb("increases", asks=True, example="increases\nincreases --accept 4711\nincreases --refuse 4711")
@click.option("--accept", type=int, metavar="ID", help="Pay the new price from now on.")
@click.option("--refuse", type=int, metavar="ID", help="Keep the old price; the host may end the rental.")
def command(context: Context, *, accept: int | None, refuse: int | None, yes: bool) -> Result:
    """Show, accept or refuse the price increases that hosts ask for. Only Vast.ai has them."""
    from gpunb.services.questions import to_answer_increase

    if accept is not None and refuse is not None:
        msg = "increases: --accept and --refuse are one or the other"
        raise BadInput(msg, bill="nothing was changed")
    wanted = accept if accept is not None else refuse
    names = {found.instance_id: found for found in context.ledger.sessions()}
    rows: list[list[object]] = []
    data: list[dict[str, Any]] = []
    notes: list[Block] = []
    for cloud in _clouds(context):
        try:
            found = cast("Any", cloud).price_increases()
            for one in found:
                if wanted is not None and one.id != wanted:
                    continue
                session = names.get(one.instance_id)
                data.append(
                    {
                        "id": one.id,
                        "provider": cloud.name,
                        "session": session.name if session else None,
                        "instance": one.instance_id,
                        "old_usd_h": one.old_gpu_usd_h + one.old_disk_usd_h,
                        "new_usd_h": one.new_gpu_usd_h + one.new_disk_usd_h,
                    }
                )
                rows.append(_row(data[-1]))
                if wanted is not None:
                    row = data[-1]
                    question = to_answer_increase(
                        row["session"] or f"instance {row['instance']}",
                        row["old_usd_h"],
                        row["new_usd_h"],
                        accept=accept is not None,
                    )
                    if not context.confirm(question, yes=yes):
                        return Result([], Note("nothing was changed", "dim"), exit_code=1)
                    cast("Any", cloud).answer_price_increase(one.id, accept=accept is not None)
        except GpunbError as err:
            if wanted is not None:
                raise
            notes.append(Note(f"{cloud.name}: {err.message}", "warn"))
    if wanted is not None:
        if not rows:
            msg = f"increases: there is no price increase {wanted}"
            raise BadInput(msg, bill="nothing was changed", hint="gpunb increases lists them")
        word = "accepted" if accept is not None else "refused"
        notes.append(Note(f"{word} price increase {wanted}", "ok"))
    blocks: list[Block] = (
        [Table(["id", "session", "instance", ">$/h now", ">$/h wanted"], rows)] if rows else []
    )
    if not rows and not notes:
        notes.append(Note("no host asks for more", "dim"))
    return Result(data, *blocks, *notes)


def _clouds(context: Context) -> list[Provider]:
    from gpunb.providers import keys, names

    used = {found.provider for found in context.ledger.sessions()}
    used |= set(keys.asked(context.settings, names()))
    clouds = [context.provider(name) for name in sorted(used)]
    return [cloud for cloud in clouds if hasattr(cloud, "price_increases")]


def _row(one: dict[str, Any]) -> list[object]:
    return [
        str(one["id"]),
        Cell(one["session"] or "", "strong"),
        one["instance"],
        price_text(one["old_usd_h"]),
        price_text(one["new_usd_h"]),
    ]

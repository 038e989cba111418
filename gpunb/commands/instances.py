"""``ps --account``: all instances of your accounts, whoever rented them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.commands.result import Block, Cell, Note, Result, Table, clean
from gpunb.errors import GpunbError
from gpunb.presentation.columns import Column
from gpunb.providers.base import InstanceState
from gpunb.units import price_text

if TYPE_CHECKING:
    from gpunb.commands.context import Context
    from gpunb.providers import Instance

__all__ = ["instances"]

_FREE = {InstanceState.GONE, InstanceState.ENDING}


def instances(context: Context) -> Result:
    """What each cloud with a key lists, with the session that it belongs to; gpunb ends only its own."""
    from gpunb.providers import keys, names

    used = {one.provider for one in context.ledger.sessions()}
    clouds = sorted(used | set(keys.asked(context.settings, names())))
    ours = {(one.provider, one.instance_id): one.name for one in context.ledger.sessions(alive=False)}
    rows: list[tuple[str, Instance]] = []
    notes: list[Block] = []
    with context.progress("instances") as progress:
        for name in clouds:
            progress.say(f"asking {name}")
            try:
                provider = context.provider(name)
                rows += [(name, one) for one in provider.instances() if not provider.ended(one)]
            except GpunbError as err:
                notes.append(Note(f"{name}: {err.message}; what it has is not known", "bad"))
    data: list[dict[str, Any]] = []
    cells = []
    for name, one in rows:
        session = ours.get((name, one.id), "")
        usd_h = one.stopped_usd_h if one.state is InstanceState.STOPPED else one.usd_h
        data.append(
            {
                "provider": name,
                "id": one.id,
                "label": one.label,
                "state": one.state.value,
                "usd_h": usd_h,
                "session": session,
            }
        )
        cells.append(
            [
                name,
                one.id,
                Cell(session, "strong") if session else Cell("not of this gpunb", "warn"),
                clean(one.label)[:60],
                one.state.value,
                "" if one.state in _FREE else price_text(usd_h),
            ]
        )
    heads = [
        Column("cloud"),
        Column("instance", wrap=True),
        Column("session", wrap=True),
        Column("label", drop=1, wrap=True),
        Column("state"),
        Column("$/h", right=True),
    ]
    if not cells:
        return Result(data, *notes, Note(f"{', '.join(clouds) or 'no cloud'}: no instances", "dim"))
    text = "gpunb ends only what it rented; the others end on their cloud's page"
    return Result(data, Table(heads, cells), *notes, Note(text, "dim"), exit_code=1 if notes else 0)

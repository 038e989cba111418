"""``volumes``: disks that outlive their machines, and continue to cost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from gpunb.cli import completers
from gpunb.cli.command import CloudOption, verb
from gpunb.commands.parts import volume_create
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.text import clean
from gpunb.units import price_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.presentation.rows import VolumeRow
    from gpunb.providers import Provider, Volume

__all__ = ["command"]


@verb(
    "volumes",
    asks=True,
    undone="nothing was changed",
    example=(
        "volumes\nvolumes --create data --size 100\nvolumes --offers --size 100\n"
        "volumes --clone data --where 5512\nvolumes --cloud vast --delete 4711 --yes"
    ),
)
@click.option(
    "--cloud",
    metavar="NAME",
    shell_complete=completers.clouds,
    help="Only this cloud. [default: those in use that have volumes]",
)
@click.option("--create", "create", metavar="NAME", help="Rent a volume; it costs until it is deleted.")
@click.option("--size", type=click.IntRange(1, 1_000_000), metavar="GB", help="How large.")
@click.option(
    "--where",
    metavar="PLACE",
    cls=CloudOption,
    help="A machine's (or cluster's) id on Vast.ai, a Sesterce region.",
)
@click.option(
    "--network",
    is_flag=True,
    cls=CloudOption,
    help="A volume on a cluster's network: for all its machines (Vast).",
)
@click.option("--offers", "offers", is_flag=True, help="Where a volume can be rented now, and at what price.")
@click.option(
    "--clone",
    "clone",
    metavar="ID",
    cls=CloudOption,
    help="Rent a second one with the same data elsewhere (Vast).",
)
@click.option("--delete", "delete", metavar="ID", help="End this volume, its data and its bill.")
def command(
    context: Context,
    *,
    cloud: str | None,
    create: str | None,
    size: int | None,
    where: str | None,
    network: bool,
    offers: bool,
    clone: str | None,
    delete: str | None,
    yes: bool,
) -> Result:
    """Show the volumes of your accounts: each costs until it is deleted, also without a machine.

    Vast.ai and Sesterce have volumes. One can be used where it is only: on Vast.ai on its one
    machine or in its cluster, on Sesterce in its region. No lease ends a volume, and gpunb never
    ends one unasked.
    """
    from gpunb.sessions.cost import volumes as kept

    if (create is not None) + (delete is not None) + (clone is not None) + offers > 1:
        msg = "volumes: takes one of --create, --clone, --offers and --delete"
        raise BadInput(msg)
    making = create is not None or clone is not None or offers
    if (not making and (size is not None or where is not None)) or (network and clone is not None):
        msg = "volumes --size, --where and --network: are for --create, --offers or --clone"
        raise BadInput(msg)
    if offers:
        return volume_create.offered(_clouds(context, cloud), size or 100, network=network)
    if create is not None:
        clouds = _clouds(context, cloud)
        return volume_create.create(
            context, clouds, create, size_gb=size, where=where, network=network, yes=yes
        )
    notes: list[Block] = []
    found: list[tuple[Provider, Volume]] = []
    for provider in _clouds(context, cloud):
        try:
            listed = provider.volumes()
            kept.sweep(context.ledger, provider, listed)
            found += [(provider, volume) for volume in listed]
        except ANY as err:  # noqa: PERF203 - a cloud that is down must not hide the others' volumes
            if cloud is not None or delete is not None:
                raise
            notes.append(Note(clean(f"{provider.name}: {words(err)}"), "warn"))
    if clone is not None:
        provider, volume = _one(found, "clone", clone)
        return volume_create.clone(context, provider, volume, size_gb=size, where=where, yes=yes)
    if delete is not None:
        return _delete(context, found, delete, yes=yes)
    known = [volume.usd_h for _, volume in found if volume.usd_h is not None]
    data = [_data(context, volume) for _, volume in found]
    if not found:
        return Result(data, *notes, Note("no volumes", "dim"))
    rows = [
        [
            volume.provider,
            volume.id,
            Cell(kept.short(volume.name), "strong"),
            volume.place,
            f"{volume.size_gb:g}",
            ", ".join(volume.instances),
            "" if volume.ends is None else time.strftime("%Y-%m-%d", time.localtime(volume.ends)),
            "" if volume.usd_h is None else price_text(volume.usd_h),
        ]
        for _, volume in found
    ]
    total = ["total", "", "", "", f"{sum(volume.size_gb for _, volume in found):g}", "", "", ""]
    total[-1] = price_text(sum(known)) if known else ""
    heads = [
        Column("cloud"),
        Column("id", wrap=True),
        Column("name", wrap=True),
        Column("where", drop=2, wrap=True),
        Column("GB", right=True, drop=3),
        Column("used by", drop=1, wrap=True),
        Column("until", drop=4),
        Column("$/h", right=True),
    ]
    text = "each costs until it is deleted: " + typed("volumes --delete ID")
    return Result(data, Table(heads, rows, total=total), *notes, Note(text, "dim"))


def _clouds(context: Context, cloud: str | None) -> list[Provider]:
    from gpunb.providers import Capability, keys, names

    if cloud is not None:
        provider = context.provider(cloud)
        provider.need(Capability.VOLUMES)
        return [provider]
    used = {session.provider for session in context.ledger.sessions()}
    used |= set(keys.asked(context.settings, names()))
    return [one for one in context.clouds(sorted(used)) if one.can(Capability.VOLUMES)]


def _one(found: list[tuple[Provider, Volume]], what: str, ident: str) -> tuple[Provider, Volume]:
    """The volume with that id or name."""
    from gpunb.sessions.cost import volumes as kept

    chosen = [pair for pair in found if ident in (pair[1].id, pair[1].name, kept.short(pair[1].name))]
    if len(chosen) != 1:
        msg = (
            f"volumes --{what} {ident!r}: {len(chosen) or 'none'} of {len(found)} volumes has that id or name"
        )
        bill = "nothing was deleted" if what == "delete" else "nothing was rented"
        raise BadInput(msg, bill=bill, hint=typed("volumes") + " lists them")
    return chosen[0]


def _delete(context: Context, found: list[tuple[Provider, Volume]], ident: str, *, yes: bool) -> Result:
    from gpunb.services.questions import to_delete_volume
    from gpunb.sessions.cost import volumes as kept

    cloud, volume = _one(found, "delete", ident)
    if volume.instances:
        msg = f"volume {volume.id} is used by {', '.join(volume.instances)}"
        raise BadInput(msg, bill="nothing was deleted", hint="end that instance first")
    if not context.confirm(to_delete_volume(kept.short(volume.name) or volume.id, volume), yes=yes):
        return Result([], Note("nothing was deleted; it goes on and is billed", "warn"), exit_code=1)
    with context.progress(f"delete volume {volume.id}"):
        cloud.delete_volume(volume.id)
        listed = cloud.volumes()
        kept.sweep(context.ledger, cloud, listed)
    left = {one.id for one in listed}
    if volume.id in left:
        text = f"{cloud.title} took the call, and still lists volume {volume.id}: it may be billed"
        return Result({"deleted": False, **_data(context, volume)}, Note(text, "bad"), exit_code=1)
    text = f"deleted volume {volume.id}; {cloud.title} does not list it any more"
    return Result({"deleted": True, **_data(context, volume)}, Note(text, "ok"))


def _data(context: Context, volume: Volume) -> VolumeRow:
    from gpunb.sessions.cost.volumes import is_ours, short

    return {
        "provider": volume.provider,
        "id": volume.id,
        "name": short(volume.name),
        "ours": is_ours(volume, context.ledger.installation),
        "place": volume.place,
        "size_gb": volume.size_gb,
        "usd_h": volume.usd_h,
        "ends": volume.ends,
        "instances": list(volume.instances),
    }

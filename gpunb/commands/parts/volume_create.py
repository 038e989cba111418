"""``volumes --create``: rent a volume where machines can be rented that use it."""

from __future__ import annotations

import math
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from gpunb.errors import BadInput, GpunbError, OutcomeUnknown
from gpunb.hints import typed
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Note, Result, Table
from gpunb.units import money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpunb.cli.context import Context
    from gpunb.providers import Provider, Volume
    from gpunb.providers.features import VolumeSpace

__all__ = ["clone", "create", "offered"]

_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")
_SHOWN = 20


class _Room(NamedTuple):
    """An offer of volume space, and its cloud."""

    cloud: Provider
    space: VolumeSpace


def create(
    context: Context,
    clouds: Sequence[Provider],
    name: str,
    *,
    size_gb: int | None,
    where: str | None,
    network: bool = False,
    yes: bool,
) -> Result:
    """Rent a volume and show its price.

    Raises
    ------
    BadInput
        A name, size or place that no cloud of `clouds` takes.
    OutcomeUnknown
        The answer was lost, and the cloud's list does not have the volume (yet).
    """
    from gpunb.providers.features import VolumeMarket, who_can
    from gpunb.services.confirmations import Question
    from gpunb.sessions.cost import limits, volumes

    if not _NAME.fullmatch(name):
        msg = f"volumes --create {name!r}: a name must be 1 to 40 letters, digits and _"
        raise BadInput(msg, bill="nothing was rented")
    if size_gb is None:
        msg = f"volumes --create {name}: --size must say how many GB; a volume can't grow"
        raise BadInput(msg, bill="nothing was rented", hint=f"volumes --create {name} --size 100")
    if not clouds:
        able = who_can(VolumeMarket)
        msg = f"volumes --create {name}: none of the clouds in use rents out volumes; {able} do"
        raise BadInput(msg, bill="nothing was rented", hint="name one with --cloud")
    label = volumes.label_for(context.ledger.installation, name)
    for cloud in clouds:
        if any(label == volume.name for volume in cloud.volumes()):
            msg = f"volumes --create {name}: {cloud.title} has a volume {name} of yours already"
            raise BadInput(msg, bill="nothing was rented", hint=typed("volumes") + " lists them")
    room = _choose(_rooms(clouds, size_gb, where, network=network), name, size_gb, where)
    cloud, space = room
    hourly = space.usd_gb_h * size_gb
    limits.admit_volume(context.ledger, hourly)
    price = f"{price_text(hourly)} an hour ({money_text(hourly * cloud.month_h)} a month)"
    end = _end(space.ends)
    what = f"volume {name}: {size_gb} GB at {cloud.title}, {space.place}, for {price} until deleted"
    question = Question(
        text=f"Rent {what}, with or without a machine. No lease ends it{end}.",
        prompt="Rent it?",
        undone="nothing was rented",
        needed=hourly != 0,
    )
    if not context.confirm(question, yes=yes):
        return Result({"created": False}, Note("nothing was rented", "dim"), exit_code=1)
    with context.progress(f"create volume {name}"):
        ident = _make(room, label, size_gb, network=network)
        with suppress(GpunbError):  # it is idle until a machine is rented with it; `ps` says so
            volumes.sweep(context.ledger, cloud)
    data = {
        "created": True,
        "provider": cloud.name,
        "id": ident,
        "name": name,
        "where": space.where,
        "size_gb": size_gb,
        "usd_h": hourly,
    }
    hint = f"use it: rent --volume {name}:/data; end it: volumes --delete {ident}"
    return Result(data, Note(f"rented {what}", "ok"), Note(hint, "dim"))


def _end(ends: float | None) -> str:
    """A warning that the host's contract ends, and the data with it."""
    return (
        ""
        if ends is None
        else f"; its host's contract ends on {time.strftime('%Y-%m-%d', time.localtime(ends))}"
    )


def offered(clouds: Sequence[Provider], size_gb: int, *, network: bool) -> Result:
    """Show where a volume can be rented now, the cheapest first."""
    rooms = _rooms(clouds, size_gb, None, network=network)
    data = [
        {
            "provider": cloud.name,
            "where": space.where,
            "place": space.place,
            "usd_h": space.usd_gb_h * size_gb,
            "least_gb": space.least_gb,
            "most_gb": space.most_gb,
            "ends": space.ends,
        }
        for cloud, space in rooms
    ]
    rows = [
        [
            cloud.name,
            space.place,
            "" if space.most_gb is None else f"{space.most_gb:g}",
            "" if space.ends is None else time.strftime("%Y-%m-%d", time.localtime(space.ends)),
            price_text(space.usd_gb_h * size_gb),
        ]
        for cloud, space in rooms[:_SHOWN]
    ]
    heads = [
        Column("cloud"),
        Column("where", wrap=True),
        Column("GB at most", right=True, drop=2),
        Column("until", drop=1),
        Column(f"$/h for {size_gb} GB", right=True),
    ]
    if not rows:
        return Result(data, Note(f"no cloud has room for {size_gb} GB", "dim"))
    note = f"{len(rooms) - len(rows)} more; " if len(rooms) > len(rows) else ""
    return Result(
        data, Table(heads, rows), Note(f"{note}volumes --create NAME --size {size_gb} --where ID", "dim")
    )


def clone(
    context: Context, cloud: Provider, volume: Volume, *, size_gb: int | None, where: str | None, yes: bool
) -> Result:
    """Copy a volume to a new one on another machine; the two are not kept in sync.

    Raises
    ------
    BadInput
        The cloud can't, or has no space there.
    """
    from gpunb.providers.features import VolumeClone, feature
    from gpunb.services.confirmations import Question
    from gpunb.sessions.cost import limits, volumes

    market = feature(cloud, VolumeClone)
    size, name = size_gb or math.ceil(volume.size_gb), volumes.short(volume.name) or volume.id
    if size < volume.size_gb:
        msg = f"volumes --clone {name}: --size {size} is less than its {volume.size_gb:g} GB"
        raise BadInput(msg, bill="nothing was rented")
    here = volume.place.split()[:2]
    rooms = [room for room in _rooms([cloud], size, where) if room.space.place.split()[:2] != here]
    space = _choose(rooms, name, size, where).space
    hourly = space.usd_gb_h * size
    limits.admit_volume(context.ledger, hourly)
    price = price_text(hourly)
    what = f"a copy of volume {name}: {size} GB at {cloud.title}, {space.place}, for {price} an hour"
    question = Question(
        text=f"Rent {what} until deleted; the copy's traffic is billed. No lease ends it{_end(space.ends)}.",
        prompt="Rent it?",
        undone="nothing was rented",
    )
    if not context.confirm(question, yes=yes):
        return Result({"created": False}, Note("nothing was rented", "dim"), exit_code=1)
    before = {one.id for one in cloud.volumes()}
    with context.progress(f"clone volume {name}"):
        market.clone_volume(volume.id, space.id, size_gb=size)
        made = [one.id for one in cloud.volumes() if one.id not in before]
    ident = made[0] if made else ""
    data = {"created": True, "provider": cloud.name, "id": ident, "where": space.where, "size_gb": size}
    hint = f"volumes --delete {ident}" if ident else typed("volumes")
    return Result(
        data,
        Note(f"rented {what}", "ok"),
        Note(f"use it: rent --volume {ident}:/data; end it: {hint}", "dim"),
    )


def _make(room: _Room, label: str, size_gb: int, *, network: bool) -> str:
    """Send the create call once; after a lost answer, look for the volume."""
    from gpunb.providers.features import VolumeMarket, feature

    try:
        return feature(room.cloud, VolumeMarket).rent_volume(room.space, label, size_gb, network=network)
    except GpunbError as err:
        if not isinstance(err, OutcomeUnknown) and getattr(err, "effect", "none") == "none":
            raise
        volumes: list[Volume] = []
        with suppress(GpunbError):
            volumes = [volume for volume in room.cloud.volumes() if volume.name == label]
        if not volumes:
            raise
        return volumes[0].id


def _choose(rooms: list[_Room], name: str, size_gb: int, where: str | None) -> _Room:
    """Choose the cheapest offer that allows a volume of this size."""
    fitting = [room for room in rooms if room.space.least_gb <= size_gb]
    if fitting:
        return fitting[0]
    if rooms:
        least = min(room.space.least_gb for room in rooms)
        msg = f"volumes --create {name}: --size {size_gb} must be {least:g} GB or more there"
        raise BadInput(msg, bill="nothing was rented")
    at = f" at {where!r}" if where else ""
    msg = f"volumes --create {name}: no cloud has room for {size_gb} GB{at}"
    hint = (
        "--where takes a machine's id on Vast.ai and a region on Sesterce: " + typed("offers") + " shows both"
    )
    raise BadInput(msg, bill="nothing was rented", hint=hint)


def _rooms(
    clouds: Iterable[Provider], size_gb: int, where: str | None, *, network: bool = False
) -> list[_Room]:
    """All volume offers of the clouds, the cheapest first."""
    from gpunb.providers.features import VolumeMarket

    rooms = [
        _Room(cloud, space)
        for cloud in clouds
        if isinstance(cloud, VolumeMarket)
        for space in cloud.volume_market(size_gb, where, network=network)
    ]
    return sorted(rooms, key=lambda room: room.space.usd_gb_h)

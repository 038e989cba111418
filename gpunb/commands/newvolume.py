"""``volumes --create``: a disk of the account's, where machines can be rented that use it."""

from __future__ import annotations

import math
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gpunb.commands.result import Note, Result, Table
from gpunb.errors import BadInput, GpunbError, OutcomeUnknown
from gpunb.presentation.columns import Column
from gpunb.units import money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.commands.context import Context
    from gpunb.providers import Provider, Volume
    from gpunb.providers.sesterce import SesterceProvider
    from gpunb.providers.vast.volumes import VastVolumes

__all__ = ["clone", "create", "offered"]

_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Space:
    """Room for a volume: where, at what price, and the call that rents it (``make(label)`` gives its id)."""

    cloud: Provider
    where: str
    place: str
    usd_gb_h: float
    least_gb: float
    make: Callable[[str], str]
    most_gb: float | None = None
    ends: float | None = None
    offer: str = ""


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
    """Rent a volume and say what it costs.

    Raises
    ------
    BadInput
        A name, size or place that no cloud of `clouds` takes.
    OutcomeUnknown
        The answer was lost, and the cloud's list does not have the volume (yet).
    """
    from gpunb.services.confirmations import Question
    from gpunb.sessions import volumes

    if not _NAME.fullmatch(name):
        msg = f"volumes --create {name!r}: a name must be 1 to 40 letters, digits and _"
        raise BadInput(msg, bill="nothing was rented")
    if size_gb is None:
        msg = f"volumes --create {name}: --size must say how many GB; a volume can't grow"
        raise BadInput(msg, bill="nothing was rented", hint=f"volumes --create {name} --size 100")
    if not clouds:
        msg = f"volumes --create {name}: none of the clouds in use has volumes; Vast.ai and Sesterce have"
        raise BadInput(msg, bill="nothing was rented", hint="name one with --cloud")
    label = volumes.label_for(context.ledger.installation, name)
    for cloud in clouds:
        if any(label == one.name for one in cloud.volumes()):
            msg = f"volumes --create {name}: {cloud.title} has a volume {name} of yours already"
            raise BadInput(msg, bill="nothing was rented", hint="gpunb volumes lists them")
    spaces = sorted(
        (one for cloud in clouds for one in _spaces(cloud, size_gb, where, network=network)),
        key=lambda one: one.usd_gb_h,
    )
    space = _choose(spaces, name, size_gb, where)
    hourly = space.usd_gb_h * size_gb
    price = f"{price_text(hourly)} an hour ({money_text(hourly * space.cloud.month_h)} a month)"
    end = _end(space.ends)
    what = f"volume {name}: {size_gb} GB at {space.cloud.title}, {space.place}, for {price} until deleted"
    question = Question(
        text=f"Rent {what}, with or without a machine. No lease ends it{end}.",
        prompt="Rent it?",
        undone="nothing was rented",
        needed=hourly != 0,
    )
    if not context.confirm(question, yes=yes):
        return Result({"created": False}, Note("nothing was rented", "dim"), exit_code=1)
    with context.progress(f"create volume {name}"):
        ident = _make(space, label)
        with suppress(GpunbError):  # it is idle until a machine is rented with it; `ps` says so
            volumes.sweep(context.ledger, space.cloud)
    data = {
        "created": True,
        "provider": space.cloud.name,
        "id": ident,
        "name": name,
        "where": space.where,
        "size_gb": size_gb,
        "usd_h": hourly,
    }
    hint = f"use it: rent --volume {name}:/data; end it: volumes --delete {ident}"
    return Result(data, Note(f"rented {what}", "ok"), Note(hint, "dim"))


def _end(ends: float | None) -> str:
    """That a host's contract ends, and the data with it."""
    return (
        ""
        if ends is None
        else f"; its host's contract ends on {time.strftime('%Y-%m-%d', time.localtime(ends))}"
    )


def offered(clouds: Sequence[Provider], size_gb: int, *, network: bool) -> Result:
    """Where a volume can be rented now, the cheapest first."""
    found = sorted(
        (one for cloud in clouds for one in _spaces(cloud, size_gb, None, network=network)),
        key=lambda one: one.usd_gb_h,
    )
    data = [
        {
            "provider": one.cloud.name,
            "where": one.where,
            "place": one.place,
            "usd_h": one.usd_gb_h * size_gb,
            "least_gb": one.least_gb,
            "most_gb": one.most_gb,
            "ends": one.ends,
        }
        for one in found
    ]
    rows = [
        [
            one.cloud.name,
            one.place,
            "" if one.most_gb is None else f"{one.most_gb:g}",
            "" if one.ends is None else time.strftime("%Y-%m-%d", time.localtime(one.ends)),
            price_text(one.usd_gb_h * size_gb),
        ]
        for one in found[:_SHOWN]
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
    note = f"{len(found) - len(rows)} more; " if len(found) > len(rows) else ""
    return Result(
        data, Table(heads, rows), Note(f"{note}volumes --create NAME --size {size_gb} --where ID", "dim")
    )


def clone(
    context: Context, cloud: Provider, volume: Volume, *, size_gb: int | None, where: str | None, yes: bool
) -> Result:
    """A second volume with the same data on another machine; the two are not kept the same.

    Raises
    ------
    BadInput
        The cloud can't, or has no room there.
    """
    from gpunb.services.confirmations import Question
    from gpunb.sessions import volumes

    copy: Any = getattr(cloud, "clone_volume", None)
    if copy is None:
        cloud.refuse("copy a volume onto another machine")
    size, name = size_gb or math.ceil(volume.size_gb), volumes.short(volume.name) or volume.id
    if size < volume.size_gb:
        msg = f"volumes --clone {name}: --size {size} is less than its {volume.size_gb:g} GB"
        raise BadInput(msg, bill="nothing was rented")
    spaces = [one for one in _spaces(cloud, size, where) if one.place.split()[:2] != volume.place.split()[:2]]
    space = _choose(sorted(spaces, key=lambda one: one.usd_gb_h), name, size, where)
    hourly = space.usd_gb_h * size
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
        copy(volume.id, space.offer, size_gb=size)
        made = [one.id for one in cloud.volumes() if one.id not in before]
    ident = made[0] if made else ""
    data = {"created": True, "provider": cloud.name, "id": ident, "where": space.where, "size_gb": size}
    hint = f"volumes --delete {ident}" if ident else "gpunb volumes"
    return Result(
        data,
        Note(f"rented {what}", "ok"),
        Note(f"use it: rent --volume {ident}:/data; end it: {hint}", "dim"),
    )


def _make(space: _Space, label: str) -> str:
    """Send it once; of a lost answer, find what came of it."""
    try:
        return space.make(label)
    except GpunbError as err:
        if not isinstance(err, OutcomeUnknown) and getattr(err, "effect", "none") == "none":
            raise
        found: list[Volume] = []
        with suppress(GpunbError):
            found = [one for one in space.cloud.volumes() if one.name == label]
        if not found:
            raise
        return found[0].id


def _choose(spaces: list[_Space], name: str, size_gb: int, where: str | None) -> _Space:
    """The cheapest that is large enough."""
    fitting = [one for one in spaces if one.least_gb <= size_gb]
    if fitting:
        return fitting[0]
    if spaces:
        least = min(one.least_gb for one in spaces)
        msg = f"volumes --create {name}: --size {size_gb} must be {least:g} GB or more there"
        raise BadInput(msg, bill="nothing was rented")
    at = f" at {where!r}" if where else ""
    msg = f"volumes --create {name}: no cloud has room for {size_gb} GB{at}"
    hint = "--where takes a machine's id on Vast.ai and a region on Sesterce: gpunb offers shows both"
    raise BadInput(msg, bill="nothing was rented", hint=hint)


def _spaces(cloud: Provider, size_gb: int, where: str | None, *, network: bool = False) -> Iterator[_Space]:
    from gpunb.providers.sesterce import SesterceProvider
    from gpunb.providers.vast.volumes import VastVolumes

    if isinstance(cloud, VastVolumes):
        yield from _on_vast(cloud, size_gb, where, network=network)
    elif not network and isinstance(cloud, SesterceProvider):
        yield from _on_sesterce(cloud, size_gb, where)


def _on_vast(
    cloud: VastVolumes, size_gb: int, where: str | None, *, network: bool = False
) -> Iterator[_Space]:
    """On one machine; without `where`, on one that can be rented now, else the volume would lie idle."""
    from gpunb.providers import OfferQuery

    if where is not None and not where.isdecimal():
        return
    found = cloud.search_volumes(size_gb, machine_id=None if network else where, network=network)
    if where is None:
        offers = cloud.search(OfferQuery())
        free = {str(one.raw.get("cluster_id")) if network else one.machine_id for one in offers}
        found = [one for one in found if (one.cluster_id if network else one.machine_id) in free]
    elif network:
        found = [one for one in found if one.cluster_id == where]
    for one in found:
        at = one.cluster_id if network else one.machine_id
        yield _Space(
            cloud=cloud,
            where=at,
            place=f"{'cluster' if network else 'machine'} {at} {one.place}".rstrip(),
            usd_gb_h=one.usd_gb_h,
            least_gb=1.0,
            make=partial(cloud.create_volume, one.id, size_gb, network=network),
            most_gb=one.max_gb,
            ends=one.ends,
            offer=one.id,
        )


def _on_sesterce(cloud: SesterceProvider, size_gb: int, where: str | None) -> Iterator[_Space]:
    for offer in cloud.volume_spaces():
        for region in offer.regions:
            if where is not None and where.lower() != region.lower():
                continue

            def make(label: str, owner: str = offer.cloud.id, region: str = region) -> str:
                return cloud.create_volume(cloud=owner, region=region, name=label, size_gb=size_gb)

            yield _Space(
                cloud=cloud,
                where=region,
                place=region,
                usd_gb_h=offer.price,
                least_gb=offer.least_gb,
                make=make,
            )

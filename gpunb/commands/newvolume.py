"""``volumes --create``: a disk of the account's, where machines can be rented that use it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gpunb.commands.result import Note, Result
from gpunb.errors import BadInput, GpunbError, OutcomeUnknown
from gpunb.units import money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.commands.context import Context
    from gpunb.providers import Provider, Volume
    from gpunb.providers.sesterce import SesterceProvider
    from gpunb.providers.vast.volumes import VastVolumes

__all__ = ["create"]

_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")
_MONTH_H = 730.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Space:
    """Room for a volume: where, at what price, and the call that rents it (``make(label)`` gives its id)."""

    cloud: Provider
    where: str
    place: str
    usd_gb_h: float
    least_gb: float
    make: Callable[[str], str]


def create(
    context: Context,
    clouds: Sequence[Provider],
    name: str,
    *,
    size_gb: int | None,
    where: str | None,
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
        (one for cloud in clouds for one in _spaces(cloud, size_gb, where)), key=lambda one: one.usd_gb_h
    )
    space = _choose(spaces, name, size_gb, where)
    hourly = space.usd_gb_h * size_gb
    price = f"{price_text(hourly)} an hour ({money_text(hourly * _MONTH_H)} a month)"
    what = f"volume {name}: {size_gb} GB at {space.cloud.title}, {space.place}, for {price} until deleted"
    question = Question(
        text=f"Rent {what}, with or without a machine. No lease ends it.",
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


def _spaces(cloud: Provider, size_gb: int, where: str | None) -> Iterator[_Space]:
    from gpunb.providers.sesterce import SesterceProvider
    from gpunb.providers.vast.volumes import VastVolumes

    if isinstance(cloud, VastVolumes):
        yield from _on_vast(cloud, size_gb, where)
    elif isinstance(cloud, SesterceProvider):
        yield from _on_sesterce(cloud, size_gb, where)


def _on_vast(cloud: VastVolumes, size_gb: int, where: str | None) -> Iterator[_Space]:
    """On one machine; without `where`, on one that can be rented now, else the volume would lie idle."""
    from gpunb.providers import OfferQuery

    if where is not None and not where.isdecimal():
        return
    found = cloud.search_volumes(size_gb, machine_id=where)
    if where is None:
        free = {offer.machine_id for offer in cloud.search(OfferQuery())}
        found = [one for one in found if one.machine_id in free]
    for one in found:
        yield _Space(
            cloud=cloud,
            where=one.machine_id,
            place=f"machine {one.machine_id} {one.place}".rstrip(),
            usd_gb_h=one.usd_gb_h,
            least_gb=1.0,
            make=partial(cloud.create_volume, one.id, size_gb),
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

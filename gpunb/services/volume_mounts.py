"""``rent --volume data:/data``: volumes mounted on the rented machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.units import price_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.offers.rank import Ranked
    from gpunb.providers import Offer, Volume
    from gpunb.services.workspace import Workspace

__all__ = ["Mount", "choose"]


class Mount:
    """A volume and its mount path on the machine."""

    def __init__(self, volume: Volume, path: str) -> None:
        self.volume, self.path = volume, path

    def fits(self, offer: Offer) -> bool:
        """Whether the offer can use the volume: same machine or cluster (Vast), same region (Sesterce)."""
        if offer.provider != self.volume.provider:
            return False
        machine = self.volume.machine_id
        if cluster := self.volume.cluster_id:
            return str(offer.raw.get("cluster_id")) == cluster
        return offer.machine_id == machine if machine else offer.region == self.volume.place

    def text(self) -> str:
        """One line of text: volume, path, and its cost beside the machine."""
        from gpunb.providers import provider_class
        from gpunb.sessions.cost.volumes import short

        volume = self.volume
        asked = provider_class(volume.provider).mounts_where_asked
        price = "" if volume.usd_h is None else f", {price_text(volume.usd_h)} an hour of its own"
        where = f" at {self.path}" if asked else " (its place is the cloud's choice)"
        return f"{short(volume.name) or volume.id} ({volume.size_gb:g} GB){where}{price}, kept at the end"


def choose(context: Workspace, given: Sequence[str], rows: list[Ranked]) -> tuple[list[Ranked], list[Mount]]:
    """Select the offers that the volumes can be mounted on, in their order, and the volumes.

    Raises
    ------
    BadInput
        ``NAME:/PATH`` of another shape, a volume that is not there or twice, or no offer where it is.
    """
    wanted = [_parse(one) for one in given]
    known = [volume for cloud in _clouds(rows) for volume in _volumes(context, cloud)]
    mounts = [Mount(_one(name, known), path) for name, path in wanted]
    fitting = [row for row in rows if all(mount.fits(row.offer) for mount in mounts)]
    if not fitting:
        places = ", ".join(
            f"{m.volume.name or m.volume.id} is on {m.volume.provider}, {m.volume.place}" for m in mounts
        )
        msg = f"rent --volume: no offer that fits is where the volume is: {places}"
        raise BadInput(msg, bill="nothing was rented", hint="ask for less, or wait until its machine is free")
    return fitting, mounts


def _parse(given: str) -> tuple[str, str]:
    name, colon, path = given.partition(":")
    if not name or not colon or not path.startswith("/") or path.rstrip("/") in ("", "/root"):
        msg = f"rent --volume {given!r}: must be NAME:/PATH, and the path not / or /root itself"
        raise BadInput(msg, bill="nothing was rented", hint="for example --volume data:/data")
    return name, path


def _clouds(rows: list[Ranked]) -> list[str]:
    return sorted({row.offer.provider for row in rows})


def _volumes(context: Workspace, cloud: str) -> list[Volume]:
    from gpunb.providers import Capability

    provider = context.provider(cloud)
    return provider.volumes() if provider.can(Capability.VOLUMES) else []


def _one(name: str, known: list[Volume]) -> Volume:
    from gpunb.sessions.cost.volumes import short

    volumes = [volume for volume in known if name in (volume.id, volume.name, short(volume.name))]
    if len(volumes) == 1:
        return volumes[0]
    shown = (
        ", ".join(f"{short(volume.name) or volume.id} ({volume.provider} {volume.id})" for volume in known)
        or "none"
    )
    what = "several volumes have that name" if volumes else "the clouds asked have no such volume"
    msg = f"rent --volume {name!r}: {what}; they have: {shown}"
    raise BadInput(msg, bill="nothing was rented", hint=typed("volumes") + " lists them with their ids")

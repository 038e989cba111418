"""Vast's volumes: disks of a machine or a cluster that are kept, and billed, without instances."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from gpunb.errors import BadInput, OutcomeUnknown
from gpunb.providers.base import OfferQuery, Volume
from gpunb.providers.edge.payload import Wire, parse, rows
from gpunb.providers.edge.text import clean
from gpunb.providers.features import VolumeClone, VolumeSpace
from gpunb.providers.vast import api
from gpunb.providers.vast.base import VastBase, number
from gpunb.providers.vast.offers import HOURS_A_MONTH, place

_IN_USE_S, _PAUSE_S = 40.0, 5.5

__all__ = ["VastVolumes", "VolumeOffer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeOffer:
    """An offer of disk on one machine or in one cluster; `usd_gb_h` is US dollars an hour for each GB."""

    id: str
    machine_id: str
    max_gb: float
    usd_gb_h: float
    place: str
    cluster_id: str = ""
    ends: float | None = None


class _OfferRow(Wire):
    id: int
    machine_id: int | None = None
    disk_space: float = 0.0
    storage_cost: float = 0.0
    geolocation: str = ""
    cluster_id: int | None = None
    end_date: float | None = None


class _Row(Wire):
    id: int
    label: str = ""
    machine_id: int | None = None
    disk_space: float = 0.0
    storage_cost: float = 0.0
    storage_total_cost: float | None = None
    status: str = ""
    cluster_id: int | None = None
    end_date: float | None = None
    instances: list[Any] | None = None


class VastVolumes(VastBase, VolumeClone):
    """Calls to search, rent, list, clone and delete volumes."""

    def search_volumes(
        self, size_gb: float, *, machine_id: str | None = None, network: bool = False
    ) -> list[VolumeOffer]:
        """Search for disk of at least `size_gb`; with `network` on a cluster's network."""
        body: dict[str, Any] = {
            "verified": {"eq": True},
            "external": {"eq": False},
            "disk_space": {"gte": _size(size_gb)},
            "order": [["storage_cost", "asc"]],
            "allocated_storage": _size(size_gb),
        }
        if machine_id is not None:
            body["machine_id"] = {"eq": int(number(machine_id, "machine"))}
        path = f"/api/v0/{'network_volumes' if network else 'volumes'}/search/"
        answer = self._api.call("POST", path, json=body, safe=True, effect=False)
        found = rows(answer, "offers", provider=self.name, what="a search for volumes")
        return [_offer(parse(_OfferRow, row, provider=self.name, what="a volume offer")) for row in found]

    def volume_market(
        self, size_gb: float, where: str | None = None, *, network: bool = False
    ) -> list[VolumeSpace]:
        """Search for disk on one machine; without `where`, on machines that can be rented now."""
        if where is not None and not where.isdecimal():
            return []
        found = self.search_volumes(size_gb, machine_id=None if network else where, network=network)
        if where is None:
            offers = self.search(OfferQuery())
            free = {str(offer.raw.get("cluster_id")) if network else offer.machine_id for offer in offers}
            found = [offer for offer in found if (offer.cluster_id if network else offer.machine_id) in free]
        elif network:
            found = [offer for offer in found if offer.cluster_id == where]
        return [_space(offer, network=network) for offer in found]

    def rent_volume(self, space: VolumeSpace, name: str, size_gb: int, *, network: bool = False) -> str:
        """Rent a volume; return its id. Never sent twice."""
        return self.create_volume(space.id, size_gb, name, network=network)

    def create_volume(self, offer_id: str, size_gb: float, name: str, *, network: bool = False) -> str:
        """Rent a volume; return its id. Never sent twice."""
        if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", name):
            msg = f"volume name {clean(name, 70)!r} must be 1 to 64 letters, digits and _"
            raise BadInput(msg, bill="nothing was rented")
        body = {"id": int(number(offer_id, "volume offer")), "size": _size(size_gb), "name": name}
        answer = self._call("PUT", "/network_volumes/" if network else "/volumes/", json=body)
        made = answer.get("volume_id", answer.get("new_contract", answer.get("id")))
        named = re.fullmatch(r"V\.(\d+)", str(answer.get("volume_name") or ""))
        if made is None and named:  # rent_volume.yaml: a name and no id
            made = named[1]
        if type(made) is not int and not (isinstance(made, str) and made.isdecimal()):
            shown = clean(repr(answer), 160)
            msg = f"Vast.ai took the order for volume {name} and named none: {shown}"
            raise OutcomeUnknown(msg, provider=self.name, bill="a volume may have been rented")
        return str(made)

    def volumes(self) -> list[Volume]:
        """List the account's volumes, local and network ones. Each is billed until it is deleted."""
        params = api.query(owner="me", type="all_volume")
        answer = self._call("GET", "/volumes/", params=params)
        found = rows(answer, "volumes", provider=self.name, what="the list of volumes")
        return [_volume(parse(_Row, row, provider=self.name, what="a volume")) for row in found]

    def delete_volume(self, volume_id: str) -> None:
        """Delete a volume and its data; only after every instance on it is destroyed."""
        params = {"id": number(volume_id, "volume")}
        waited = 0.0
        while True:
            try:
                self._call("DELETE", "/volumes/", params=params, json={}, safe=True, expect=(dict, list))
            except api.VolumeInUseError:  # noqa: PERF203 - each try is a call
                if waited >= _IN_USE_S or self._used(volume_id):
                    raise
                self._sleep(_PAUSE_S)
                waited += _PAUSE_S
            else:
                return

    def _used(self, volume_id: str) -> bool:
        return any(volume.id == volume_id and volume.instances for volume in self.volumes())

    def clone_volume(self, volume_id: str, offer_id: str, *, size_gb: float | None = None) -> dict[str, Any]:
        """Copy a volume onto a new one at another volume offer; the two are not kept in sync."""
        body: dict[str, Any] = {
            "src_id": int(number(volume_id, "volume")),
            "dst_id": int(number(offer_id, "volume offer")),
        }
        if size_gb is not None:
            body["size"] = _size(size_gb)
        answer: dict[str, Any] = self._call("POST", "/volumes/copy/", json=body)
        return answer


def _instance_id(one: Any) -> str:
    """Return an instance's number; a row names instances as numbers or as objects."""
    return clean(one.get("id") if isinstance(one, dict) else one, 40)


def _size(size_gb: float) -> int:
    if not 1 <= size_gb <= 1_000_000:
        msg = f"size: {size_gb!r} GB must be at least 1"
        raise BadInput(msg, bill="nothing was rented")
    return int(size_gb)


def _offer(row: _OfferRow) -> VolumeOffer:
    return VolumeOffer(
        id=str(row.id),
        machine_id=str(row.machine_id or ""),
        max_gb=row.disk_space,
        usd_gb_h=row.storage_cost / HOURS_A_MONTH,
        place=place(row.geolocation)[0],
        cluster_id=str(row.cluster_id or ""),
        ends=row.end_date,
    )


def _space(one: VolumeOffer, *, network: bool) -> VolumeSpace:
    at = one.cluster_id if network else one.machine_id
    return VolumeSpace(
        id=one.id,
        where=at,
        place=f"{'cluster' if network else 'machine'} {at} {one.place}".rstrip(),
        usd_gb_h=one.usd_gb_h,
        most_gb=one.max_gb,
        ends=one.ends,
    )


def _volume(row: _Row) -> Volume:
    usd_h = row.storage_total_cost
    machine = str(row.machine_id or "")
    cluster = "" if machine else str(row.cluster_id or "")
    return Volume(
        provider=api.NAME,
        id=str(row.id),
        name=clean(row.label, 64),
        machine_id=machine,
        cluster_id=cluster,
        ends=row.end_date,
        place=f"machine {machine}" if machine else f"cluster {cluster}" if cluster else "",
        size_gb=row.disk_space,
        usd_h=row.disk_space * row.storage_cost / HOURS_A_MONTH if usd_h is None else usd_h,
        status=clean(row.status, 40),
        instances=tuple(_instance_id(instance) for instance in row.instances or ()),
    )

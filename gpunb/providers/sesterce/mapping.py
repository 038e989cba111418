"""Offers, instances and volumes, of Sesterce's records."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from gpunb.errors import BadAnswer
from gpunb.providers.edge.payload import parse
from gpunb.providers.edge.text import clean
from gpunb.providers.machine import ports
from gpunb.providers.models import Instance, InstanceState, Offer, Volume
from gpunb.providers.sesterce.rows import InstanceRow, OfferRow, VolumeRow

__all__ = ["WORDS", "instance", "offers", "volume", "volume_ids"]

_log = logging.getLogger("gpunb.providers.sesterce")

#: Prices are "hourly", and no page says in which steps: a begun hour is counted whole, the safe side.
INCREMENT_S = 3600.0

_STATES = {
    "pending": InstanceState.CREATING,
    "active": InstanceState.RUNNING,
    "error": InstanceState.FAILED,
    "deleting": InstanceState.ENDING,
    "deleted": InstanceState.GONE,
}
KINDS = {"vm": "vm", "container": "container", "baremetal": "bare-metal"}
WORDS = {kind: word for word, kind in KINDS.items()}


def instance(row: Any) -> Instance:
    """Return an instance; one that is active without an address is still being made."""
    one = parse(InstanceRow, row, provider="sesterce", what="an instance")
    state = _STATES.get(one.status, InstanceState.UNKNOWN)
    host, port = one.ip or "", one.port or 0
    if host and not port:
        port = _forwarded(one.forwards).get("22", 0) or 22
    if state is InstanceState.RUNNING and not host:
        state = InstanceState.CREATING  # active, and its address is not known yet
    return Instance(
        provider="sesterce",
        id=one.id,
        label=one.name,
        state=state,
        raw_state=clean(one.status, 40),
        host=host,
        port=port if host else 0,
        user=one.user or ("root" if row.get("dockerImage") else "ubuntu"),
        usd_h=one.usd_h,
        ports={
            f"{inside}/tcp": at
            for inside, outside in _forwarded(one.forwards).items()
            if inside != "22" and (at := ports.address(host, outside))
        },
        kind="container" if one.docker_image else "",
        image=clean(one.docker_image or one.os or "", 255),
        command=clean(one.docker_command or "", 2048),
        ssh_key=_key_text(one.key),
        created=_unix(one.created),
        raw=row,
    )


def _key_text(key: object) -> str:
    """Return the key that a detail has: as an object of the account's keys, or as text."""
    if isinstance(key, Mapping):
        key = next((key[name] for name in ("name", "publicKey", "_id") if key.get(name)), "")
    return clean(key, 200) if isinstance(key, str) else ""


class _Facts(NamedTuple):
    """The fields of an offer that do not depend on the region."""

    own: str
    gpu: str
    gpu_raw: str
    gpus: int
    usd_h: float
    cloud: str
    kind: str
    vram_gb: float
    disk_gb: float
    cores: float
    ram_gb: float
    places: list[Any]


_NUMBERS = {int, float}


def _plainly(row: Any) -> _Facts | None:
    """Read the documented shape directly, for speed; None for any other."""
    try:
        setup, own, gpu, gpus, usd_h = (
            row["configuration"],
            row["instanceId"],
            row["gpuName"],
            row["gpuCount"],
            row["hourlyPrice"],
        )
        vram, disk, cores, ram = setup["vRamGB"], setup["storageGB"], setup["vCpu"], setup["ramGB"]
        cloud, places, wire = row["cloud"]["name"], row["availability"], setup["interconnect"]
        kind = KINDS[row["deploymentType"]]
        numbers = {type(usd_h), type(vram), type(disk), type(cores), type(ram)} <= _NUMBERS
        texts = type(own) is type(gpu) is type(cloud) is type(wire) is type(row["cloud"]["_id"]) is str
        if numbers and texts and type(gpus) is int and type(places) is list:
            name = gpu if "sxm" in gpu.lower() else f"{gpu} {wire}".strip()
            return _Facts(own, gpu, name, gpus, usd_h, cloud, kind, vram, disk, cores, ram, places)
    except (KeyError, TypeError):
        return None
    return None


def _carefully(row: Any) -> _Facts | None:
    """Read any shape through the model, which reports errors; None, and a log entry, if it can't be used."""
    try:
        one = parse(OfferRow, row, provider="sesterce", what="an offer")
    except BadAnswer as err:
        _log.warning("an offer is left out: %s", err.message)
        return None
    setup = one.configuration
    return _Facts(
        own=one.instance_id,
        gpu=one.gpu,
        gpu_raw=one.gpu if "sxm" in one.gpu.lower() else f"{one.gpu} {setup.interconnect}".strip(),
        gpus=one.gpus,
        usd_h=one.usd_h,
        cloud=one.cloud.name,
        kind=KINDS.get(one.deployment, "vm"),
        vram_gb=setup.vRamGB,
        disk_gb=setup.storageGB,
        cores=setup.vCpu,
        ram_gb=setup.ramGB,
        places=one.availability,
    )


def offers(row: Any) -> Iterator[Offer]:
    """Return one offer for each region of `row`."""
    facts = _plainly(row) or _carefully(row)
    for place in facts.places if facts else ():
        region = place.get("region") if isinstance(place, dict) else None
        if facts is None or not isinstance(region, str) or not region:
            _log.warning("a region of an offer is left out: %s", clean(repr(place), 80))
            continue
        yield Offer(
            provider="sesterce",
            # two sellers may give different machines the same name
            id=f"{facts.own}/{region}/{facts.cloud}",
            gpu=facts.gpu if facts.gpus else "",
            gpu_raw=facts.gpu_raw if facts.gpus else "",
            gpus=facts.gpus,
            vram_gb=facts.vram_gb / facts.gpus if facts.gpus else 0.0,  # vRamGB is the whole machine's
            usd_h=facts.usd_h,
            disk_included_gb=facts.disk_gb,
            disk_max_gb=facts.disk_gb or math.inf,
            disk_sized=False,
            increment_s=INCREMENT_S,
            kind=facts.kind,
            region=region,
            country=str(place.get("countryCode") or "").upper()[:2],
            cores=facts.cores,
            ram_gb=facts.ram_gb,
            verified=True,
            trust="datacenter",
            host_id=facts.cloud,
            available=int(place.get("available") is True),
            raw=row,
        )


def _forwarded(forwards: list[Any]) -> dict[str, int]:
    """Return outside ports by inside ones: objects in the client's types, "22:40022" texts in the OpenAPI."""
    result: dict[str, int] = {}
    for entry in forwards:
        if isinstance(entry, Mapping):
            inside, outside = str(entry.get("internalPort")), str(entry.get("externalPort"))
        else:
            numbers = re.findall(r"\d+", str(entry))
            inside, outside = numbers if len(numbers) == 2 else ("", "")
        if inside.isdecimal() and outside.isdecimal():
            result.setdefault(inside, int(outside))
    return result


def _unix(value: str | None) -> float | None:
    try:
        found = datetime.fromisoformat((value or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()


def volume_ids(value: Any) -> Iterator[str]:
    """Return the ids in an instance's ``volumes``: lists of lists in the OpenAPI, texts or objects inside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield str(value.get("_id") or value.get("id") or "")
    elif isinstance(value, list):
        for one in value:
            yield from volume_ids(one)


def volume(raw: Any, prices: Mapping[str, float], used: Mapping[str, list[str]]) -> Volume:
    """Return a volume; `prices` are US dollars an hour for each GB by cloud, `used` its instances by id."""
    row = parse(VolumeRow, raw, provider="sesterce", what="a volume")
    cloud = row.cloud.get("_id", "") if isinstance(row.cloud, dict) else row.cloud
    region = row.region.get("name", "") if isinstance(row.region, dict) else row.region
    price = prices.get(str(cloud))
    return Volume(
        provider="sesterce",
        id=row.id,
        name=clean(row.name, 64),
        size_gb=row.size_gb,
        usd_h=None if price is None else price * row.size_gb,
        place=clean(region, 60),
        instances=tuple(used.get(row.id, ())),
    )

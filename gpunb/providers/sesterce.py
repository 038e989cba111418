"""The provider for Sesterce: virtual machines, containers and bare metal of several clouds.

Facts from Sesterce's public API reference (OpenAPI fragments) and the sources
of its published command-line client 1.4.8. One offer is to be had in several
regions; a create names the offer, its cloud and one region. There is no stop,
no rename, no idempotency key, and volumes are billed until they are deleted.
"""

from __future__ import annotations

import base64
import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from gpunb.errors import (
    AuthFailed,
    BadAnswer,
    BadInput,
    InstanceGone,
    NoFunds,
    NotSupported,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    QuotaExhausted,
    RateLimited,
)
from gpunb.hints import typed
from gpunb.providers import keys
from gpunb.providers.base import (
    Account,
    Capability,
    CreateSpec,
    Instance,
    InstanceState,
    Offer,
    OfferQuery,
    Provider,
    ProviderConfig,
    Volume,
)
from gpunb.providers.edge.payload import Wire, parse
from gpunb.providers.edge.text import clean
from gpunb.providers.features import SshKeys, VolumeMarket, VolumeSpace
from gpunb.providers.http import ApiClient, Failure
from gpunb.providers.machine import ports
from gpunb.providers.machine.cloudinit import host_public, user_data

__all__ = ["SesterceProvider"]

_log = logging.getLogger("gpunb.providers.sesterce")

DEFAULT_URL = "https://api.cloud.sesterce.com"
#: Prices are "hourly", and no page says in which steps: a begun hour is counted whole, the safe side.
INCREMENT_S = 3600.0
DEFAULT_IMAGE = "nvidia/cuda:12.4.1-devel-ubuntu22.04"

_STATES = {
    "pending": InstanceState.CREATING,
    "active": InstanceState.RUNNING,
    "error": InstanceState.FAILED,
    "deleting": InstanceState.ENDING,
    "deleted": InstanceState.GONE,
}
_KINDS = {"vm": "vm", "container": "container", "baremetal": "bare-metal"}
_WORDS = {kind: word for word, kind in _KINDS.items()}
_NO_KEY = re.compile(r"api key (?:was )?not found|invalid api key", re.IGNORECASE)
_MONEY = re.compile(r"balance|funds|credit|payment", re.IGNORECASE)
_GONE = re.compile(r"no longer|not available|unavailable|capacity|sold out|out of stock", re.IGNORECASE)


class _Cloud(Wire):
    id: str = Field(alias="_id")
    name: str = ""


class _Configuration(Wire):
    ramGB: float = 0.0  # noqa: N815 - the API's name
    storageGB: float = 0.0  # noqa: N815
    vCpu: float = 0.0  # noqa: N815
    vRamGB: float = 0.0  # noqa: N815
    os: list[str] = Field(default_factory=list)
    interconnect: str = ""


class _Offer(Wire):
    instance_id: str = Field(alias="instanceId")
    gpu: str = Field(alias="gpuName")
    gpus: int = Field(alias="gpuCount")
    usd_h: float = Field(alias="hourlyPrice")
    cloud: _Cloud
    availability: list[dict[str, Any]]
    deployment: str = Field("", alias="deploymentType")
    cloud_init: bool = Field(default=False, alias="cloudInitAvailable")
    configuration: _Configuration = Field(default_factory=_Configuration)


class _Key(Wire):
    id: str = Field("", alias="_id")
    name: str = ""
    publicKey: str = ""  # noqa: N815 - the API's name


class _Instance(Wire):
    id: str = Field(alias="_id")
    status: str
    name: str = ""
    ip: str | None = None
    port: int | None = Field(None, alias="sshPort")
    user: str | None = Field(None, alias="sshUser")
    usd_h: float = Field(0.0, alias="hourlyPrice")
    created: str | None = Field(None, alias="createdAt")
    forwards: list[Any] = Field(default_factory=list, alias="portForwards")
    os: str | None = None
    docker_image: str | None = Field(None, alias="dockerImage")
    docker_command: str | None = Field(None, alias="dockerCommand")
    key: Any = Field(None, alias="sshKey")


class _VolumeCloud(Wire):
    id: str = Field("", alias="_id")


class _VolumeOffer(Wire):
    """An offer of volumes: one cloud's price in US dollars an hour for each GB, and its regions."""

    cloud: _VolumeCloud = Field(alias="cloudProvider")
    price: float = Field(alias="pricePerGbPerHour")  # a string in the API
    least_gb: float = Field(1.0, alias="minSizeInGb")
    regions: list[str] = Field(default_factory=list)


class _Volume(Wire):
    id: str = Field(alias="_id")
    name: str = ""
    size_gb: float = Field(0.0, alias="sizeInGb")
    cloud: Any = Field("", alias="cloudProvider")
    region: Any = ""


def _translate(failure: Failure) -> ProviderError | BadInput | None:  # noqa: PLR0911 - one return a meaning
    text, said = failure.message(), failure.word("message") or failure.text
    if failure.status in (401, 403, 404) and _NO_KEY.search(said):
        hint = typed("login sesterce")
        return AuthFailed(text, provider="sesterce", bill="nothing was changed", hint=hint)
    if failure.status == 404 and "/instances/" in failure.path:
        # Sesterce's own 404 has a message and the path; a proxy's has not
        return InstanceGone(text, provider="sesterce") if failure.word("path") else None
    if failure.status == 429:
        if "quota" in said.lower():
            return QuotaExhausted(text, provider="sesterce", bill="nothing was changed")
        return RateLimited(text, provider="sesterce", retry_after=failure.retry_after)
    if failure.status in (400, 402, 404, 409, 422):
        if _MONEY.search(said):
            return NoFunds(text, provider="sesterce", bill="nothing was rented")
        if _GONE.search(said) or (failure.status == 404 and failure.method == "POST"):
            return OfferGone(text, provider="sesterce", bill="nothing was rented")
        return BadInput(text, bill="nothing was changed")
    return None


class SesterceProvider(Provider, SshKeys, VolumeMarket):
    """The provider for Sesterce's GPU cloud.

    `CreateSpec.extra` may hold ``os``, ``volume_id`` and ``cloud_init`` (a
    script of the user's own instead of ours).
    Options: ``http`` (further arguments of `ApiClient`).
    """

    name: ClassVar[str] = "sesterce"
    title: ClassVar[str] = "Sesterce"
    key_variable: ClassVar[str] = "SESTERCE_API_KEY"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.VOLUMES, Capability.HOST_KEY, Capability.ONSTART, Capability.ACCOUNT_KEYS}
    )

    def __init__(self, config: ProviderConfig | None = None) -> None:
        super().__init__(config)
        key = self.config.key
        if key is None and (found := keys.find(self.name)):
            key = found.key
        self.http = ApiClient(
            provider=self.name,
            title=self.title,
            base_url=self.config.base_url or DEFAULT_URL,
            key=key,
            header="x-api-key",
            scheme="",
            translate=_translate,
            **(self.config.options.get("http") or {}),
        )

    # -- the protocol ------------------------------------------------------------

    def check(self) -> Account:
        """Prove the key by listing the account's SSH keys."""
        found = self.http.call("GET", "/gpu-cloud/ssh-keys", expect=list)
        return Account(provider=self.name, message=f"{len(found)} SSH keys on the account")

    def search(self, query: OfferQuery) -> list[Offer]:
        """Return one offer for each region; those that are taken have ``available == 0``.

        What the API can filter exactly is passed on: one region, one count,
        one kind. Names of GPUs are not: each cloud behind spells its own.
        """
        params: dict[str, str] = {"sort": "price"}
        # a region's code of Sesterce's own; countries and continents are for gpunb.offers
        if len(query.regions) == 1 and re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)+", query.regions[0]):
            params["region"] = query.regions[0]
        if query.count_max is not None and query.count_max == query.count_min > 0:
            params["numGpus"] = str(query.count_min)
        if len(query.kinds) == 1 and query.kinds[0] in _WORDS:
            params["deploymentType"] = _WORDS[query.kinds[0]]
        return self.offers(**params)

    def offers(self, **params: str) -> list[Offer]:
        """Search by Sesterce's own parameters: region, numGpus, gpuType, available, sort, deploymentType."""
        known = {"region", "numGpus", "gpuType", "available", "sort", "deploymentType"}
        if unknown := sorted(params.keys() - known):
            names = ", ".join(sorted(known))
            msg = f"Sesterce's offers have no parameter {', '.join(unknown)}; there are {names}"
            raise BadInput(msg)
        answer = self.http.call("GET", "/gpu-cloud/instances/offers", params=params, expect=list)
        return [offer for row in answer for offer in _offers(row)]

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Rent `offer` in its region."""
        body, host_key = self._body(offer, spec)
        answer = self.http.call("POST", "/gpu-cloud/instances", json=body, safe=False, effect=True)
        try:
            made = self._instance(answer)
        except BadAnswer as err:
            raise OutcomeUnknown(
                err.message, provider=self.name, bill="an instance may be running and billed"
            ) from err
        made.host_key = host_key
        made.usd_h = made.usd_h or offer.usd_h
        return made

    def takes_host_key(self, offer: Offer, extra: Mapping[str, Any]) -> bool:
        """Return whether cloud-init runs there, and the user sends no document of his own."""
        script = offer.kind != "container" and bool(offer.raw.get("cloudInitAvailable"))
        return script and not extra.get("cloud_init")

    def instances(self) -> list[Instance]:
        """List the account's instances of all kinds."""
        return [self._instance(row) for row in self.http.call("GET", "/gpu-cloud/instances", expect=list)]

    def of_kind(self, kind: str) -> list[Instance]:
        """List instances of one kind, by Sesterce's filter: its rows don't tell a VM from bare metal."""
        params = {"deploymentType": _WORDS[kind]}
        found = [
            self._instance(row)
            for row in self.http.call("GET", "/gpu-cloud/instances", params=params, expect=list)
        ]
        for one in found:
            one.kind = kind
        return found

    def get(self, instance_id: str) -> Instance:
        """Return one instance in detail."""
        return self._instance(self.http.call("GET", f"/gpu-cloud/instances/{_segment(instance_id)}"))

    def destroy(self, instance_id: str) -> None:
        """Delete the instance. Its volumes stay, and are billed on."""
        path = f"/gpu-cloud/instances/{_segment(instance_id)}"
        self.http.call("DELETE", path, safe=True, effect=True, expect=None)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    # -- Sesterce only -------------------------------------------------------------

    def ssh_keys(self) -> list[dict[str, Any]]:
        """List the account's keys."""
        return list(self.http.call("GET", "/gpu-cloud/ssh-keys", expect=list))

    def add_ssh_key(self, name: str, public_key: str) -> str:
        """Add a key; return its id."""
        body = {"name": name, "publicKey": public_key}
        return str(self.http.call("POST", "/gpu-cloud/ssh-keys", json=body, safe=False).get("_id", ""))

    def delete_ssh_key(self, key_id: str) -> None:
        """Remove a key."""
        self.http.call("DELETE", f"/gpu-cloud/ssh-keys/{_segment(key_id)}", safe=True, expect=None)

    def volume_offers(self) -> list[dict[str, Any]]:
        """List where volumes can be made, and at what price."""
        return list(self.http.call("GET", "/gpu-cloud/volumes/offers", expect=list))

    def _volume_offers(self) -> list[_VolumeOffer]:
        return [
            parse(_VolumeOffer, row, provider=self.name, what="an offer of volumes")
            for row in self.volume_offers()
        ]

    def volume_market(
        self,
        size_gb: float,  # noqa: ARG002 - a region without room is not listed
        where: str | None = None,
        *,
        network: bool = False,
    ) -> list[VolumeSpace]:
        """Return offers in each region; none has volumes on a cluster's network."""
        return [
            VolumeSpace(
                id=one.cloud.id, where=region, place=region, usd_gb_h=one.price, least_gb=one.least_gb
            )
            for one in ([] if network else self._volume_offers())
            for region in one.regions
            if where is None or where.lower() == region.lower()
        ]

    def rent_volume(self, space: VolumeSpace, name: str, size_gb: int, *, network: bool = False) -> str:  # noqa: ARG002
        """Make a volume in the region of `space`; return its id."""
        return self.create_volume(cloud=space.id, region=space.where, name=name, size_gb=size_gb)

    def volumes(self) -> list[Volume]:
        """List all volumes of the account; each is billed until it is deleted."""
        found = self.http.call("GET", "/gpu-cloud/volumes", expect=list)
        if not found:
            return []
        prices: dict[str, float] = {}
        with suppress(ProviderError):  # the list is useful even without the prices
            for offer in self._volume_offers():
                prices[offer.cloud.id] = offer.price
        used: dict[str, list[str]] = {}
        with suppress(ProviderError):
            for row in self.http.call("GET", "/gpu-cloud/instances", expect=list):
                for volume in _ids(row.get("volumes") if isinstance(row, dict) else None):
                    used.setdefault(volume, []).append(str(row.get("_id", "")))
        return [_volume(row, prices, used) for row in found]

    def create_volume(self, *, cloud: str, region: str, name: str, size_gb: int) -> str:
        """Make a volume; return its id. An instance can mount it in the same cloud and region only."""
        if size_gb < 1:
            msg = f"size_gb {size_gb} must be 1 or more"
            raise BadInput(msg, bill="nothing was rented")
        body = {"cloudProvider": cloud, "region": region, "name": name, "sizeInGb": size_gb}
        answer = self.http.call("POST", "/gpu-cloud/volumes", json=body, safe=False, effect=True)
        found = answer.get("_id")
        if not isinstance(found, str) or not found:
            msg = f"Sesterce took the volume, but its answer has no _id: {clean(repr(answer), 160)}"
            raise OutcomeUnknown(msg, provider=self.name, bill="a volume may exist and be billed")
        return found

    def delete_volume(self, volume_id: str) -> None:
        """Delete a volume and all that is on it; its bill ends."""
        self.http.call("DELETE", f"/gpu-cloud/volumes/{_segment(volume_id)}", safe=True, expect=None)

    def unfit(self, offer: Offer, spec: CreateSpec) -> str:
        """Refuse a first-boot script where the cloud has no cloud-init."""
        if offer.kind == "container" or not offer.raw.get("cloudInitAvailable"):
            if spec.onstart:
                return f"{self.title} runs no first-boot script there"
            if spec.ssh_key:
                return f"{self.title} takes one SSH key there, and that is gpunb's own"
        return super().unfit(offer, spec)

    def _body(self, offer: Offer, spec: CreateSpec) -> tuple[dict[str, Any], str | None]:
        raw, extra = offer.raw, spec.extra
        try:
            cloud, own = raw["cloud"]["_id"], raw["instanceId"]
        except (KeyError, TypeError):
            msg = f"offer {clean(offer.id, 80)} lacks Sesterce's own record; search again"
            raise BadInput(msg, bill="nothing was rented") from None
        if not 1 <= len(spec.label) <= 64:
            msg = f"label {clean(spec.label, 80)!r} has {len(spec.label)} characters; 1 to 64 are taken"
            raise BadInput(msg, bill="nothing was rented")
        body: dict[str, Any] = {
            "name": spec.label,
            "cloudProvider": cloud,
            "instanceId": own,
            "region": offer.region,
            "sshKey": spec.public_key,
        }
        if spec.ssh_key:  # ours is in the first-boot script
            if why := self.unfit(offer, spec):
                raise NotSupported(why, provider=self.name, bill="nothing was rented")
            body["sshKeyId"] = self._account_key(spec.ssh_key)
            del body["sshKey"]
        volumes = [str(extra["volume_id"])] if extra.get("volume_id") else list(spec.volumes)
        if len(volumes) > 1:
            msg = f"volumes {volumes} are {len(volumes)}; Sesterce mounts one at create"
            raise BadInput(msg, bill="nothing was rented")
        if volumes:
            body["volumeId"] = volumes[0]
        if offer.kind == "container":
            self._no_script(spec, "a container")
            image = spec.image or DEFAULT_IMAGE
            if ":" not in image.rpartition("/")[2]:
                msg = f"image {clean(image, 80)!r} must be image:tag for Sesterce"
                raise BadInput(msg, bill="nothing was rented")
            body["dockerContainer"] = {"image": image}
            return body, None
        machine, host_key = self._machine(offer, spec)
        body["vm"] = machine
        return body, host_key

    def _account_key(self, wanted: str) -> str:
        known = [parse(_Key, row, provider=self.name, what="an SSH key") for row in self.ssh_keys()]
        if wanted in {one.id for one in known}:
            return wanted
        shown = ", ".join(f"{clean(one.id, 40)} ({clean(one.name, 40)})" for one in known[:8])
        msg = (
            f"ssh_key {clean(wanted, 80)!r} must be the id of a key of the account: {shown or 'it has none'}"
        )
        hint = typed("keys --cloud sesterce") + " lists them"
        raise BadInput(msg, bill="nothing was rented", hint=hint)

    def _machine(self, offer: Offer, spec: CreateSpec) -> tuple[dict[str, Any], str | None]:
        configuration = offer.raw.get("configuration")
        options = configuration.get("os") if isinstance(configuration, Mapping) else None
        known = [name for name in options if isinstance(name, str)] if isinstance(options, list) else []
        wanted = spec.extra.get("os") or spec.image or _default_os(known)
        if wanted not in known:
            shown = ", ".join(clean(name, 60) for name in known[:12])
            msg = f"os {clean(wanted, 80)!r} must be one of the offer's: {shown or 'none'}"
            raise BadInput(msg, bill="nothing was rented")
        machine: dict[str, Any] = {"os": wanted}
        if not offer.raw.get("cloudInitAvailable"):
            self._no_script(spec, "this offer")
            return machine, None
        own = spec.extra.get("cloud_init")
        injected = spec.host_key if self.takes_host_key(offer, spec.extra) else None
        script = str(own) if own else None
        if script is None:
            script = user_data(
                public_key=spec.public_key,
                host_key=injected,
                env=spec.env,
                onstart=spec.onstart,
                deadline=spec.deadline,
            )
        machine["base64CloudInitScript"] = base64.b64encode(script.encode()).decode()
        return machine, host_public(injected) if injected else None

    def _no_script(self, spec: CreateSpec, where: str) -> None:
        for field, value in (("onstart", spec.onstart), ("env", spec.env)):
            if value:
                msg = f"{self.title} runs no first-boot script on {where}, so {field} can't be set"
                hint = "leave it out, and do it with " + typed("exec") + " once the machine is ready"
                raise NotSupported(msg, provider=self.name, bill="nothing was rented", hint=hint)

    def _instance(self, row: Any) -> Instance:
        one = parse(_Instance, row, provider=self.name, what="an instance")
        state = _STATES.get(one.status, InstanceState.UNKNOWN)
        host, port = one.ip or "", one.port or 0
        if host and not port:
            port = _forwarded(one.forwards).get("22", 0) or 22
        if state is InstanceState.RUNNING and not host:
            state = InstanceState.CREATING  # active, and its address is not known yet
        return Instance(
            provider=self.name,
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
        kind = _KINDS[row["deploymentType"]]
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
        one = parse(_Offer, row, provider="sesterce", what="an offer")
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
        kind=_KINDS.get(one.deployment, "vm"),
        vram_gb=setup.vRamGB,
        disk_gb=setup.storageGB,
        cores=setup.vCpu,
        ram_gb=setup.ramGB,
        places=one.availability,
    )


def _offers(row: Any) -> Iterator[Offer]:
    """Return one offer for each region of `row`."""
    one = _plainly(row) or _carefully(row)
    for place in one.places if one else ():
        region = place.get("region") if isinstance(place, dict) else None
        if one is None or not isinstance(region, str) or not region:
            _log.warning("a region of an offer is left out: %s", clean(repr(place), 80))
            continue
        yield Offer(
            provider="sesterce",
            # two sellers may give different machines the same name
            id=f"{one.own}/{region}/{one.cloud}",
            gpu=one.gpu if one.gpus else "",
            gpu_raw=one.gpu_raw if one.gpus else "",
            gpus=one.gpus,
            vram_gb=one.vram_gb / one.gpus if one.gpus else 0.0,  # vRamGB is the whole machine's
            usd_h=one.usd_h,
            disk_included_gb=one.disk_gb,
            disk_max_gb=one.disk_gb or math.inf,
            disk_sized=False,
            increment_s=INCREMENT_S,
            kind=one.kind,
            region=region,
            country=str(place.get("countryCode") or "").upper()[:2],
            cores=one.cores,
            ram_gb=one.ram_gb,
            verified=True,
            trust="datacenter",
            host_id=one.cloud,
            available=int(place.get("available") is True),
            raw=row,
        )


def _default_os(options: list[str]) -> str:
    """Choose the system with CUDA if there is one, then the newest Ubuntu."""

    def rank(name: str) -> tuple[bool, bool, list[int]]:
        low = name.lower()
        return "cuda" in low, "ubuntu" in low, [int(part) for part in re.findall(r"\d+", low)]

    return max(options, key=rank, default="")


def _forwarded(forwards: list[Any]) -> dict[str, int]:
    """Return outside ports by inside ones: objects in the client's types, "22:40022" texts in the OpenAPI."""
    found: dict[str, int] = {}
    for entry in forwards:
        if isinstance(entry, Mapping):
            inside, outside = str(entry.get("internalPort")), str(entry.get("externalPort"))
        else:
            numbers = re.findall(r"\d+", str(entry))
            inside, outside = numbers if len(numbers) == 2 else ("", "")
        if inside.isdecimal() and outside.isdecimal():
            found.setdefault(inside, int(outside))
    return found


def _unix(value: str | None) -> float | None:
    try:
        found = datetime.fromisoformat((value or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()


def _segment(value: str) -> str:
    """Return `value` as one path segment."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", value):
        msg = f"{clean(value, 80)!r} is not an id of Sesterce"
        raise BadInput(msg)
    return value


def _ids(value: Any) -> Iterator[str]:
    """Return the ids in an instance's ``volumes``: lists of lists in the OpenAPI, texts or objects inside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield str(value.get("_id") or value.get("id") or "")
    elif isinstance(value, list):
        for one in value:
            yield from _ids(one)


def _volume(raw: Any, prices: Mapping[str, float], used: Mapping[str, list[str]]) -> Volume:
    row = parse(_Volume, raw, provider="sesterce", what="a volume")
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

"""The provider for Sesterce: virtual machines, containers and bare metal of several clouds.

Facts from Sesterce's public API reference (OpenAPI fragments) and the sources
of its published command-line client 1.4.8. One offer is to be had in several
regions; a create names the offer, its cloud and one region. There is no stop,
no rename, no idempotency key, and volumes are billed until they are deleted.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from gpunb.errors import BadAnswer, BadInput, OutcomeUnknown, ProviderError
from gpunb.providers import keys
from gpunb.providers.base import (
    Account,
    Capability,
    CreateSpec,
    Instance,
    Offer,
    OfferQuery,
    Provider,
    ProviderConfig,
    Volume,
)
from gpunb.providers.edge.payload import parse
from gpunb.providers.edge.text import clean, segment
from gpunb.providers.features import SshKeys, VolumeMarket, VolumeSpace
from gpunb.providers.http import ApiClient
from gpunb.providers.sesterce import create, mapping
from gpunb.providers.sesterce.api import translate
from gpunb.providers.sesterce.rows import VolumeOfferRow

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SesterceProvider"]

DEFAULT_URL = "https://api.cloud.sesterce.com"


class SesterceProvider(Provider, SshKeys, VolumeMarket):
    """The provider for Sesterce's GPU cloud.

    `CreateSpec.extra` may hold ``os``, ``volume_id`` and ``cloud_init`` (a
    script of the user's own instead of ours).
    Options: ``http`` (further arguments of `ApiClient`).
    """

    name: ClassVar[str] = "sesterce"
    title: ClassVar[str] = "Sesterce"
    # its console; no page of Sesterce's names the one for keys
    key_page: ClassVar[str] = "https://cloud.sesterce.com"
    key_variable: ClassVar[str] = "SESTERCE_API_KEY"
    simulation: ClassVar[str] = "gpunb.sim.sesterce:SesterceCloud"
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
            translate=translate,
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
        if len(query.kinds) == 1 and query.kinds[0] in mapping.WORDS:
            params["deploymentType"] = mapping.WORDS[query.kinds[0]]
        return self.offers(**params)

    def offers(self, **params: str) -> list[Offer]:
        """Search by Sesterce's own parameters: region, numGpus, gpuType, available, sort, deploymentType."""
        known = {"region", "numGpus", "gpuType", "available", "sort", "deploymentType"}
        if unknown := sorted(params.keys() - known):
            names = ", ".join(sorted(known))
            msg = f"Sesterce's offers have no parameter {', '.join(unknown)}; there are {names}"
            raise BadInput(msg)
        answer = self.http.call("GET", "/gpu-cloud/instances/offers", params=params, expect=list)
        return [offer for row in answer for offer in mapping.offers(row)]

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Rent `offer` in its region."""
        body, host_key = create.body(self, offer, spec)
        answer = self.http.call("POST", "/gpu-cloud/instances", json=body, safe=False, effect=True)
        try:
            made = mapping.instance(answer)
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
        return [mapping.instance(row) for row in self.http.call("GET", "/gpu-cloud/instances", expect=list)]

    def of_kind(self, kind: str) -> list[Instance]:
        """List instances of one kind, by Sesterce's filter: its rows don't tell a VM from bare metal."""
        params = {"deploymentType": mapping.WORDS[kind]}
        instances = [
            mapping.instance(row)
            for row in self.http.call("GET", "/gpu-cloud/instances", params=params, expect=list)
        ]
        for instance in instances:
            instance.kind = kind
        return instances

    def get(self, instance_id: str) -> Instance:
        """Return one instance in detail."""
        return mapping.instance(
            self.http.call("GET", f"/gpu-cloud/instances/{segment(instance_id, self.title)}")
        )

    def destroy(self, instance_id: str) -> None:
        """Delete the instance. Its volumes stay, and are billed on."""
        path = f"/gpu-cloud/instances/{segment(instance_id, self.title)}"
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
        self.http.call("DELETE", f"/gpu-cloud/ssh-keys/{segment(key_id, self.title)}", safe=True, expect=None)

    def volume_offers(self) -> list[dict[str, Any]]:
        """List where volumes can be made, and at what price."""
        return list(self.http.call("GET", "/gpu-cloud/volumes/offers", expect=list))

    def _volume_offers(self) -> list[VolumeOfferRow]:
        return [
            parse(VolumeOfferRow, row, provider=self.name, what="an offer of volumes")
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
                id=row.cloud.id, where=region, place=region, usd_gb_h=row.price, least_gb=row.least_gb
            )
            for row in ([] if network else self._volume_offers())
            for region in row.regions
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
                for volume in mapping.volume_ids(row.get("volumes") if isinstance(row, dict) else None):
                    used.setdefault(volume, []).append(str(row.get("_id", "")))
        return [mapping.volume(row, prices, used) for row in found]

    def create_volume(self, *, cloud: str, region: str, name: str, size_gb: int) -> str:
        """Make a volume; return its id. An instance can mount it in the same cloud and region only."""
        if size_gb < 1:
            msg = f"size_gb {size_gb} must be 1 or more"
            raise BadInput(msg, bill="nothing was rented")
        body = {"cloudProvider": cloud, "region": region, "name": name, "sizeInGb": size_gb}
        answer = self.http.call("POST", "/gpu-cloud/volumes", json=body, safe=False, effect=True)
        result = answer.get("_id")
        if not isinstance(result, str) or not result:
            msg = f"Sesterce took the volume, but its answer has no _id: {clean(repr(answer), 160)}"
            raise OutcomeUnknown(msg, provider=self.name, bill="a volume may exist and be billed")
        return result

    def delete_volume(self, volume_id: str) -> None:
        """Delete a volume and all that is on it; its bill ends."""
        self.http.call(
            "DELETE", f"/gpu-cloud/volumes/{segment(volume_id, self.title)}", safe=True, expect=None
        )

    def unfit(self, offer: Offer, spec: CreateSpec) -> str:
        """Refuse a first-boot script where the cloud has no cloud-init."""
        if offer.kind == "container" or not offer.raw.get("cloudInitAvailable"):
            if spec.onstart:
                return f"{self.title} runs no first-boot script there"
            if spec.ssh_key:
                return f"{self.title} takes one SSH key there, and that is gpunb's own"
        return super().unfit(offer, spec)

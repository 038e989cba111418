"""The provider for RunPod: GPU containers ("pods") in its data centres and on community hosts.

Facts from RunPod's public REST API description, version 2 (docs.runpod.io,
August 2026; version 1 is retired) and its pages "Pricing" and "Connect to a
Pod with SSH". A pod is reached as root over its published port 22, which its
image's start script serves when ``PUBLIC_KEY`` is set. A stop erases the
container's disk, so none is offered; version 2 has no spot.
"""

# ruff: noqa: N815 - the names of the API

from __future__ import annotations

import logging
import math
import re
from datetime import datetime  # noqa: TC003 - pydantic needs it
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from gpunb.errors import (
    BadAnswer,
    BadInput,
    InstanceGone,
    NoFunds,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    QuotaExhausted,
    RateLimited,
)
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
    UsageLine,
)
from gpunb.providers.edge.payload import Wire, parse, rows
from gpunb.providers.edge.text import clean, segment
from gpunb.providers.http import ApiClient, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RunpodProvider"]

_log = logging.getLogger("gpunb.providers.runpod")

DEFAULT_URL = "https://api.runpod.io"
DEFAULT_IMAGE = "runpod/pytorch:2.8.0-py3.11-cuda12.8.1"
DEFAULT_DISK_GB = 20
MONTH_H = 720.0
#: $0.10 a GB and month for the container's disk and a running volume, $0.20 for a stopped one ("Pricing").
DISK_USD_GB_H = 0.10 / MONTH_H
STOPPED_USD_GB_H = 0.20 / MONTH_H
CLOUDS = ("SECURE", "COMMUNITY")
COUNTS = (1, 2, 4, 8)
#: Serves SSH in an image that has no start script of RunPod's, as its page "Connect to a Pod with SSH" says.
SSH_ARGS = (
    "bash -c '{ command -v sshd || { apt-get update && "
    "DEBIAN_FRONTEND=noninteractive apt-get install -y openssh-server; }; } >/dev/null 2>&1; "
    'mkdir -p ~/.ssh /run/sshd; chmod 700 ~/.ssh; echo "$PUBLIC_KEY" >> ~/.ssh/authorized_keys; '
    "chmod 600 ~/.ssh/authorized_keys; ssh-keygen -A >/dev/null; $(command -v sshd); sleep infinity'"
)

_STATES = {
    "PROVISIONING": InstanceState.CREATING,
    "STARTING": InstanceState.CREATING,
    "RUNNING": InstanceState.RUNNING,
    "EXITED": InstanceState.STOPPED,
    "ERROR": InstanceState.FAILED,
    "TERMINATED": InstanceState.GONE,
}
_GONE = re.compile(
    r"no longer any|not (?:currently )?available|no (?:machine|instance|gpu|capacity)|capacity|out of stock",
    re.IGNORECASE,
)
_MONEY = re.compile(r"balance|funds|credit|spend|payment", re.IGNORECASE)


class _Prices(Wire):
    secure: float = 0.0
    community: float = 0.0


class _Most(Wire):
    secure: int = 0
    community: int = 0


class _Place(Wire):
    id: str
    availability: str = "NONE"


class _Gpu(Wire):
    id: str
    price: _Prices
    name: str = ""
    memory: float = 0.0
    secure: bool = False
    community: bool = False
    maxCount: _Most = Field(default_factory=_Most)
    availability: str = "NONE"
    dataCenters: list[_Place] = Field(default_factory=list)


class _Address(Wire):
    host: str
    port: int
    username: str = "root"


class _Ssh(Wire):
    direct: _Address | None = None


class _Persistent(Wire):
    size: float = 0.0


class _Mounts(Wire):
    persistent: _Persistent | None = None


class _Pod(Wire):
    id: str
    status: str
    name: str = ""
    cost: float = 0.0
    disk: float = 0.0
    image: str = ""
    args: str = ""
    mounts: _Mounts | None = None
    ssh: _Ssh | None = None
    createdAt: datetime | None = None


class _Record(Wire):
    podId: str = ""
    gpuAmount: float = 0.0
    cpuAmount: float = 0.0
    diskAmount: float = 0.0


def _translate(failure: Failure) -> ProviderError | BadInput | None:  # noqa: PLR0911 - one return a meaning
    text, word = failure.message(), failure.word("detail")
    if failure.status == 404 and failure.path.startswith("/v2/pods/"):
        # only RunPod's own 404 counts: a proxy's proves nothing
        return InstanceGone(text, provider="runpod") if word else None
    if failure.status == 429:
        if "quota" in text.lower():
            return QuotaExhausted(text, provider="runpod", bill="nothing was changed")
        return RateLimited(text, provider="runpod", retry_after=failure.retry_after)
    if failure.status in (400, 402, 404, 409, 422):
        if _MONEY.search(word):
            return NoFunds(text, provider="runpod", bill="nothing was rented")
        if _GONE.search(word):
            return OfferGone(text, provider="runpod", bill="nothing was rented")
        return BadInput(text, bill="nothing was changed")
    return None


class RunpodProvider(Provider):
    """The provider for RunPod's pods.

    Options: ``http`` (further arguments of `ApiClient`).
    """

    name: ClassVar[str] = "runpod"
    title: ClassVar[str] = "RunPod"
    key_variable: ClassVar[str] = "RUNPOD_API_KEY"
    key_page: ClassVar[str] = "https://console.runpod.io/user/settings"
    simulation: ClassVar[str] = "gpunb.sim.runpod:RunpodCloud"
    month_h: ClassVar[float] = MONTH_H
    broke: ClassVar[str] = "what runs is ended, with its disk"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.USAGE})

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
            translate=_translate,
            **(self.config.options.get("http") or {}),
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def check(self) -> Account:
        """Prove the key by listing the pods; no call names the account or its money."""
        return Account(provider=self.name, message=f"pods in the account: {len(self.instances())}")

    def search(self, query: OfferQuery) -> list[Offer]:
        """Return each GPU type by cloud, count and data centre: a call for each cloud and count."""
        counts = {*COUNTS, query.count_min} if query.count_min else set(COUNTS)
        offers: list[Offer] = []
        for count in sorted(counts):
            if not query.count_min <= count <= (query.count_max or count):
                continue
            for cloud in CLOUDS:
                params = {"include": "AVAILABILITY", "product": "POD", "cloud": cloud, "count": count}
                answer = self.http.call("GET", "/v2/catalog/gpus", params=params)
                for row in rows(answer, "gpus", provider=self.name, what="GPU types"):
                    offers += _offers(row, cloud, count)
        return offers

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Create a pod that lets our key in, and no key of the account's."""
        try:
            cloud, count, where = offer.id.split(":")[:3]
            gpu = {"id": str(offer.raw["id"]), "count": int(count)}
        except (KeyError, TypeError, ValueError):
            msg = f"offer {clean(offer.id, 80)!r} lacks RunPod's own record; search again"
            raise BadInput(msg, bill="nothing was rented") from None
        if not 1 <= len(spec.label) <= 191:
            msg = f"label {clean(spec.label, 80)!r} has {len(spec.label)} characters; 1 to 191 are taken"
            raise BadInput(msg, bill="nothing was rented")
        image = spec.image or DEFAULT_IMAGE
        body: dict[str, Any] = {
            "name": spec.label,
            "image": image,
            "cloud": cloud.upper(),
            "gpu": gpu,
            "disk": max(math.ceil(spec.disk_gb), DEFAULT_DISK_GB),
            "ports": ["22/tcp"],
            # "injects PUBLIC_KEY … unless the request already sets one" (API description, startSsh)
            "startSsh": True,
            "env": {**spec.env, "PUBLIC_KEY": spec.public_key},
        }
        if where:
            body["dataCenterIds"] = [where]
        if not image.startswith("runpod/"):
            body["args"] = SSH_ARGS
        answer = self.http.call("POST", "/v2/pods", json=body, safe=False, effect=True)
        try:
            return self._instance(answer)
        except BadAnswer as err:
            msg = f"RunPod took the create, and its answer can't be read: {err.message}"
            raise OutcomeUnknown(msg, provider=self.name, bill="a pod may be running and billed") from err

    def instances(self) -> list[Instance]:
        """List the pods, stopped ones too; the list has no pages, and lacks what has ended."""
        answer = self.http.call("GET", "/v2/pods")
        return [self._instance(row) for row in rows(answer, "pods", provider=self.name, what="pods")]

    def get(self, instance_id: str) -> Instance:
        """Return one pod."""
        return self._instance(self.http.call("GET", f"/v2/pods/{segment(instance_id, self.title)}"))

    def destroy(self, instance_id: str) -> None:
        """Terminate the pod; its disk is lost."""
        path = f"/v2/pods/{segment(instance_id, self.title)}"
        self.http.call("DELETE", path, safe=True, effect=True, expect=None)

    def usage(self, instance_id: str) -> list[UsageLine]:
        """Return what RunPod billed for the pod in the last 30 days, gpu and disk."""
        params = {"podId": segment(instance_id, self.title)}
        answer = self.http.call("GET", "/v2/billing/pods", params=params)
        records = [
            parse(_Record, row, provider=self.name, what="a billing record")
            for row in rows(answer, "records", provider=self.name, what="billing")
        ]
        own = [record for record in records if record.podId == instance_id]
        sums = {
            "gpu": sum(record.gpuAmount + record.cpuAmount for record in own),
            "disk": sum(record.diskAmount for record in own),
        }
        return [UsageLine(instance_id=instance_id, kind=kind, usd=usd) for kind, usd in sums.items() if usd]

    def _instance(self, row: Any) -> Instance:
        pod = parse(_Pod, row, provider=self.name, what="a pod")
        state = _STATES.get(pod.status, InstanceState.UNKNOWN)
        address = pod.ssh.direct if pod.ssh else None
        if state is InstanceState.RUNNING and address is None:
            state = InstanceState.CREATING  # running, and port 22 is not published yet
        kept = pod.mounts.persistent.size if pod.mounts and pod.mounts.persistent else 0.0
        return Instance(
            provider=self.name,
            id=pod.id,
            label=pod.name,
            state=state,
            raw_state=clean(pod.status, 40),
            host=address.host if address else "",
            port=address.port if address else 0,
            user=address.username if address else "root",
            # whether `cost` has the disk is not said: it is added, so that never too little is counted
            usd_h=pod.cost + (pod.disk + kept) * DISK_USD_GB_H,
            stopped_usd_h=kept * STOPPED_USD_GB_H,
            kind="container",
            image=clean(pod.image, 255),
            command=clean(pod.args, 255),
            created=pod.createdAt.timestamp() if pod.createdAt else None,
            raw=row,
        )


def _offers(raw: Any, cloud: str, count: int) -> Iterator[Offer]:
    try:
        gpu = parse(_Gpu, raw, provider="runpod", what="an offer")
    except BadAnswer as err:
        _log.warning("an offer is left out: %s", err.message)
        return
    tier = cloud.lower()
    price: float = getattr(gpu.price, tier)
    # the catalogue has prices, too, for a cloud that does not have the type
    if not getattr(gpu, tier) or count > getattr(gpu.maxCount, tier) or price <= 0:
        return
    places = [place for place in gpu.dataCenters if place.availability != "NONE"]
    there = gpu.availability != "NONE"
    for place in [one.id for one in places] if there and places else [""]:
        yield Offer(
            provider="runpod",
            id=f"{tier}:{count}:{place}:{gpu.id.replace(' ', '_')}",
            gpu=gpu.name,
            gpu_raw=gpu.id,
            gpus=count,
            vram_gb=gpu.memory,
            usd_h=price * count,  # "for a single GPU"
            disk_usd_gb_h=DISK_USD_GB_H,
            increment_s=1.0,  # "billed by the second" (its page "Pricing")
            reserve_h=1.0,  # "at least one hour's worth of credits"
            kind="container",
            region=place,
            country=_country(place),
            verified=cloud == "SECURE",
            trust="datacenter" if cloud == "SECURE" else "stranger",
            available=int(there),
            raw=raw,
        )


def _country(place: str) -> str:
    """Return the country of a data centre: "US" of US-TX-3, "RO" of EU-RO-1, "JP" of AP-JP-1."""
    first, _, rest = place.partition("-")
    return first if first in ("US", "CA", "") else rest.partition("-")[0]

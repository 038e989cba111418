"""The provider for DeepInfra: GPU containers.

Facts from DeepInfra's documentation page "Containers" and its public OpenAPI
document (May 2026). A container is a small virtual machine reached as
``ubuntu`` over SSH; cloud-init is the one way to give it a key, and also lets
us choose its host key. There is no stop, no volume, no idempotency key.
"""

from __future__ import annotations

import logging
import math
import re
from typing import TYPE_CHECKING, Any, ClassVar

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
    UsageLine,
)
from gpunb.providers.edge.payload import Wire, parse, rows
from gpunb.providers.edge.text import clean, segment
from gpunb.providers.features import SshKeys, Terms
from gpunb.providers.http import ApiClient, Failure
from gpunb.providers.machine.address import host_and_port
from gpunb.providers.machine.cloudinit import host_public, user_data

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TERMS", "DeepInfraProvider"]

_log = logging.getLogger("gpunb.providers.deepinfra")

DEFAULT_URL = "https://api.deepinfra.com"
DEFAULT_IMAGE = "di-cont-ubuntu-torch:latest"
USER = "ubuntu"
#: "Pay by the minute with no egress fees" (deepinfra.com/gpu-instances, September 2026).
STEP_S = 60.0

#: The terms that DeepInfra's own page asks users to accept before a container can be made.
TERMS = (
    "DeepInfra asks you to accept NVIDIA's software license agreements, "
    "and forbids the mining of cryptocurrency on its containers"
)

_STATES = {
    "creating": InstanceState.CREATING,
    "starting": InstanceState.CREATING,
    "running": InstanceState.RUNNING,
    "shutting_down": InstanceState.ENDING,
    "failed": InstanceState.FAILED,
    "deleted": InstanceState.GONE,
}
_CONFIG = re.compile(r"(\d+)x(.+)-(\d+(?:\.\d+)?)GB")
_MONEY = re.compile(r"balance|funds|payment|billing|credit|gpu limit|limit exceeded", re.IGNORECASE)
_GONE = re.compile(r"capacity|not available|unavailable|sold out|no longer", re.IGNORECASE)
_QUOTA = re.compile(r"quota|per day|daily", re.IGNORECASE)


class _Gpu(Wire):
    gpu_config: str
    usd_per_hour: float
    available: bool
    recommended: bool = False


class _Container(Wire):
    id: str
    state: str
    name: str = ""
    start_ts: float | None = None
    state_ts: float | None = None
    stop_ts: float | None = None
    ip: str | None = None
    gpu_config: str = ""
    price_per_hour: float = 0.0
    container_image: str = ""
    fail_reason: str | None = None


def _translate(failure: Failure) -> ProviderError | BadInput | None:  # noqa: PLR0911 - one return a meaning
    text, word = failure.message(), failure.word("error") or failure.text
    if failure.status == 404 and failure.path.startswith("/v1/containers/"):
        # only DeepInfra's own 404 counts: a proxy's 404 proves nothing
        return InstanceGone(text, provider="deepinfra") if failure.word("error") else None
    if failure.status == 429:
        if _QUOTA.search(word):
            return QuotaExhausted(text, provider="deepinfra", bill="nothing was changed")
        return RateLimited(text, provider="deepinfra", retry_after=failure.retry_after)
    if failure.status in (400, 402, 409, 422):
        if _MONEY.search(word):
            return NoFunds(text, provider="deepinfra", bill="nothing was changed")
        if _GONE.search(word):
            return OfferGone(text, provider="deepinfra", bill="nothing was rented")
        return BadInput(text, bill="nothing was changed")
    return None


class DeepInfraProvider(Provider, SshKeys, Terms):
    """The provider for DeepInfra's GPU containers.

    Options: ``accept_terms`` (`TERMS`, asked for once), ``http`` (further
    arguments of `ApiClient`).
    """

    name: ClassVar[str] = "deepinfra"
    title: ClassVar[str] = "DeepInfra"
    key_page: ClassVar[str] = "https://deepinfra.com/dash/api_keys"
    key_variable: ClassVar[str] = "DEEPINFRA_TOKEN"
    simulation: ClassVar[str] = "gpunb.sim.deepinfra:DeepInfraCloud"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.RENAME, Capability.HOST_KEY, Capability.USAGE, Capability.ONSTART}
    )

    def __init__(self, config: ProviderConfig | None = None) -> None:
        super().__init__(config)
        key = self.config.key
        if key is None and (found := keys.find(self.name)):
            key = found.key
        self._asked: set[str] = set()  # ids whose destroy this process has sent and DeepInfra has accepted
        self.http = ApiClient(
            provider=self.name,
            title=self.title,
            base_url=self.config.base_url or DEFAULT_URL,
            key=key,
            translate=_translate,
            **(self.config.options.get("http") or {}),
        )

    # -- the protocol ------------------------------------------------------------

    def check(self) -> Account:
        """Prove the key by reading the account's GPU limits."""
        limits = self.gpu_limits()
        text = ", ".join(f"{count}x{model}" for model, count in sorted(limits.items()))
        return Account(provider=self.name, message=f"GPU limits: {text}" if text else "no GPU limits named")

    def search(self, query: OfferQuery) -> list[Offer]:  # noqa: ARG002 - the API has no filters
        """Return all configurations; those out of capacity have ``available == 0``."""
        answer = self.http.call("GET", "/v1/containers/gpu_availability")
        found = (_offer(row) for row in rows(answer, "gpus", provider=self.name, what="GPU availability"))
        return [offer for offer in found if offer is not None]

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Start a container, once the terms are accepted."""
        self._check_terms()
        _check_name("label", spec.label)
        data = user_data(
            public_key=spec.public_key,
            user=USER,
            host_key=spec.host_key,
            env=spec.env,
            onstart=spec.onstart,
            deadline=spec.deadline,
        )
        body = {
            "name": spec.label,
            "gpu_config": offer.id,
            "container_image": spec.image or DEFAULT_IMAGE,
            "cloud_init_user_data": data,
        }
        answer = self.http.call("POST", "/v1/containers", json=body, safe=False, effect=True)
        found = answer.get("container_id")
        if not isinstance(found, str) or not found:
            msg = f"DeepInfra took the create, but its answer has no container_id: {clean(repr(answer), 160)}"
            raise OutcomeUnknown(msg, provider=self.name, bill="a container may be running and billed")
        return Instance(
            provider=self.name,
            id=found,
            label=spec.label,
            state=InstanceState.CREATING,
            raw_state="creating",
            user=USER,
            host_key=host_public(spec.host_key) if spec.host_key else None,
            usd_h=offer.usd_h,
            raw=answer,
        )

    def instances(self) -> list[Instance]:
        """List active containers, then those that failed or were deleted."""
        found: dict[str, Instance] = {}
        for state in ("active", "inactive"):
            answer = self.http.call("GET", "/v1/containers", params={"state": state}, expect=list)
            for row in answer:
                # a container that moves between the two calls is in both: the later state counts
                instance = self._instance(row)
                found[instance.id] = instance
        return list(found.values())

    def get(self, instance_id: str) -> Instance:
        """Return one container, active or not."""
        return self._instance(self.http.call("GET", f"/v1/containers/{segment(instance_id, self.title)}"))

    def destroy(self, instance_id: str) -> None:
        """Terminate the container; all its data is lost."""
        self.http.call(
            "DELETE",
            f"/v1/containers/{segment(instance_id, self.title)}",
            safe=True,
            effect=True,
            expect=None,
        )
        self._asked.add(instance_id)

    def ended(self, instance: Instance) -> bool:
        """Return whether it is deleted, or has failed and was stopped, by DeepInfra or at our request."""
        if instance.state is InstanceState.FAILED:
            return instance.raw.get("stop_ts") is not None or instance.id in self._asked
        return instance.state is InstanceState.GONE

    def rename(self, instance_id: str, label: str) -> None:
        """Rename the container, 1 to 64 characters."""
        _check_name("label", label)
        self.http.call(
            "PATCH",
            f"/v1/containers/{segment(instance_id, self.title)}",
            json={"name": label},
            safe=True,
            expect=None,
        )

    def usage(self, instance_id: str) -> list[UsageLine]:
        """Compute the bill: DeepInfra's count of seconds, in begun minutes, at the container's own price."""
        instance = self.get(instance_id)
        start = instance.created or 0.0
        answer = self.http.call("GET", "/payment/usage/rent", params={"from": int(start)})
        durations = answer.get("id_to_duration")
        if not isinstance(durations, dict):
            msg = f"deepinfra: usage: field id_to_duration is {clean(repr(durations), 120)}, not an object"
            raise BadAnswer(msg, provider=self.name)
        seconds = durations.get(instance_id)
        if seconds is None:
            return []
        if not isinstance(seconds, (int, float)):
            msg = f"deepinfra: usage: field id_to_duration is {clean(repr(seconds), 120)}, not seconds"
            raise BadAnswer(msg, provider=self.name)
        usd = math.ceil(seconds / STEP_S) * STEP_S * instance.usd_h / 3600.0
        return [UsageLine(instance_id=instance_id, kind="gpu", usd=usd, start=start or None)]

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    # -- DeepInfra only ------------------------------------------------------------

    @classmethod
    def terms(cls) -> str:
        """Return `TERMS`."""
        return TERMS

    def params(self) -> Mapping[str, Any]:
        """Return images and other choices, in DeepInfra's shape (its document gives none)."""
        answer = self.http.call("GET", "/v1/containers/params", expect=None)
        return answer if isinstance(answer, dict) else {"params": answer}

    def gpu_limits(self) -> dict[str, int]:
        """Return how many GPUs of each type the account may rent."""
        answer = self.http.call("GET", "/v1/me/gpu_limit")
        limits = answer.get("limits")
        if not isinstance(limits, dict):
            msg = f"deepinfra: GPU limits: field limits is {clean(repr(limits), 120)}, not an object"
            raise BadAnswer(msg, provider=self.name)
        return {clean(model, 60): count for model, count in limits.items() if isinstance(count, int)}

    def ssh_keys(self) -> list[dict[str, Any]]:
        """List the account's keys: id, name, key. gpunb does not need them."""
        return list(self.http.call("GET", "/v1/ssh_keys", expect=list))

    def add_ssh_key(self, name: str, key: str) -> str:
        """Add a key to the account; returns its id. A key that is there already is a `BadInput`."""
        answer = self.http.call("POST", "/v1/ssh_keys", json={"name": name, "key": key})
        return str(answer.get("id", ""))

    def delete_ssh_key(self, key_id: str) -> None:
        """Remove a key from the account."""
        self.http.call("DELETE", f"/v1/ssh_keys/{segment(key_id, self.title)}", safe=True, expect=None)

    def _check_terms(self) -> None:
        accepted = self.config.options.get("accept_terms")
        if accepted is True or str(accepted).lower() in ("true", "yes", "1"):
            return
        raise BadInput(
            TERMS,
            bill="nothing was rented",
            hint="accept once: "
            + typed("login deepinfra --accept-terms")
            + " (or accept_terms = true under [providers.deepinfra] in gpunb.toml)",
        )

    def _instance(self, row: Any) -> Instance:
        container = parse(_Container, row, provider=self.name, what="a container")
        state = _STATES.get(container.state, InstanceState.UNKNOWN)
        host, port = host_and_port(container.ip)
        if state is InstanceState.RUNNING and not host:
            state = InstanceState.CREATING  # running, and its address is not assigned yet
        return Instance(
            provider=self.name,
            id=container.id,
            label=container.name,
            state=state,
            raw_state=clean(container.state, 40),
            message=clean(container.fail_reason or "", 300),
            host=host,
            port=port,
            user=USER,
            usd_h=container.price_per_hour,
            kind="container",
            image=clean(container.container_image, 255),
            created=container.start_ts,
            raw=row,
        )


def _offer(row: Any) -> Offer | None:
    try:
        config, usd_h, available = row["gpu_config"], row["usd_per_hour"], row["available"]
        if type(config) is not str or type(usd_h) not in (int, float) or type(available) is not bool:
            raise TypeError  # noqa: TRY301 - not as documented: the model says what is wrong
    except (KeyError, TypeError):
        try:
            gpu = parse(_Gpu, row, provider="deepinfra", what="an offer")
        except BadAnswer as err:
            _log.warning("an offer is left out: %s", err.message)
            return None
        config, usd_h, available = gpu.gpu_config, gpu.usd_per_hour, gpu.available
    match = _CONFIG.fullmatch(config)
    if match is None:
        _log.warning("an offer is left out: gpu_config %r is not like 8xB200-180GB", clean(config, 80))
        return None
    return Offer(
        provider="deepinfra",
        id=config,
        gpu=match[2],
        gpu_raw=match[2],
        gpus=int(match[1]),
        vram_gb=float(match[3]),
        usd_h=usd_h,
        disk_sized=False,
        increment_s=STEP_S,
        bills_boot=False,  # "Only pay for the time your containers are running" (its page)
        kind="container",
        verified=True,
        trust="datacenter",
        available=int(available),
        raw=row,
    )


def _check_name(field: str, value: str) -> None:
    if not 1 <= len(value) <= 64:
        msg = f"{field} {clean(value, 80)!r} has {len(value)} characters; DeepInfra takes 1 to 64"
        raise BadInput(msg, bill="nothing was changed")

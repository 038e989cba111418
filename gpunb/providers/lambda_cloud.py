"""The provider for Lambda Cloud: virtual machines with NVIDIA's GPUs, on demand.

Facts from Lambda's public API description (version 1.8 and later, as generated
clients carry it: lambda-ai-cloud-api-client 2.4.1) and its pages "Billing" and
"Creating and managing instances" (docs.lambda.ai). A machine is reached as
``ubuntu`` on port 22. There is no stop, no spot and no price for disk; a
launch needs the name of exactly one SSH key of the account.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from gpunb.errors import (
    AuthFailed,
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
)
from gpunb.providers.edge.payload import Wire, parse, rows
from gpunb.providers.edge.text import clean, segment
from gpunb.providers.features import SshKeys
from gpunb.providers.http import ApiClient, Failure
from gpunb.providers.machine.address import host_and_port
from gpunb.providers.machine.cloudinit import host_public, unheld_key, user_data

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpunb.providers.http import Rate

__all__ = ["LambdaProvider"]

_log = logging.getLogger("gpunb.providers.lambda_cloud")

DEFAULT_URL = "https://cloud.lambda.ai"
API = "/api/v1"
USER = "ubuntu"
#: "bills in one-minute increments" (docs.lambda.ai/public-cloud/billing, 2026).
STEP_S = 60.0
GIB = 1.073741824
#: The name of the account's key that a launch must have: nobody holds its private half.
KEY_NAME = "gpunb"
#: "generally limited to one request per second", a launch "one request per 12 seconds" (API description).
RATES: Mapping[str, Rate | float] = {
    f"POST {API}/instance-operations/launch": 12.0,
    **{f"GET {API}/{what}": 1.0 for what in ("instances", "instances/{id}", "instance-types", "ssh-keys")},
}

_STATES = {
    "booting": InstanceState.CREATING,
    "active": InstanceState.RUNNING,
    "unhealthy": InstanceState.OFFLINE,
    "preempted": InstanceState.INTERRUPTED,
    "terminating": InstanceState.ENDING,
    "terminated": InstanceState.GONE,
}
_GPU = re.compile(r"(.+?) \((\d+(?:\.\d+)?) GB ?(.*)\)")
_IMAGE_ID = re.compile(r"[0-9a-fA-F-]{32,36}")


class _Region(Wire):
    name: str
    description: str = ""


class _Specs(Wire):
    vcpus: float = 0.0
    memory_gib: float = 0.0
    storage_gib: float = 0.0
    gpus: int = 0


class _Type(Wire):
    name: str
    price_cents_per_hour: float
    gpu_description: str = ""
    specs: _Specs = Field(default_factory=_Specs)


class _Row(Wire):
    instance_type: _Type
    regions_with_capacity_available: list[_Region] = Field(default_factory=list)


class _Machine(Wire):
    id: str
    status: str
    name: str = ""
    ip: str | None = None
    instance_type: _Type | None = None
    ssh_key_names: list[str] = Field(default_factory=list)


def _translate(failure: Failure) -> ProviderError | BadInput | None:  # noqa: PLR0911 - one return a meaning
    """Return what the error's code means: "use the value of code", not the words (API description)."""
    text, code = failure.message(), failure.word("code")
    if code == "global/object-does-not-exist" and "/launch" not in failure.path:
        return InstanceGone(text, provider="lambda")
    if code == "global/invalid-api-key":
        return AuthFailed(text, provider="lambda", bill="nothing was changed", hint=typed("login lambda"))
    if code in ("global/account-inactive", "global/invalid-address", "global/quota-exceeded"):
        return NoFunds(text, provider="lambda", bill="nothing was rented")
    if code == "instance-operations/launch/insufficient-capacity":
        return OfferGone(text, provider="lambda", bill="nothing was rented")
    if failure.status == 429:
        if "quota" in text.lower():
            return QuotaExhausted(text, provider="lambda", bill="nothing was changed")
        return RateLimited(text, provider="lambda", retry_after=failure.retry_after)
    if failure.status in (400, 404, 409, 422) and code:
        return BadInput(text, bill="nothing was changed")
    return None


class LambdaProvider(Provider, SshKeys):
    """The provider for Lambda Cloud's on-demand instances.

    Options: ``http`` (further arguments of `ApiClient`).
    """

    name: ClassVar[str] = "lambda"
    title: ClassVar[str] = "Lambda Cloud"
    key_variable: ClassVar[str] = "LAMBDA_API_KEY"
    key_page: ClassVar[str] = "https://cloud.lambda.ai/api-keys"
    simulation: ClassVar[str] = "gpunb.sim.lambda_cloud:LambdaCloud"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.REBOOT,
            Capability.RENAME,
            Capability.HOST_KEY,
            Capability.ONSTART,
            Capability.ACCOUNT_KEYS,
            Capability.HOSTNAME,
        }
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
            translate=_translate,
            rates=RATES,
            **(self.config.options.get("http") or {}),
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def check(self) -> Account:
        """Prove the key by reading the account's SSH keys; no call names the account or its money."""
        return Account(provider=self.name, message=f"SSH keys in the account: {len(self.ssh_keys())}")

    def search(self, query: OfferQuery) -> list[Offer]:  # noqa: ARG002 - the API has no filters
        """Return each type in each region that has it now; ``available`` is 0 for those that none has."""
        answer = self.http.call("GET", f"{API}/instance-types")
        table = answer.get("data")
        if not isinstance(table, dict):
            msg = f"lambda: instance types: field data must be an object; the answer was {_shown(answer)}"
            raise BadAnswer(msg, provider=self.name)
        return [offer for row in table.values() for offer in _offers(row)]

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Launch one machine: our key, host key and script are in its cloud-init document."""
        region, colon, kind = offer.id.partition(":")
        if not colon:
            msg = f"offer {clean(offer.id, 80)!r} is not of the form region:type; search again"
            raise BadInput(msg, bill="nothing was rented")
        _check_name(spec.label)
        body: dict[str, Any] = {
            "region_name": region,
            "instance_type_name": kind,
            "name": spec.label,
            "user_data": user_data(
                public_key=spec.public_key,
                host_key=spec.host_key,
                env=spec.env,
                onstart=spec.onstart,
                deadline=spec.deadline,
                limit=1_000_000,
            ),
        }
        if spec.hostname:
            body["hostname"] = spec.hostname
        if spec.image:
            body["image"] = {"id" if _IMAGE_ID.fullmatch(spec.image) else "family": spec.image}
        body["ssh_key_names"] = [self._key_name(spec.ssh_key)]
        answer = self.http.call(
            "POST", f"{API}/instance-operations/launch", json=body, safe=False, effect=True
        )
        data = answer.get("data")
        ids = data.get("instance_ids") if isinstance(data, dict) else None
        if not isinstance(ids, list) or not ids or not isinstance(ids[0], str):
            msg = f"Lambda Cloud took the launch, but its answer has no instance_ids: {_shown(answer)}"
            raise OutcomeUnknown(msg, provider=self.name, bill="a machine may be running and billed")
        return Instance(
            provider=self.name,
            id=ids[0],
            label=spec.label,
            state=InstanceState.CREATING,
            raw_state="booting",
            user=USER,
            host_key=host_public(spec.host_key) if spec.host_key else None,
            usd_h=offer.usd_h,
            kind="vm",
            raw=answer,
        )

    def instances(self) -> list[Instance]:
        """List the machines; the list has no pages, and lacks what has ended."""
        answer = self.http.call("GET", f"{API}/instances")
        return [self._instance(row) for row in rows(answer, "data", provider=self.name, what="instances")]

    def get(self, instance_id: str) -> Instance:
        """Return one machine."""
        answer = self.http.call("GET", f"{API}/instances/{segment(instance_id, self.title)}")
        return self._instance(answer.get("data"))

    def destroy(self, instance_id: str) -> None:
        """Terminate the machine; its disk is lost."""
        self._operate("terminate", instance_id)

    def reboot(self, instance_id: str) -> None:
        """Restart the machine; the disk stays."""
        self._operate("restart", instance_id)

    def rename(self, instance_id: str, label: str) -> None:
        """Rename the machine, 64 characters at most."""
        _check_name(label)
        path = f"{API}/instances/{segment(instance_id, self.title)}"
        self.http.call("POST", path, json={"name": label}, safe=True, expect=None)

    def ssh_keys(self) -> list[dict[str, Any]]:
        """List the account's keys: id, name, public_key."""
        answer = self.http.call("GET", f"{API}/ssh-keys")
        return [
            row for row in rows(answer, "data", provider=self.name, what="SSH keys") if isinstance(row, dict)
        ]

    def delete_ssh_key(self, key_id: str) -> None:
        """Remove a key from the account; machines that run keep it."""
        path = f"{API}/ssh-keys/{segment(key_id, self.title)}"
        self.http.call("DELETE", path, safe=True, expect=None)

    def _operate(self, what: str, instance_id: str) -> None:
        body = {"instance_ids": [segment(instance_id, self.title)]}
        self.http.call(
            "POST", f"{API}/instance-operations/{what}", json=body, safe=what == "terminate", expect=None
        )

    def _key_name(self, wanted: str) -> str:
        """Return the name of the key `wanted`, or of one that nobody holds, made at the first rental.

        A key of the account's own would let all log in who hold it: a team shares its keys.
        """
        known = {str(row.get("id")): str(row.get("name")) for row in self.ssh_keys()}
        if wanted:
            if wanted in known:
                return known[wanted]
            listed = ", ".join(f"{clean(ident, 40)} ({clean(name, 40)})" for ident, name in known.items())
            msg = f"ssh_key {clean(wanted, 80)!r} must be the id of a key of the account"
            msg += f": {listed or 'it has none'}"
            hint = typed("keys --cloud lambda") + " lists them"
            raise BadInput(msg, bill="nothing was rented", hint=hint)
        if KEY_NAME not in known.values():
            body = {"name": KEY_NAME, "public_key": unheld_key()}
            try:
                self.http.call("POST", f"{API}/ssh-keys", json=body, safe=False, effect=False, expect=None)
            except BadInput:  # another process has just made it: global/duplicate
                if KEY_NAME not in {row.get("name") for row in self.ssh_keys()}:
                    raise
        return KEY_NAME

    def _instance(self, row: Any) -> Instance:
        machine = parse(_Machine, row, provider=self.name, what="an instance")
        state = _STATES.get(machine.status, InstanceState.UNKNOWN)
        host, port = host_and_port(machine.ip)
        if state is InstanceState.RUNNING and not host:
            state = InstanceState.CREATING  # active, and its address is not shown yet
        return Instance(
            provider=self.name,
            id=machine.id,
            label=machine.name,
            state=state,
            raw_state=clean(machine.status, 40),
            host=host,
            port=port,
            user=USER,
            usd_h=machine.instance_type.price_cents_per_hour / 100 if machine.instance_type else 0.0,
            kind="vm",
            ssh_key=clean(", ".join(machine.ssh_key_names), 120),
            raw=row,
        )


def _offers(raw: Any) -> Iterator[Offer]:
    try:
        row = parse(_Row, raw, provider="lambda", what="an offer")
    except BadAnswer as err:
        _log.warning("an offer is left out: %s", err.message)
        return
    kind, specs = row.instance_type, row.instance_type.specs
    match = _GPU.fullmatch(kind.gpu_description)
    if specs.gpus and match is None:
        _log.warning(
            "an offer is left out: gpu_description %r is not like A10 (24 GB PCIe)",
            clean(kind.gpu_description, 80),
        )
        return
    gpu = f"{match[1]} {match[3]}".strip() if specs.gpus and match else ""
    places = row.regions_with_capacity_available
    for place in places or [_Region(name="")]:
        yield Offer(
            provider="lambda",
            id=f"{place.name}:{kind.name}",
            gpu=gpu,
            gpu_raw=gpu,
            gpus=specs.gpus,
            vram_gb=float(match[2]) if gpu and match else 0.0,
            usd_h=kind.price_cents_per_hour / 100,
            disk_included_gb=specs.storage_gib * GIB,
            disk_sized=False,
            increment_s=STEP_S,
            bills_boot=False,  # billing begins when "the instance passes health checks" (its page "Billing")
            kind="vm",
            region=place.name,
            country="US" if place.name.startswith("us-") else "",
            cores=specs.vcpus,
            ram_gb=specs.memory_gib * GIB,
            verified=True,
            trust="datacenter",
            available=int(bool(places)),
            raw=raw,
        )


def _check_name(value: str) -> None:
    if not 1 <= len(value) <= 64:
        msg = f"label {clean(value, 80)!r} has {len(value)} characters; Lambda Cloud takes 1 to 64"
        raise BadInput(msg, bill="nothing was changed")


def _shown(answer: object) -> str:
    return clean(repr(answer), 160)

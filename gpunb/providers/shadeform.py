"""The provider for Shadeform: machines of several clouds behind one API and one bill.

Facts from Shadeform's public API description (docs.shadeform.ai, 2026), its
guides "Quickstart" and "Run Startup Script", and its Terraform provider 2025.
A create names cloud, region and type of an offer, and the id of one SSH key
of the account. There is no stop, no spot, and no idempotency key.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
from datetime import datetime  # noqa: TC003 - pydantic needs it
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from gpunb.errors import (
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
)
from gpunb.providers.edge.payload import Wire, parse, rows
from gpunb.providers.edge.text import clean, segment
from gpunb.providers.features import SshKeys
from gpunb.providers.http import ApiClient, Failure
from gpunb.providers.machine.images import default_os

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ShadeformProvider"]

_log = logging.getLogger("gpunb.providers.shadeform")

DEFAULT_URL = "https://api.shadeform.ai"
#: Begins the name of a session's key in the account.
KEY_PREFIX = "gpunb-"
#: Clouds of Shadeform's that are markets themselves: anybody's machine.
MARKETS = frozenset({"tensordock", "vastai", "salad"})

_STATES = {
    "creating": InstanceState.CREATING,
    "pending_provider": InstanceState.CREATING,
    "pending": InstanceState.CREATING,
    "active": InstanceState.RUNNING,
    "error": InstanceState.FAILED,
    "deleting": InstanceState.ENDING,
    "deleted": InstanceState.GONE,
}
_KINDS = {"vm": "vm", "container": "container", "baremetal": "bare-metal"}
_GONE = ("not available", "unavailable", "out of stock", "no longer", "sold out", "capacity")
_MONEY = ("balance", "funds", "wallet", "credit", "payment", "top up")


class _Place(Wire):
    region: str
    available: bool = False


class _Configuration(Wire):
    memory_in_gb: float = 0.0
    storage_in_gb: float = 0.0
    vcpus: float = 0.0
    num_gpus: int = 0
    gpu_type: str = ""
    interconnect: str = ""
    vram_per_gpu_in_gb: float = 0.0
    os: str = ""
    os_options: list[str] = Field(default_factory=list)


class _Type(Wire):
    cloud: str
    shade_instance_type: str
    hourly_price: float
    configuration: _Configuration
    deployment_type: str = "vm"
    availability: list[_Place] = Field(default_factory=list)


class _Machine(Wire):
    id: str
    status: str
    name: str = ""
    ip: str = ""
    ssh_user: str = "shadeform"
    ssh_port: int = 22
    hourly_price: float = 0.0
    status_details: str = ""
    ssh_key_id: str = ""
    created_at: datetime | None = None
    configuration: _Configuration = Field(default_factory=_Configuration)


def _translate(failure: Failure) -> ProviderError | BadInput | None:  # noqa: PLR0911 - one return a meaning
    text, reason = failure.message(), failure.word("message", "error", "detail").lower()
    if failure.status == 404 and failure.path.startswith("/v1/instances/"):
        # only Shadeform's own 404 counts: a proxy's proves nothing
        return InstanceGone(text, provider="shadeform") if reason else None
    if failure.status == 429:
        if "quota" in reason:
            return QuotaExhausted(text, provider="shadeform", bill="nothing was changed")
        return RateLimited(text, provider="shadeform", retry_after=failure.retry_after)
    if failure.status in (400, 402, 404, 409, 422):
        if any(word in reason for word in _MONEY):
            return NoFunds(text, provider="shadeform", bill="nothing was rented")
        if any(word in reason for word in _GONE):
            return OfferGone(text, provider="shadeform", bill="nothing was rented")
        return BadInput(text, bill="nothing was changed")
    return None


class ShadeformProvider(Provider, SshKeys):
    """The provider for Shadeform's machines.

    Options: ``http`` (further arguments of `ApiClient`).
    """

    name: ClassVar[str] = "shadeform"
    title: ClassVar[str] = "Shadeform"
    key_variable: ClassVar[str] = "SHADEFORM_API_KEY"
    key_page: ClassVar[str] = "https://platform.shadeform.ai/settings/api"
    simulation: ClassVar[str] = "gpunb.sim.shadeform:ShadeformCloud"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.REBOOT, Capability.RENAME, Capability.ONSTART}
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
            header="X-API-KEY",
            scheme="",
            translate=_translate,
            **(self.config.options.get("http") or {}),
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def check(self) -> Account:
        """Prove the key by reading the account's SSH keys; no call names the account or its wallet."""
        return Account(provider=self.name, message=f"SSH keys in the account: {len(self.ssh_keys())}")

    def search(self, query: OfferQuery) -> list[Offer]:  # noqa: ARG002 - too much is filtered again
        """Return each type of each cloud by region; ``available`` is 0 where it is sold out."""
        answer = self.http.call("GET", "/v1/instances/types")
        table = rows(answer, "instance_types", provider=self.name, what="instance types")
        offers: dict[str, Offer] = {}
        for offer in (offer for row in table for offer in _offers(row)):
            known = offers.get(offer.id)
            if known is None or (offer.available, -offer.usd_h) > (known.available, -known.usd_h):
                offers[offer.id] = offer
        return list(offers.values())

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Create a machine that lets the session's key in, which the account gets before."""
        if not 1 <= len(spec.label) <= 64:
            msg = f"label {clean(spec.label, 80)!r} has {len(spec.label)} characters; 1 to 64 are taken"
            raise BadInput(msg, bill="nothing was rented")
        if spec.env:
            msg = f"{self.title} sets no variables on a machine, so env can't be set"
            hint = "leave it out, and set them with " + typed("exec") + " once the machine is ready"
            raise NotSupported(msg, provider=self.name, bill="nothing was rented", hint=hint)
        try:
            cloud, region, kind = offer.id.split("/")
        except ValueError:
            msg = f"offer {clean(offer.id, 80)!r} is not of the form cloud/region/type; search again"
            raise BadInput(msg, bill="nothing was rented") from None
        body: dict[str, Any] = {
            "cloud": cloud,
            "region": region,
            "shade_instance_type": kind,
            "shade_cloud": True,
            "name": spec.label,
        }
        if system := _system(offer, spec):
            body["os"] = system
        if spec.onstart:
            script = base64.b64encode(spec.onstart.encode()).decode()
            body["launch_configuration"] = {
                "type": "script",
                "script_configuration": {"base64_script": script},
            }
        body["ssh_key_id"] = key_id = self._session_key(spec.public_key)
        try:
            answer = self.http.call("POST", "/v1/instances/create", json=body, safe=False, effect=True)
        except (ProviderError, BadInput) as err:
            if getattr(err, "effect", "none") == "none":
                self._drop_key(key_id)
            raise
        ident = answer.get("id")
        if not isinstance(ident, str) or not ident:
            msg = f"Shadeform took the create, but its answer has no id: {clean(repr(answer), 160)}"
            raise OutcomeUnknown(msg, provider=self.name, bill="a machine may be running and billed")
        return Instance(
            provider=self.name,
            id=ident,
            label=spec.label,
            state=InstanceState.CREATING,
            raw_state="creating",
            usd_h=offer.usd_h,
            kind=offer.kind,
            raw=answer,
        )

    def instances(self) -> list[Instance]:
        """List the machines, those that are being deleted too; the list has no pages."""
        answer = self.http.call("GET", "/v1/instances")
        return [
            self._instance(row) for row in rows(answer, "instances", provider=self.name, what="instances")
        ]

    def get(self, instance_id: str) -> Instance:
        """Return one machine."""
        return self._instance(self.http.call("GET", self._path(instance_id, "info")))

    def destroy(self, instance_id: str) -> None:
        """Delete the machine, then the session's key from the account, where no other machine uses it."""
        self.http.call("POST", self._path(instance_id, "delete"), safe=True, effect=True, expect=None)
        with contextlib.suppress(ProviderError):  # the end matters, not the key
            key_id = self.get(instance_id).ssh_key
            if any(row.get("id") == key_id and _is_ours(row) for row in self.ssh_keys()):
                self._drop_key(key_id)

    def reboot(self, instance_id: str) -> None:
        """Restart the machine; the disk stays."""
        self.http.call("POST", self._path(instance_id, "restart"), safe=False, expect=None)

    def rename(self, instance_id: str, label: str) -> None:
        """Rename the machine."""
        self.http.call(
            "POST", self._path(instance_id, "update"), json={"name": label}, safe=True, expect=None
        )

    def ssh_keys(self) -> list[dict[str, Any]]:
        """List the account's keys: id, name, public_key, is_default."""
        answer = self.http.call("GET", "/v1/sshkeys")
        table = rows(answer, "ssh_keys", provider=self.name, what="SSH keys")
        return [row for row in table if isinstance(row, dict)]

    def delete_ssh_key(self, key_id: str) -> None:
        """Remove a key that no machine uses."""
        path = f"/v1/sshkeys/{segment(key_id, self.title)}/delete"
        self.http.call("POST", path, safe=True, expect=None)

    def _path(self, instance_id: str, what: str) -> str:
        return f"/v1/instances/{segment(instance_id, self.title)}/{what}"

    def _session_key(self, line: str) -> str:
        """Return the id of the session's key in the account; it is added if it is not there."""
        name = KEY_PREFIX + hashlib.sha256(line.encode()).hexdigest()[:12]
        for row in self.ssh_keys():
            if row.get("name") == name and isinstance(row.get("id"), str):
                return str(row["id"])
        body = {"name": name, "public_key": line}
        answer = self.http.call("POST", "/v1/sshkeys/add", json=body, safe=False, effect=False)
        if not isinstance(answer.get("id"), str):
            msg = (
                f"shadeform: a new SSH key: field id must be text; the answer was {clean(repr(answer), 160)}"
            )
            raise BadAnswer(msg, provider=self.name, bill="nothing was rented")
        return str(answer["id"])

    def _drop_key(self, key_id: str) -> None:
        with contextlib.suppress(ProviderError, BadInput):  # "in use SSH keys can't be deleted"
            self.delete_ssh_key(key_id)

    def _instance(self, row: Any) -> Instance:
        machine = parse(_Machine, row, provider=self.name, what="an instance")
        state = _STATES.get(machine.status, InstanceState.UNKNOWN)
        if state is InstanceState.RUNNING and not machine.ip:
            state = InstanceState.CREATING  # active, and its address is not shown yet
        return Instance(
            provider=self.name,
            id=machine.id,
            label=machine.name,
            state=state,
            raw_state=clean(machine.status, 40),
            message=clean(machine.status_details, 300),
            host=machine.ip,
            port=machine.ssh_port if machine.ip else 0,
            user=machine.ssh_user,
            usd_h=machine.hourly_price / 100,
            image=clean(machine.configuration.os, 120),
            ssh_key=machine.ssh_key_id,
            created=machine.created_at.timestamp() if machine.created_at else None,
            raw=row,
        )


def _is_ours(row: dict[str, Any]) -> bool:
    return str(row.get("name", "")).startswith(KEY_PREFIX)


def _system(offer: Offer, spec: CreateSpec) -> str:
    configuration = offer.raw.get("configuration")
    options = configuration.get("os_options") if isinstance(configuration, dict) else None
    known = [name for name in options if isinstance(name, str)] if isinstance(options, list) else []
    wanted = spec.image or (default_os(known) if known else "")
    if wanted and known and wanted not in known:
        listed = ", ".join(clean(name, 60) for name in known[:12])
        msg = f"image {clean(wanted, 80)!r} must be one of the offer's systems: {listed}"
        raise BadInput(msg, bill="nothing was rented")
    return wanted


def _offers(raw: Any) -> Iterator[Offer]:
    try:
        one = parse(_Type, raw, provider="shadeform", what="an offer")
    except BadAnswer as err:
        _log.warning("an offer is left out: %s", err.message)
        return
    own = one.configuration
    form = own.interconnect if own.interconnect.lower().startswith(("sxm", "pcie")) else ""
    gpu = f"{own.gpu_type} {form}".strip() if own.num_gpus else ""
    for place in one.availability:
        yield Offer(
            provider="shadeform",
            id=f"{one.cloud}/{place.region}/{one.shade_instance_type}",
            gpu=gpu,
            gpu_raw=gpu,
            gpus=own.num_gpus,
            vram_gb=own.vram_per_gpu_in_gb if gpu else 0.0,
            usd_h=one.hourly_price / 100,  # cents an hour for the machine
            disk_included_gb=own.storage_in_gb,
            disk_sized=False,
            increment_s=3600.0,  # no page says a step
            kind=_KINDS.get(one.deployment_type, "vm"),
            region=place.region,
            cores=own.vcpus,
            ram_gb=own.memory_in_gb,
            host_id=one.cloud,
            trust="stranger" if one.cloud in MARKETS else "datacenter",
            verified=one.cloud not in MARKETS,
            available=int(place.available),
            raw=raw,
        )

"""Simulated Lambda Cloud: instance types by region, launches, SSH keys.

Shapes, codes and limits as in Lambda's public API description (as generated
clients carry it, 2026). One thing differs on purpose: ``ip`` carries the port
of the simulated host ("127.0.0.1:40123"), because only root may listen on port 22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from gpunb.sim.catalog import rigs
from gpunb.sim.cloud import Cloud, Machine, Phase, Refusal
from gpunb.sim.hosts import cloudconfig
from gpunb.sim.hosts.machines import HostSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.sim.catalog import Rig
    from gpunb.sim.money import Account

__all__ = ["LambdaCloud"]

USER = "ubuntu"
_REGIONS = (
    ("us-west-1", "California, USA"),
    ("us-east-1", "Virginia, USA"),
    ("us-south-1", "Texas, USA"),
    ("europe-central-1", "Germany"),
    ("asia-northeast-1", "Osaka, Japan"),
)
_CODES = {
    401: "global/invalid-api-key",
    402: "global/account-inactive",
    404: "global/object-does-not-exist",
    409: "global/duplicate",
    429: "global/too-many-requests",
}
_FORMS = {"SXM": "SXM5", "PCIE": "PCIe"}


class LaunchIn(BaseModel):
    """Request body of a launch."""

    region_name: str
    instance_type_name: str
    ssh_key_names: list[str] = Field(min_length=1, max_length=1)
    name: str = Field("", max_length=64)
    hostname: str | None = None
    user_data: str = Field("", max_length=1_000_000)
    image: dict[str, str] | None = None


class IdsIn(BaseModel):
    """Request body of ``terminate`` and ``restart``."""

    instance_ids: list[str] = Field(min_length=1)


class NameIn(BaseModel):
    """Request body of an instance's change."""

    name: str = Field(max_length=64)


class KeyIn(BaseModel):
    """Request body of a new SSH key; without ``public_key`` the real cloud makes a pair."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    public_key: str


class LambdaCloud(Cloud):
    """The simulation of Lambda Cloud's on-demand instances."""

    name: ClassVar[str] = "lambda"
    title: ClassVar[str] = "Lambda Cloud"
    intervals: ClassVar[Mapping[str, float]] = {
        "create": 12.0,
        "search": 1.0,
        "list": 1.0,
        "get": 1.0,
        "check": 1.0,
    }
    boot_s: ClassVar[float] = 120.0
    usual_offers: ClassVar[int] = 10

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.types: dict[str, tuple[Rig, dict[str, Any]]] = {}
        usual = [rig for rig in rigs(300, self.seed, datacenter=True) if rig.model.datacenter]
        for rig in usual:
            row = self._type(rig)
            if len(self.types) < self.offer_count:
                self.types.setdefault(row["instance_type"]["name"], (rig, row))

    def _type(self, rig: Rig) -> dict[str, Any]:
        form = _FORMS[rig.model.interface]
        short = rig.model.name.removesuffix(" SXM").removesuffix(" PCIE")
        title = f"{short} ({rig.model.vram_gb} GB {form})"
        places = [
            {"name": name, "description": text}
            for number, (name, text) in enumerate(_REGIONS)
            if (rig.number + number) % 3 == 0
        ]
        return {
            "instance_type": {
                "name": f"gpu_{rig.gpus}x_{short.lower().replace(' ', '_')}_{form.lower()}",
                "description": f"{rig.gpus}x {title}",
                "gpu_description": title,
                "price_cents_per_hour": round(rig.usd_h * 100),
                "specs": {
                    "vcpus": rig.cores,
                    "memory_gib": rig.ram_gb,
                    "storage_gib": rig.disk_gb,
                    "gpus": rig.gpus,
                },
            },
            "regions_with_capacity_available": places,
        }

    # -- shapes --------------------------------------------------------------------

    def refusal(self, status: int, message: str, code: str = "") -> Response:
        """Return ``{"error": {"code", "message"}}``."""
        code = code or _CODES.get(
            status, "global/internal-error" if status >= 500 else "global/invalid-parameters"
        )
        return JSONResponse({"error": {"code": code, "message": message}}, 403 if status == 402 else status)

    def invalid(self, errors: list[dict[str, Any]], endpoint: str = "") -> Response:  # noqa: ARG002
        """Return 400 with the first invalid field."""
        first = errors[0]
        return self.refusal(400, f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}")

    def wrong_shape(self, endpoint: str) -> Response:
        """Return a success without what it should have."""
        return JSONResponse({"data": {"instances": []}} if endpoint == "create" else {"data": None})

    def state_word(self, machine: Machine) -> str:
        """Return Lambda's status of an instance."""
        return {
            Phase.BOOTING: "booting",
            Phase.OFFLINE: "unhealthy",
            Phase.FAILED: "terminated",
            Phase.ENDING: "terminating",
            Phase.ENDED: "terminated",
        }.get(machine.shown, "active")

    def row(self, machine: Machine) -> dict[str, Any]:
        """Return an instance as ``Instance``."""
        host, port = machine.address
        row: dict[str, Any] = {
            "id": machine.id,
            "name": machine.label,
            "status": self.state_word(machine),
            "ssh_key_names": [machine.data["key_name"]],
            "file_system_names": [],
            "region": machine.data["region"],
            "instance_type": machine.data["type"],
            "actions": {what: {"available": machine.alive} for what in ("restart", "terminate")},
        }
        if machine.shown in (Phase.RUNNING, Phase.OFFLINE):
            row |= {"ip": f"{host}:{port}", "hostname": machine.data["hostname"]}
        return row

    def on_phase(self, machine: Machine, old: Phase, new: Phase, at: float) -> None:
        """Bill by begun minutes from the first health check to the termination, restarts too."""
        if new is Phase.RUNNING and not machine.bill.billed():
            machine.bill.open("gpu", machine.data["price"], at, step_s=60.0)
        elif new in (Phase.ENDING, Phase.ENDED, Phase.FAILED) and old is not Phase.ENDING:
            machine.bill.close(at)

    # -- routes ----------------------------------------------------------------------

    def routes(self, app: FastAPI) -> None:
        """Add the endpoints of instances and keys."""
        for method, path, handler, name in (
            ("GET", "/instance-types", self.list_types, "search"),
            ("POST", "/instance-operations/launch", self.launch_one, "create"),
            ("POST", "/instance-operations/terminate", self.terminate, "destroy"),
            ("POST", "/instance-operations/restart", self.restart, "reboot"),
            ("GET", "/instances", self.list_instances, "list"),
            ("GET", "/instances/{instance_id}", self.get_instance, "get"),
            ("POST", "/instances/{instance_id}", self.rename_instance, "rename"),
            ("GET", "/ssh-keys", self.list_keys, "check"),
            ("POST", "/ssh-keys", self.add_key, "add-ssh-key"),
            ("DELETE", "/ssh-keys/{key_id}", self.delete_key, "delete-ssh-key"),
        ):
            app.add_api_route(f"/api/v1{path}", handler, methods=[method], name=name, response_model=None)

    async def list_types(self, request: Request) -> Response:
        """List the types, each with the regions that have it now."""
        self.login(request)
        return JSONResponse({"data": {name: row for name, (_, row) in self.types.items()}})

    async def launch_one(self, request: Request, body: LaunchIn) -> Response:
        """Launch an instance."""
        account = self.login(request)
        if body.instance_type_name not in self.types:
            raise self.refuse(404, f"Instance type {body.instance_type_name} does not exist")
        rig, row = self.types[body.instance_type_name]
        kind, places = row["instance_type"], row["regions_with_capacity_available"]
        if self.fault("offer-gone"):
            places[:] = [place for place in places if place["name"] != body.region_name]
        region = next((place for place in places if place["name"] == body.region_name), None)
        if region is None:
            raise Refusal(
                self.refusal(
                    400,
                    "Not enough capacity to fulfill launch request.",
                    "instance-operations/launch/insufficient-capacity",
                )
            )
        key = next((one for one in self._keys(account) if one["name"] == body.ssh_key_names[0]), None)
        if key is None:
            raise self.refuse(404, f"SSH key {body.ssh_key_names[0]} does not exist")
        if account.balance(self.clock.now()) <= 0 or self.fault("zero-balance"):
            raise self.refuse(402, "Your account is inactive.")
        if fault := self.fault("price-increase"):
            kind["price_cents_per_hour"] = round(kind["price_cents_per_hour"] * fault.number("factor", 1.5))
        config = cloudconfig.read(body.user_data, USER)
        machine_id = f"{self.rng.getrandbits(128):032x}"
        spec = HostSpec(
            id=machine_id,
            user=USER,
            public_keys=[key["public_key"], *config.public_keys],
            host_key=config.host_key,
            env=config.env,
            onstart=config.script,
            gpu=rig.model.name,
            gpus=rig.gpus,
            vram_mib=rig.model.vram_mib,
        )
        machine = self.launch(
            account,
            body.name,
            spec,
            machine_id=machine_id,
            data={
                "region": region,
                "type": dict(kind),
                "price": kind["price_cents_per_hour"] / 100,
                "key_name": key["name"],
                "hostname": body.hostname or "",
                "user_data": body.user_data,
                "image": body.image,
            },
        )
        self.sell_twice(machine)
        return JSONResponse({"data": {"instance_ids": [machine.id]}})

    async def terminate(self, request: Request, body: IdsIn) -> Response:
        """Terminate instances: all of them or none."""
        machines = [self._one(request, ident) for ident in body.instance_ids]
        for machine in machines:
            if machine.phase is not Phase.ENDING and not self.ignores_destroy(machine):
                self.end(machine)
        return JSONResponse({"data": {"terminated_instances": [self.row(one) for one in machines]}})

    async def restart(self, request: Request, body: IdsIn) -> Response:
        """Restart instances; they are billed meanwhile."""
        machines = [self._one(request, ident) for ident in body.instance_ids]
        for machine in machines:
            self.stop(machine)
            self.start(machine, boot_s=min(self.boot_seconds, 30.0))
        return JSONResponse({"data": {"restarted_instances": [self.row(one) for one in machines]}})

    async def list_instances(self, request: Request) -> Response:
        """List the instances; what has ended is not listed."""
        return JSONResponse(
            {"data": [self.row(machine) for machine in self.listed(self.login(request)) if machine.alive]}
        )

    async def get_instance(self, request: Request, instance_id: str) -> Response:
        """Return an instance."""
        return JSONResponse({"data": self.row(self._one(request, instance_id))})

    async def rename_instance(self, request: Request, instance_id: str, body: NameIn) -> Response:
        """Rename an instance."""
        machine = self._one(request, instance_id)
        machine.label = machine.bill.label = body.name
        return JSONResponse({"data": self.row(machine)})

    async def list_keys(self, request: Request) -> Response:
        """List the account's keys."""
        return JSONResponse({"data": self._keys(self.login(request))})

    async def add_key(self, request: Request, body: KeyIn) -> Response:
        """Add a key; a name that is there is a duplicate."""
        known = self._keys(self.login(request))
        if any(row["name"] == body.name for row in known):
            raise Refusal(self.refusal(400, f"An SSH key named {body.name} exists", "global/duplicate"))
        known.append(
            {"id": f"{self.rng.getrandbits(128):032x}", "name": body.name, "public_key": body.public_key}
        )
        return JSONResponse({"data": known[-1]})

    async def delete_key(self, request: Request, key_id: str) -> Response:
        """Delete a key; instances keep it."""
        known = self._keys(self.login(request))
        row = next((row for row in known if row["id"] == key_id), None)
        if row is None:
            raise self.refuse(404, "SSH key does not exist")
        known.remove(row)
        return JSONResponse({"data": {}})

    def _one(self, request: Request, instance_id: str) -> Machine:
        account = self.login(request)
        machine = self.machines.get(instance_id)
        if machine is None or machine.account is not account or not machine.alive:
            raise self.refuse(404, "Specified instance does not exist.")
        return machine

    @staticmethod
    def _keys(account: Account) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = account.data.setdefault("ssh_keys", [])
        return keys

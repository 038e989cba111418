"""Simulated Shadeform: instance types of several clouds, instances, SSH keys.

Shapes and codes as in Shadeform's public API description (2026).
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from gpunb.sim.catalog import rigs
from gpunb.sim.cloud import Cloud, Machine, Phase
from gpunb.sim.hosts.machines import HostSpec

if TYPE_CHECKING:
    from gpunb.sim.catalog import Rig
    from gpunb.sim.money import Account

__all__ = ["ShadeformCloud"]

USER = "shadeform"
_CLOUDS = ("hyperstack", "massedcompute", "tensordock", "datacrunch")
_REGIONS = ("canada-1", "us-east-1", "paris-france-1")
_SYSTEMS = ["ubuntu22.04_cuda12.2_shade_os", "ubuntu24.04_cuda12.8_shade_os"]


class ScriptIn(BaseModel):
    """A start script."""

    base64_script: str


class LaunchIn(BaseModel):
    """What runs when the machine is active."""

    type: Literal["docker", "script"]
    script_configuration: ScriptIn | None = None


class CreateIn(BaseModel):
    """Request body ``CreateRequest``."""

    cloud: str
    region: str
    shade_instance_type: str
    shade_cloud: bool
    name: str = Field(min_length=1)
    os: str = ""
    ssh_key_id: str = ""
    launch_configuration: LaunchIn | None = None


class UpdateIn(BaseModel):
    """Request body ``UpdateRequest``, as far as it is simulated."""

    name: str | None = None


class KeyIn(BaseModel):
    """Request body ``AddSshKeyRequest``."""

    name: str = Field(min_length=1)
    public_key: str = Field(min_length=1)


class ShadeformCloud(Cloud):
    """The simulation of Shadeform."""

    name: ClassVar[str] = "shadeform"
    title: ClassVar[str] = "Shadeform"
    boot_s: ClassVar[float] = 90.0
    usual_offers: ClassVar[int] = 20

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.types: dict[tuple[str, str], tuple[Rig, dict[str, Any]]] = {}
        for rig in rigs(self.offer_count, self.seed, datacenter=True):
            row = self._type(rig)
            self.types.setdefault((row["cloud"], row["shade_instance_type"]), (rig, row))

    def _type(self, rig: Rig) -> dict[str, Any]:
        short = (
            rig.model.name.removeprefix("RTX ")
            .removeprefix("Tesla ")
            .replace(" SXM", "")
            .replace(" PCIE", "")
        )
        short = {"6000 Ada": "RTX6000Ada"}.get(short, f"RTX{short}" if short[:1].isdigit() else short)
        gpu = f"{short}_80G" if short == "A100" else short
        form = "sxm" if rig.model.interface == "SXM" else "pcie"
        return {
            "cloud": _CLOUDS[rig.number % len(_CLOUDS)],
            "shade_instance_type": f"{gpu}_{form}x{rig.gpus}",
            "cloud_instance_type": f"gpu_{rig.gpus}x_{gpu.lower()}",
            "configuration": {
                "memory_in_gb": rig.ram_gb,
                "storage_in_gb": rig.disk_gb,
                "vcpus": rig.cores,
                "num_gpus": rig.gpus,
                "gpu_type": gpu,
                "interconnect": form,
                "nvlink": rig.nvlink,
                "vram_per_gpu_in_gb": rig.model.vram_gb,
                "os_options": list(_SYSTEMS),
            },
            "hourly_price": round(rig.usd_h * 100),
            "deployment_type": "vm",
            "availability": [
                {"region": region, "available": rig.number == 0 or (rig.number + at) % 3 != 0}
                for at, region in enumerate(_REGIONS)
            ],
            "boot_time": {"min_boot_in_sec": 60, "max_boot_in_sec": 180},
        }

    # -- shapes --------------------------------------------------------------------

    def identity(self, request: Request) -> str:
        """Return the key in ``X-API-KEY``."""
        return request.headers.get("x-api-key", "")

    def refusal(self, status: int, message: str) -> Response:
        """Return ``{"code", "message"}``."""
        return JSONResponse({"code": str(status), "message": message}, status)

    def invalid(self, errors: list[dict[str, Any]], endpoint: str = "") -> Response:  # noqa: ARG002
        """Return 400 with the first invalid field."""
        first = errors[0]
        return self.refusal(400, f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}")

    def wrong_shape(self, endpoint: str) -> Response:
        """Return a success without what it should have."""
        return JSONResponse({"cloud_assigned_id": "?"} if endpoint == "create" else {"data": []})

    def status(self, machine: Machine) -> str:
        """Return Shadeform's status of a machine."""
        if machine.shown is Phase.BOOTING:
            return "creating" if self.clock.now() < machine.created + 5 else "pending"
        return {Phase.FAILED: "error", Phase.ENDING: "deleting", Phase.ENDED: "deleted"}.get(
            machine.shown, "active"
        )

    def row(self, machine: Machine) -> dict[str, Any]:
        """Return a machine as ``Instance``."""
        host, port = machine.address
        up = machine.shown in (Phase.RUNNING, Phase.OFFLINE)
        body, kind = machine.data["body"], machine.data["type"]
        return {
            "id": machine.id,
            "cloud": body.cloud,
            "region": body.region,
            "shade_instance_type": body.shade_instance_type,
            "cloud_instance_type": kind["cloud_instance_type"],
            "cloud_assigned_id": machine.id,
            "shade_cloud": True,
            "name": machine.label,
            "configuration": {**kind["configuration"], "os": body.os},
            "ip": host if up else "",
            "ssh_user": USER,
            "ssh_port": port if up else 22,
            "status": self.status(machine),
            "status_details": machine.fail_reason,
            "cost_estimate": f"{sum(machine.bill.by_kind(self.clock.now()).values()):.2f}",
            "hourly_price": machine.data["cents"],
            "ssh_key_id": body.ssh_key_id,
            "created_at": datetime.fromtimestamp(machine.created, timezone.utc).isoformat(),
            "deleted_at": None,
        }

    def on_phase(self, machine: Machine, old: Phase, new: Phase, at: float) -> None:  # noqa: ARG002
        """Bill from active to ``deleting``, restarts too."""
        if new is Phase.RUNNING and not machine.bill.billed():
            machine.bill.open("gpu", machine.data["cents"] / 100, at)
        elif new in (Phase.ENDING, Phase.ENDED, Phase.FAILED):
            machine.bill.close(at)

    # -- routes ----------------------------------------------------------------------

    def routes(self, app: FastAPI) -> None:
        """Add the endpoints of types, instances and keys."""
        for method, path, handler, name in (
            ("GET", "/instances/types", self.list_types, "search"),
            ("POST", "/instances/create", self.create, "create"),
            ("GET", "/instances", self.list_instances, "list"),
            ("GET", "/instances/{instance_id}/info", self.get_instance, "get"),
            ("POST", "/instances/{instance_id}/delete", self.delete_instance, "destroy"),
            ("POST", "/instances/{instance_id}/restart", self.restart, "reboot"),
            ("POST", "/instances/{instance_id}/update", self.update, "rename"),
            ("GET", "/sshkeys", self.list_keys, "check"),
            ("POST", "/sshkeys/add", self.add_key, "add-ssh-key"),
            ("POST", "/sshkeys/{key_id}/delete", self.delete_key, "delete-ssh-key"),
        ):
            app.add_api_route(f"/v1{path}", handler, methods=[method], name=name, response_model=None)

    async def list_types(self, request: Request) -> Response:
        """List the types of all clouds."""
        self.login(request)
        return JSONResponse({"instance_types": [row for _, row in self.types.values()]})

    async def create(self, request: Request, body: CreateIn) -> Response:
        """Create a machine."""
        account = self.login(request)
        found = self.types.get((body.cloud, body.shade_instance_type))
        if found is None:
            raise self.refuse(400, f"{body.cloud} has no type {body.shade_instance_type}")
        rig, kind = found
        place = next((one for one in kind["availability"] if one["region"] == body.region), None)
        if place is not None and self.fault("offer-gone"):
            place["available"] = False
        if place is None or not place["available"]:
            raise self.refuse(400, "The instance type is not available in this region")
        if body.os and body.os not in kind["configuration"]["os_options"]:
            raise self.refuse(400, f"os {body.os} is not one of os_options")
        key = next((one for one in self._keys(account) if one["id"] == body.ssh_key_id), None)
        if key is None:
            raise self.refuse(400, "ssh_key_id does not exist")
        if account.balance(self.clock.now()) <= 0 or self.fault("zero-balance"):
            raise self.refuse(400, "Top up your wallet to launch an instance")
        if fault := self.fault("price-increase"):
            kind["hourly_price"] = round(kind["hourly_price"] * fault.number("factor", 1.5))
        script = ""
        if body.launch_configuration and body.launch_configuration.script_configuration:
            try:
                text = body.launch_configuration.script_configuration.base64_script
                script = base64.b64decode(text, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise self.refuse(400, "base64_script is not base64") from None
        machine_id = self.new_id()
        spec = HostSpec(
            id=machine_id,
            user=USER,
            public_keys=[key["public_key"]],
            onstart=script,
            gpu=rig.model.name,
            gpus=rig.gpus,
            vram_mib=rig.model.vram_mib,
        )
        data = {"body": body, "type": kind, "cents": kind["hourly_price"], "script": script}
        machine = self.launch(account, body.name, spec, machine_id=machine_id, data=data)
        self.sell_twice(machine)
        return JSONResponse({"id": machine.id, "cloud_assigned_id": machine.id})

    async def list_instances(self, request: Request) -> Response:
        """List the machines that are not deleted."""
        listed = [machine for machine in self.listed(self.login(request)) if machine.phase is not Phase.ENDED]
        return JSONResponse({"instances": [self.row(machine) for machine in listed]})

    async def get_instance(self, request: Request, instance_id: str) -> Response:
        """Return a machine, a deleted one too."""
        return JSONResponse(self.row(self._one(request, instance_id)))

    async def delete_instance(self, request: Request, instance_id: str) -> Response:
        """Delete a machine."""
        machine = self._one(request, instance_id)
        if machine.phase is Phase.FAILED:
            self.change(machine, Phase.ENDED, self.clock.now())
        elif machine.alive and machine.phase is not Phase.ENDING and not self.ignores_destroy(machine):
            self.end(machine)
        return Response()

    async def restart(self, request: Request, instance_id: str) -> Response:
        """Restart a machine; it is billed meanwhile."""
        machine = self._one(request, instance_id)
        self.stop(machine)
        self.start(machine, boot_s=min(self.boot_seconds, 30.0))
        return Response()

    async def update(self, request: Request, instance_id: str, body: UpdateIn) -> Response:
        """Rename a machine."""
        machine = self._one(request, instance_id)
        if body.name is not None:
            machine.label = machine.bill.label = body.name
        return Response()

    async def list_keys(self, request: Request) -> Response:
        """List the account's keys."""
        return JSONResponse({"ssh_keys": self._keys(self.login(request))})

    async def add_key(self, request: Request, body: KeyIn) -> Response:
        """Add a key."""
        row = {"id": self.new_id(), "name": body.name, "public_key": body.public_key, "is_default": False}
        self._keys(self.login(request)).append(row)
        return JSONResponse({"id": row["id"]})

    async def delete_key(self, request: Request, key_id: str) -> Response:
        """Delete a key, unless a machine uses it."""
        account = self.login(request)
        row = next((key for key in self._keys(account) if key["id"] == key_id), None)
        if row is None:
            raise self.refuse(404, "SSH key not found")
        if any(
            machine.data["body"].ssh_key_id == key_id
            for machine in self.machines.values()
            if machine.account is account and machine.alive and machine.phase is not Phase.ENDING
        ):
            raise self.refuse(400, "SSH key is in use")
        self._keys(account).remove(row)
        return Response()

    def _one(self, request: Request, instance_id: str) -> Machine:
        account = self.login(request)
        machine = self.machines.get(instance_id)
        if machine is None or machine.account is not account:
            raise self.refuse(404, "Instance not found")
        return machine

    @staticmethod
    def _keys(account: Account) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = account.data.setdefault("ssh_keys", [])
        return keys

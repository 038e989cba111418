"""Simulated Sesterce: offers by region, instances, SSH keys, volumes.

Shapes as in Sesterce's OpenAPI fragments; where its own client differs
(``ip`` empty and ``sshPort`` null until active, ``portForwards`` as objects)
the client's shape is answered unless ``strict`` asks for the document's.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, ClassVar, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.catalog import Rig, rigs
from gpunb.sim.cloud import Machine, Phase
from gpunb.sim.hosts import cloudconfig
from gpunb.sim.hosts.machines import HostSpec
from gpunb.sim.money import Account
from gpunb.sim.sesterce.bodies import CreateIn, VmIn
from gpunb.sim.sesterce.kept import CLOUDS, KeysAndVolumes, iso

__all__ = ["SesterceCloud"]

_OS = ["ubuntu22.04_cuda12.4_shade_os", "ubuntu24.04_cuda12.4_shade_os", "ubuntu22.04"]


class SesterceCloud(KeysAndVolumes):
    """The simulation of Sesterce's GPU cloud."""

    name: ClassVar[str] = "sesterce"
    title: ClassVar[str] = "Sesterce"
    boot_s: ClassVar[float] = 90.0
    end_s: ClassVar[float] = 20.0
    usual_offers: ClassVar[int] = 30

    def __init__(self, *, strict: bool = False, **more: Any) -> None:
        super().__init__(**more)
        self.strict = strict
        self.offers = {}
        for rig in rigs(self.offer_count, self.seed, datacenter=True):
            row = self._offer(rig)
            self.offers[row["instanceId"]] = (rig, row)

    def _offer(self, rig: Rig) -> dict[str, Any]:
        cloud_id, cloud = CLOUDS[rig.number % len(CLOUDS)]
        places = {f"{cloud.lower()}-{rig.city.lower()}-1": (rig.city, rig.country)}
        if rig.number % 3 == 0:
            places[f"{cloud.lower()}-paris-2"] = ("Paris", "FR")
        kind = "container" if rig.number % 5 == 4 else "baremetal" if rig.gpus == 8 else "vm"
        return {
            "gpuName": rig.model.name.removesuffix(" PCIE").removesuffix(" SXM"),
            "gpuCount": rig.gpus,
            "nvlink": rig.nvlink,
            "deploymentType": kind,
            "instanceId": f"{self.rng.getrandbits(96):024x}",
            "cloudInitAvailable": kind != "container" and rig.number % 4 != 3,
            "cloud": {"_id": cloud_id, "name": cloud},
            "configuration": {
                "ramGB": rig.ram_gb,
                "storageGB": rig.disk_gb,
                "vCpu": rig.cores,
                "vRamGB": rig.model.vram_gb * rig.gpus,
                "os": [] if kind == "container" else list(_OS),
                "interconnect": "sxm" if rig.model.interface == "SXM" else "pcie",
            },
            "hourlyPrice": round(rig.usd_h, 2),
            "availability": [
                {
                    "region": region,
                    "name": city,
                    "countryCode": country,
                    "available": number == 0 or rig.number % 6 != 0,
                }
                for number, (region, (city, country)) in enumerate(places.items())
            ],
        }

    # -- shapes --------------------------------------------------------------------

    def identity(self, request: Request) -> str:
        """Return the key in ``x-api-key``."""
        return request.headers.get("x-api-key", "")

    def wrong_key(self) -> Response:
        """Return 403, the answer to a wrong key."""
        return self.refusal(403, "API key invalid")

    def refusal(self, status: int, message: str) -> Response:
        """Return an error as ``{statusCode, timestamp, path, message}``."""
        body = {
            "statusCode": status,
            "timestamp": iso(self.clock.now()),
            "path": "/gpu-cloud",
            "message": message,
        }
        return JSONResponse(body, status)

    def invalid(self, errors: list[dict[str, Any]], endpoint: str = "") -> Response:  # noqa: ARG002
        """Return 400 with the first invalid field."""
        first = errors[0]
        return self.refusal(400, f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}")

    def wrong_shape(self, endpoint: str) -> Response:
        """Return a success with other field names than documented."""
        if endpoint == "create":
            return JSONResponse({"instance": {"name": "?"}}, 201)
        if endpoint in ("list", "search"):
            return JSONResponse({"data": []})
        return super().wrong_shape(endpoint)

    def status(self, machine: Machine) -> str:
        """Return Sesterce's state of an instance."""
        return {
            Phase.BOOTING: "pending",
            Phase.FAILED: "error",
            Phase.ENDING: "deleting",
            Phase.ENDED: "deleted",
        }.get(machine.shown, "active")

    def row(self, machine: Machine, *, detail: bool = False) -> dict[str, Any]:
        """Return an instance as ``InstanceDto`` or ``InstanceDetailsDto``."""
        rig, offer = machine.data["rig"], machine.data["offer"]
        active = machine.shown in (Phase.RUNNING, Phase.OFFLINE)
        host, port = machine.address
        place = machine.data["place"]
        ended = iso(machine.phase_at) if machine.phase is Phase.ENDED else None
        empty: Any = "" if self.strict else None
        row: dict[str, Any] = {
            "_id": machine.id,
            "name": machine.label,
            "provider": offer["cloud"]["name"],
            "region": {"name": place["name"], "countryCode": place["countryCode"]},
            "volumes": self._mounted(machine),
            "status": self.status(machine),
            "gpuCount": offer["gpuCount"],
            "gpuModel": offer["gpuName"],
            "ram": offer["configuration"]["ramGB"],
            "storage": offer["configuration"]["storageGB"],
            "vramPerGpu": rig.model.vram_gb,
            "vcpus": offer["configuration"]["vCpu"],
            "interconnect": offer["configuration"]["interconnect"],
            "nvlink": offer["nvlink"],
            "os": machine.data["os"],
            "ip": host if active else empty,
            "sshUser": machine.data["user"],
            "sshPort": port if active else (22 if self.strict else None),
            "dockerImage": machine.data["image"],
            "dockerCommand": "",
            "hourlyPrice": machine.data["price"],
            "deletedAt": ended or (iso(0) if self.strict else None),
            "createdAt": iso(machine.created),
        }
        if detail:
            forwards: list[Any] = [{"internalPort": 22, "externalPort": port}] if active else []
            row["portForwards"] = [f"22:{port}"] if self.strict and active else forwards
            row["sshKey"] = {"publicKey": machine.data["key"]}
            row["isPending"] = machine.phase is Phase.BOOTING
        else:
            row["updatedAt"] = iso(machine.phase_at)
        return row

    def _mounted(self, machine: Machine) -> list[Any]:
        """Return mounted volumes: a list of lists as in the OpenAPI if strict, else objects."""
        volume = machine.data["volume"]
        if volume is None or not machine.alive:
            return []
        return [[volume["_id"]]] if self.strict else [{"_id": volume["_id"], "name": volume["name"]}]

    def on_phase(self, machine: Machine, old: Phase, new: Phase, at: float) -> None:  # noqa: ARG002
        """Bill the time while active, also while the host is offline."""
        if new is Phase.RUNNING:
            machine.bill.open("gpu", machine.data["price"], at)
        elif new in (Phase.ENDING, Phase.ENDED, Phase.FAILED):
            machine.bill.close(at)

    # -- routes ----------------------------------------------------------------------

    def routes(self, app: FastAPI) -> None:
        """Add the endpoints of instances, keys and volumes."""
        base = "/gpu-cloud"
        for method, path, handler, name in (
            ("GET", "/instances/offers", self.list_offers, "search"),
            ("POST", "/instances", self.create, "create"),
            ("GET", "/instances", self.list_instances, "list"),
            ("GET", "/instances/{instance_id}", self.get_instance, "get"),
            ("DELETE", "/instances/{instance_id}", self.delete_instance, "destroy"),
            ("GET", "/ssh-keys", self.list_keys, "check"),
            ("POST", "/ssh-keys", self.add_key, "add-ssh-key"),
            ("DELETE", "/ssh-keys/{key_id}", self.delete_key, "delete-ssh-key"),
            ("PATCH", "/ssh-keys/{key_id}/makedefault", self.default_key, "default-ssh-key"),
            ("GET", "/volumes/offers", self.volume_offers, "search-volumes"),
            ("POST", "/volumes", self.create_volume, "create-volume"),
            ("GET", "/volumes", self.list_volumes, "volumes"),
            ("GET", "/volumes/{volume_id}", self.get_volume, "get-volume"),
            ("DELETE", "/volumes/{volume_id}", self.delete_volume, "delete-volume"),
        ):
            app.add_api_route(base + path, handler, methods=[method], name=name, response_model=None)

    async def list_offers(
        self,
        request: Request,
        region: str | None = None,
        numGpus: str | None = None,  # noqa: N803
        gpuType: str | None = None,  # noqa: N803
        available: bool | None = None,
        sort: Literal["price"] | None = None,
        deploymentType: Literal["vm", "container", "baremetal"] | None = None,  # noqa: N803
    ) -> Response:
        """List the offers that pass the filters."""
        self.login(request)
        found = []
        for _, row in self.offers.values():
            places = [
                place
                for place in row["availability"]
                if region in (None, place["region"]) and available in (None, place["available"])
            ]
            if (
                places
                and numGpus in (None, str(row["gpuCount"]))
                and (gpuType is None or gpuType.lower() == row["gpuName"].lower())
                and deploymentType in (None, row["deploymentType"])
            ):
                found.append({**row, "availability": places})
        if sort:
            found.sort(key=lambda row: float(row["hourlyPrice"]))
        return JSONResponse(found)

    async def create(self, request: Request, body: CreateIn) -> Response:
        """Rent an instance."""
        account = self.login(request)
        rig, offer, place = self._wanted(body)
        kind = offer["deploymentType"]
        if (kind == "container") is (body.dockerContainer is None):
            needed = "dockerContainer" if kind == "container" else "vm"
            raise self.refuse(400, f"{needed} is required for a {kind} offer")
        config, system, image = cloudconfig.CloudConfig(), "", ""
        if kind == "container" and body.dockerContainer:
            image = body.dockerContainer.image
        elif body.vm:
            system = body.vm.os
            if system not in offer["configuration"]["os"]:
                raise self.refuse(400, f"OS {system} is not in the offer's list")
            config = self._cloud_init(body.vm, offer)
        key = self._key_text(account, body)
        if account.balance(self.clock.now()) <= 0 or self.fault("zero-balance"):
            raise self.refuse(400, "Insufficient balance")
        if fault := self.fault("price-increase"):
            offer["hourlyPrice"] = round(offer["hourlyPrice"] * fault.number("factor", 1.5), 4)
        volume = self._volume(account, body)
        machine_id = f"{self.rng.getrandbits(96):024x}"
        user = "root" if kind == "container" else "ubuntu"
        spec = HostSpec(
            id=machine_id,
            user=user,
            public_keys=[*([key] if key else []), *config.public_keys],
            host_key=config.host_key,
            env=config.env,
            onstart=config.script,
            gpu=rig.model.name,
            gpus=rig.gpus,
            vram_mib=rig.model.vram_mib,
        )
        data = {
            "rig": rig,
            "offer": offer,
            "place": place,
            "os": system,
            "image": image,
            "user": user,
            "key": key,
            "price": offer["hourlyPrice"],
            "volume": volume,
        }
        machine = self.launch(account, body.name, spec, machine_id=machine_id, data=data)
        self.sell_twice(machine)
        if kind == "container" and ":" not in image.rpartition("/")[2]:
            self.trouble(machine, "wrong-image")
        return JSONResponse(self.row(machine), 201)

    def _wanted(self, body: CreateIn) -> tuple[Rig, dict[str, Any], dict[str, Any]]:
        found = self.offers.get(body.instanceId)
        if found is None or found[1]["cloud"]["_id"] != body.cloudProvider:
            raise self.refuse(404, "Offer not found")
        rig, offer = found
        place = next((one for one in offer["availability"] if one["region"] == body.region), None)
        if place is None:
            raise self.refuse(400, f"Region {body.region} is not available for this offer")
        if self.fault("offer-gone"):
            place["available"] = False
        if not place["available"]:
            raise self.refuse(400, "Offer is no longer available in this region")
        return rig, offer, place

    def _cloud_init(self, vm: VmIn, offer: dict[str, Any]) -> cloudconfig.CloudConfig:
        if vm.base64CloudInitScript is None:
            return cloudconfig.CloudConfig()
        if not offer["cloudInitAvailable"]:
            raise self.refuse(400, "cloud-init is not available for this offer")
        try:
            text = base64.b64decode(vm.base64CloudInitScript, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise self.refuse(400, "base64CloudInitScript is not base64") from None
        return cloudconfig.read(text, "ubuntu")

    def _key_text(self, account: Account, body: CreateIn) -> str:
        if body.sshKey:
            return body.sshKey
        if body.sshKeyId:
            row = next(
                (row for row in self.kept_rows(account, "ssh_keys") if row["_id"] == body.sshKeyId), None
            )
            if row is None:
                raise self.refuse(404, "SSH key not found")
            return str(row["publicKey"])
        default = next((row for row in self.kept_rows(account, "ssh_keys") if row["isDefault"]), None)
        return str(default["publicKey"]) if default else ""

    def _volume(self, account: Account, body: CreateIn) -> dict[str, Any] | None:
        if body.volumeId is None:
            return None
        row = next((row for row in self.kept_rows(account, "volumes") if row["_id"] == body.volumeId), None)
        if row is None:
            raise self.refuse(404, "Volume not found")
        if (row["cloudProvider"], row["region"]) != (body.cloudProvider, body.region):
            raise self.refuse(400, "Volume is in another cloud or region than the instance")
        return row

    async def list_instances(
        self,
        request: Request,
        deploymentType: Literal["vm", "container", "baremetal"] | None = None,  # noqa: N803
    ) -> Response:
        """List the account's instances without deleted ones."""
        machines = self.listed(self.login(request))
        return JSONResponse(
            [
                self.row(machine)
                for machine in machines
                if machine.phase is not Phase.ENDED
                and deploymentType in (None, machine.data["offer"]["deploymentType"])
            ]
        )

    async def get_instance(self, request: Request, instance_id: str) -> Response:
        """Return an instance, also a deleted one."""
        return JSONResponse(self.row(self._one(request, instance_id), detail=True))

    async def delete_instance(self, request: Request, instance_id: str) -> Response:
        """Delete an instance; 204."""
        machine = self._one(request, instance_id)
        if machine.phase is Phase.ENDED:
            raise self.refuse(404, "Instance not found")
        if machine.phase is not Phase.ENDING and not self.ignores_destroy(machine):
            self.end(machine)
        return Response(status_code=204)

    def _one(self, request: Request, instance_id: str) -> Machine:
        account = self.login(request)
        machine = self.machines.get(instance_id)
        if machine is None or machine.account is not account:
            raise self.refuse(404, "Instance not found")
        return machine

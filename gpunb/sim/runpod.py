"""Simulated RunPod: the catalogue, pods, and their bill.

Shapes and codes as in RunPod's public REST API description, version 2 (August 2026).
"""

# ruff: noqa: N815 - the names of the API

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from gpunb.sim.catalog import MODELS, Model
from gpunb.sim.cloud import Cloud, Machine, Phase
from gpunb.sim.hosts.machines import HostSpec

if TYPE_CHECKING:
    from gpunb.sim.money import Account

__all__ = ["RunpodCloud"]

_PLACES = ("US-TX-3", "US-KS-2", "CA-MTL-1", "EU-RO-1", "AP-JP-1")
_IDS = {
    "H100 SXM": "NVIDIA H100 80GB HBM3",
    "H100 PCIE": "NVIDIA H100 PCIe",
    "A100 SXM": "NVIDIA A100-SXM4-80GB",
    "A100 PCIE": "NVIDIA A100 80GB PCIe",
    "Tesla V100": "Tesla V100-SXM2-16GB",
    "RTX 6000 Ada": "NVIDIA RTX 6000 Ada Generation",
    "RTX 3090": "NVIDIA GeForce RTX 3090",
    "RTX 4090": "NVIDIA GeForce RTX 4090",
    "RTX 5090": "NVIDIA GeForce RTX 5090",
}
_DISK_USD_GB_H = 0.10 / 720


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class GpuIn(_Strict):
    """The GPUs of a new pod."""

    id: str
    count: int = Field(1, ge=1)


class PodIn(_Strict):
    """Request body of a new pod: what is not known is refused."""

    name: str = Field(min_length=1)
    image: str = Field(min_length=1)
    gpu: GpuIn
    cloud: Literal["SECURE", "COMMUNITY"] = "SECURE"
    disk: int = Field(20, ge=1)
    args: str = ""
    ports: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    startSsh: bool = False
    dataCenterIds: list[str] = Field(default_factory=list)


class RunpodCloud(Cloud):
    """The simulation of RunPod's pods."""

    name: ClassVar[str] = "runpod"
    title: ClassVar[str] = "RunPod"
    boot_s: ClassVar[float] = 60.0
    usual_offers: ClassVar[int] = 12

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.types: dict[str, tuple[Model, dict[str, Any]]] = {}
        for number, model in enumerate(MODELS[: self.offer_count]):
            ident = _IDS.get(model.name, f"NVIDIA {model.name}")
            price = round(model.usd_h * self.rng.uniform(0.9, 1.2), 2)
            self.types[ident] = (
                model,
                {
                    "id": ident,
                    "name": model.name,
                    "pool": None,
                    "manufacturer": "NVIDIA",
                    "memory": model.vram_gb,
                    "secure": True,
                    "community": not model.datacenter or number % 3 == 0,
                    "price": {"secure": price, "community": round(price * 0.8, 2)},
                    "maxCount": {"secure": 8, "community": 4},
                },
            )
        self.sold_out: set[str] = set()

    # -- shapes --------------------------------------------------------------------

    def refusal(self, status: int, message: str) -> Response:
        """Return an error as ``ErrorResponse``."""
        title = {401: "Unauthorized", 404: "Not Found", 422: "Unprocessable Entity"}.get(status, "Error")
        return JSONResponse({"title": title, "status": status, "detail": message}, status)

    def invalid(self, errors: list[dict[str, Any]], endpoint: str = "") -> Response:  # noqa: ARG002
        """Return 422 with each invalid field."""
        lines = [f"$.{'.'.join(str(part) for part in error['loc'][1:])}: {error['msg']}" for error in errors]
        body = {"title": "Unprocessable Entity", "status": 422, "detail": "Request validation failed."}
        return JSONResponse({**body, "errors": lines}, 422)

    def wrong_shape(self, endpoint: str) -> Response:
        """Return a success as version 1 had it."""
        return JSONResponse({"podId": "?"} if endpoint == "create" else {"data": []})

    def status(self, machine: Machine) -> str:
        """Return RunPod's status of a pod."""
        if machine.shown is Phase.BOOTING:
            half = machine.created + self.boot_seconds / 2
            return "PROVISIONING" if self.clock.now() < half else "STARTING"
        return {
            Phase.FAILED: "ERROR",
            Phase.STOPPED: "EXITED",
            Phase.ENDING: "TERMINATED",
            Phase.ENDED: "TERMINATED",
        }.get(machine.shown, "RUNNING")

    def row(self, machine: Machine) -> dict[str, Any]:
        """Return a pod as ``Pod``."""
        host, port = machine.address
        up = machine.shown in (Phase.RUNNING, Phase.OFFLINE)
        body: PodIn = machine.data["body"]
        direct = {"host": host, "port": port, "username": "root", "command": f"ssh root@{host} -p {port}"}
        return {
            "id": machine.id,
            "name": machine.label,
            "status": self.status(machine),
            "actions": ["terminate"],
            "image": body.image,
            "args": body.args,
            "disk": body.disk,
            "mounts": {},
            "ports": body.ports,
            "env": body.env,
            "registry": None,
            "gpu": {"id": body.gpu.id, "count": body.gpu.count},
            "cloud": body.cloud,
            "dataCenterId": body.dataCenterIds[0] if body.dataCenterIds else _PLACES[0],
            "cudaVersion": "12.8",
            "ssh": {"proxy": None, "direct": direct if up and "22/tcp" in body.ports else None},
            "template": None,
            "cost": machine.data["price"] if machine.shown is not Phase.STOPPED else 0.0,
            "locked": False,
            "globalNetworking": {"enabled": False},
            "runtime": None,
            "createdAt": datetime.fromtimestamp(machine.created, timezone.utc).isoformat(),
            "startedAt": None,
        }

    def on_phase(self, machine: Machine, old: Phase, new: Phase, at: float) -> None:  # noqa: ARG002
        """Bill GPU and disk by the second while the pod runs."""
        if new is Phase.RUNNING:
            machine.bill.open("gpu", machine.data["price"], at)
            machine.bill.open("disk", machine.data["body"].disk * _DISK_USD_GB_H, at)
        elif new in (Phase.STOPPED, Phase.ENDING, Phase.ENDED, Phase.FAILED):
            machine.bill.close(at)

    # -- routes ----------------------------------------------------------------------

    def routes(self, app: FastAPI) -> None:
        """Add the endpoints of the catalogue, pods and bills."""
        for method, path, handler, name in (
            ("GET", "/v2/catalog/gpus", self.list_gpus, "search"),
            ("POST", "/v2/pods", self.create_pod, "create"),
            ("GET", "/v2/pods", self.list_pods, "list"),
            ("GET", "/v2/pods/{pod_id}", self.get_pod, "get"),
            ("DELETE", "/v2/pods/{pod_id}", self.delete_pod, "destroy"),
            ("GET", "/v2/billing/pods", self.billing, "usage"),
        ):
            app.add_api_route(path, handler, methods=[method], name=name, response_model=None)

    async def list_gpus(
        self,
        request: Request,
        include: str = "",
        count: int = 1,
        cloud: Literal["SECURE", "COMMUNITY"] = "SECURE",
    ) -> Response:
        """List the GPU types; prices are there, too, for a cloud that lacks the type."""
        self.login(request)
        found = []
        for number, (ident, (_, listed)) in enumerate(self.types.items()):
            row = dict(listed)
            if include == "AVAILABILITY":
                there = row[cloud.lower()] and ident not in self.sold_out
                there = there and count <= row["maxCount"][cloud.lower()]
                row["availability"] = ("HIGH", "MEDIUM", "LOW")[number % 3] if there else "NONE"
                if there and cloud == "SECURE":
                    row["dataCenters"] = [
                        {"id": place, "name": place, "availability": ("LOW", "NONE")[(number + at) % 2]}
                        for at, place in enumerate(_PLACES)
                    ]
            found.append(row)
        return JSONResponse({"gpus": found})

    async def create_pod(self, request: Request, body: PodIn) -> Response:
        """Create a pod."""
        account = self.login(request)
        if body.gpu.id not in self.types:
            raise self.refuse(422, f"unknown gpu type {body.gpu.id}")
        model, row = self.types[body.gpu.id]
        tier = body.cloud.lower()
        if self.fault("offer-gone"):
            self.sold_out.add(body.gpu.id)
        if body.gpu.id in self.sold_out or not row[tier] or body.gpu.count > row["maxCount"][tier]:
            raise self.refuse(
                400, "There are no longer any instances available with the requested specifications."
            )
        price = row["price"][tier] * body.gpu.count
        if account.balance(self.clock.now()) < price or self.fault("zero-balance"):
            raise self.refuse(400, "Your account balance is too low to deploy this pod")
        if fault := self.fault("price-increase"):
            row["price"][tier] = round(row["price"][tier] * fault.number("factor", 1.5), 4)
            price = row["price"][tier] * body.gpu.count
        machine_id = f"{self.rng.getrandbits(64):x}"
        spec = HostSpec(
            id=machine_id,
            user="root",
            public_keys=[body.env["PUBLIC_KEY"]] if body.env.get("PUBLIC_KEY") else [],
            env=body.env,
            gpu=model.name,
            gpus=body.gpu.count,
            vram_mib=model.vram_mib,
        )
        machine = self.launch(
            account, body.name, spec, machine_id=machine_id, data={"body": body, "price": price}
        )
        self.sell_twice(machine)
        return JSONResponse(self.row(machine), 201)

    async def list_pods(self, request: Request) -> Response:
        """List the pods, all at once; what is terminated is not listed."""
        account = self.login(request)
        return JSONResponse(
            {
                "pods": [
                    self.row(machine)
                    for machine in self.listed(account)
                    if self.status(machine) != "TERMINATED"
                ]
            }
        )

    async def get_pod(self, request: Request, pod_id: str) -> Response:
        """Return a pod."""
        return JSONResponse(self.row(self._one(request, pod_id)))

    async def delete_pod(self, request: Request, pod_id: str) -> Response:
        """Terminate a pod."""
        machine = self._one(request, pod_id)
        if machine.phase is Phase.FAILED:
            self.change(machine, Phase.ENDED, self.clock.now())
        elif machine.phase is not Phase.ENDING and not self.ignores_destroy(machine):
            self.end(machine)
        return Response(status_code=204)

    async def billing(self, request: Request, podId: str = "") -> Response:  # noqa: N803
        """Return the bill of pods, in one bucket."""
        account: Account = self.login(request)
        records = []
        for machine in self.machines.values():
            if machine.account is account and podId in ("", machine.id):
                sums = machine.bill.by_kind(self.clock.now())
                gpu, disk = sums.get("gpu", 0.0), sums.get("disk", 0.0)
                records.append(
                    {
                        "podId": machine.id,
                        "gpuAmount": gpu,
                        "cpuAmount": 0.0,
                        "diskAmount": disk,
                        "totalAmount": gpu + disk,
                    }
                )
        return JSONResponse({"records": records, "metadata": {"recordCount": len(records)}})

    def _one(self, request: Request, pod_id: str) -> Machine:
        account = self.login(request)
        machine = self.machines.get(pod_id)
        if machine is None or machine.account is not account or machine.phase is Phase.ENDED:
            raise self.refuse(404, "pod not found")
        return machine

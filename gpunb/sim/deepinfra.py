"""Simulated DeepInfra: containers, their list, usage, keys and limits.

Shapes and codes as in DeepInfra's public OpenAPI document (May 2026). One
thing differs on purpose: ``ip`` carries the port of the simulated host
("127.0.0.1:40123"), because only root may listen on port 22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from gpunb.sim.catalog import MODELS, Model
from gpunb.sim.cloud import Cloud, Machine, Phase
from gpunb.sim.hosts import cloudconfig
from gpunb.sim.hosts.machines import HostSpec

if TYPE_CHECKING:
    from gpunb.sim.money import Account

__all__ = ["DeepInfraCloud"]

USER = "ubuntu"
IMAGES = ("di-cont-ubuntu-torch:latest", "di-cont-ubuntu-cuda:latest")
_MODELS = tuple(model for model in MODELS if model.name in ("A100 SXM", "H100 SXM", "H200", "B200"))


class StartIn(BaseModel):
    """Request body ``ContainerRentalStartIn``."""

    name: str = Field(min_length=1, max_length=64)
    gpu_config: str = Field(min_length=1)
    container_image: str = Field(min_length=1)
    cloud_init_user_data: str = Field(min_length=1, max_length=32000)


class UpdateIn(BaseModel):
    """Request body ``ContainerRentalUpdateIn``."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64)


class KeyIn(BaseModel):
    """Request body ``SshKeyIn``."""

    name: str = Field(min_length=1, max_length=64)
    key: str = Field(min_length=1, max_length=32000)


class DeepInfraCloud(Cloud):
    """The simulation of DeepInfra's container rental."""

    name: ClassVar[str] = "deepinfra"
    title: ClassVar[str] = "DeepInfra"
    boot_s: ClassVar[float] = 40.0
    usual_offers: ClassVar[int] = 12

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.gpus = {row["gpu_config"]: row for row in self._configurations()}
        self.models = dict(self._config_models)
        self.limits_by_type = {model.name.split()[0]: 64 for model in _MODELS}

    def _configurations(self) -> list[dict[str, Any]]:
        self._config_models: list[tuple[str, Model]] = []
        result = []
        for number in range(self.offer_count):
            model = _MODELS[-1 - number % len(_MODELS)]
            step = number // len(_MODELS)
            count = 2**step if step < 4 else step + 5
            config = f"{count}x{model.name.split()[0]}-{model.vram_gb}GB"
            self._config_models.append((config, model))
            result.append(
                {
                    "gpu_config": config,
                    "usd_per_hour": round(model.usd_h * count * self.rng.uniform(0.95, 1.1), 2),
                    "available": number < 4 or self.rng.random() < 0.8,
                    "recommended": number == 0,
                }
            )
        return result

    # -- shapes --------------------------------------------------------------------

    def refusal(self, status: int, message: str) -> Response:
        """Return an error as ``DeepError``."""
        return JSONResponse({"error": message}, status)

    def invalid(self, errors: list[dict[str, Any]], endpoint: str = "") -> Response:
        """Return a 422: a ``DeepError`` for create and rename, FastAPI's format elsewhere."""
        if endpoint in ("create", "rename"):
            first = errors[0]
            return self.refusal(422, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")
        return super().invalid(errors, endpoint)

    def wrong_shape(self, endpoint: str) -> Response:
        """Return a success whose main field has another name, or is missing."""
        if endpoint == "create":
            return JSONResponse({"id": None, "status": "ok"})
        if endpoint == "list":
            return JSONResponse({"containers": []})
        if endpoint == "get":
            return JSONResponse({"container": {"state": "running"}})
        return super().wrong_shape(endpoint)

    def state_word(self, machine: Machine) -> str:
        """Return DeepInfra's state of a container."""
        if machine.shown is Phase.BOOTING:
            half = machine.created + self.boot_seconds / 2
            return "creating" if self.clock.now() < half else "starting"
        return {
            Phase.RUNNING: "running",
            Phase.OFFLINE: "running",
            Phase.FAILED: "failed",
            Phase.ENDING: "shutting_down",
            Phase.ENDED: "deleted",
        }.get(machine.shown, "running")

    def row(self, machine: Machine) -> dict[str, Any]:
        """Return a container as ``ContainerRentalOut``."""
        host, port = machine.address
        up = machine.shown in (Phase.RUNNING, Phase.OFFLINE)
        stopped = machine.shown in (Phase.FAILED, Phase.ENDED)
        return {
            "id": machine.id,
            "name": machine.label,
            "state": self.state_word(machine),
            "start_ts": int(machine.created),
            "state_ts": int(machine.phase_at),
            "stop_ts": int(machine.phase_at) if stopped else None,
            "ip": f"{host}:{port}" if up else None,
            "gpu_config": machine.data["gpu_config"],
            "price_per_hour": machine.data["price"],
            "container_image": machine.data["image"],
            "fail_reason": machine.fail_reason or None,
        }

    def on_phase(self, machine: Machine, old: Phase, new: Phase, at: float) -> None:
        """Bill only the time in which a container runs, by the minute."""
        if new is Phase.RUNNING:
            machine.bill.open("gpu", machine.data["price"], at, step_s=60.0)
        elif (old is Phase.RUNNING and new is not Phase.OFFLINE) or new in (Phase.ENDING, Phase.FAILED):
            machine.bill.close(at)

    # -- routes ----------------------------------------------------------------------

    def routes(self, app: FastAPI) -> None:
        """Add all endpoints of the rental."""
        for method, path, handler, name in (
            ("GET", "/v1/containers/params", self.get_params, "params"),
            ("GET", "/v1/containers/gpu_availability", self.availability, "search"),
            ("POST", "/v1/containers", self.start_container, "create"),
            ("GET", "/v1/containers", self.list_containers, "list"),
            ("GET", "/v1/containers/{container_id}", self.get_container, "get"),
            ("PATCH", "/v1/containers/{container_id}", self.rename_container, "rename"),
            ("DELETE", "/v1/containers/{container_id}", self.delete_container, "destroy"),
            ("GET", "/v1/ssh_keys", self.list_keys, "ssh-keys"),
            ("POST", "/v1/ssh_keys", self.add_key, "add-ssh-key"),
            ("DELETE", "/v1/ssh_keys/{key_id}", self.delete_key, "delete-ssh-key"),
            ("GET", "/payment/usage/rent", self.usage, "usage"),
            ("GET", "/v1/me/gpu_limit", self.limits, "check"),
        ):
            app.add_api_route(path, handler, methods=[method], name=name, response_model=None)

    async def get_params(self, request: Request) -> Response:
        """List images; the real shape is not documented."""
        self.login(request)
        return JSONResponse({"container_images": list(IMAGES)})

    async def availability(self) -> Response:
        """List the offers; needs no key."""
        return JSONResponse({"gpus": list(self.gpus.values())})

    async def start_container(self, request: Request, body: StartIn) -> Response:
        """Rent a container."""
        account = self.login(request)
        gpu = self.gpus.get(body.gpu_config)
        if gpu is None:
            raise self.refuse(400, f"Unknown gpu config {body.gpu_config}")
        if self.fault("offer-gone"):
            gpu["available"] = False
        if not gpu["available"]:
            raise self.refuse(400, f"{body.gpu_config} is out of capacity")
        if fault := self.fault("price-increase"):
            gpu["usd_per_hour"] = round(gpu["usd_per_hour"] * fault.number("factor", 1.5), 4)
        if account.balance(self.clock.now()) <= 0 or self.fault("zero-balance"):
            raise self.refuse(400, "Insufficient balance to start a container")
        model, count = self.models[body.gpu_config], int(body.gpu_config.split("x")[0])
        if self._in_use(account, model) + count > self.limits_by_type[model.name.split()[0]]:
            raise self.refuse(400, f"GPU limit exceeded for {model.name.split()[0]}")
        config = cloudconfig.read(body.cloud_init_user_data, USER)
        machine_id = self.new_id()
        spec = HostSpec(
            id=machine_id,
            user=USER,
            public_keys=config.public_keys,
            host_key=config.host_key,
            env=config.env,
            onstart=config.script,
            gpu=model.name,
            gpus=count,
            vram_mib=model.vram_mib,
        )
        machine = self.launch(
            account,
            body.name,
            spec,
            machine_id=machine_id,
            data={
                "gpu_config": body.gpu_config,
                "price": gpu["usd_per_hour"],
                "image": body.container_image,
                "gpu": model.name,
                "gpus": count,
                "user_data": body.cloud_init_user_data,
            },
        )
        self.sell_twice(machine)
        if body.container_image not in IMAGES:
            machine.fail_reason = f"image {body.container_image} could not be pulled"
            self.trouble(machine, "wrong-image")
        return JSONResponse({"container_id": machine.id})

    async def list_containers(
        self, request: Request, state: str = Query("active", pattern="^(active|inactive)$")
    ) -> Response:
        """List active or inactive containers."""
        account = self.login(request)
        active = state == "active"
        return JSONResponse(
            [self.row(machine) for machine in self.listed(account) if machine.alive is active]
        )

    async def get_container(self, request: Request, container_id: str) -> Response:
        """Return a container, also before the list shows it."""
        return JSONResponse(self.row(self._one(request, container_id)))

    async def rename_container(self, request: Request, container_id: str, body: UpdateIn) -> Response:
        """Rename a container."""
        machine = self._one(request, container_id)
        machine.label = machine.bill.label = body.name
        return JSONResponse({})

    async def delete_container(self, request: Request, container_id: str) -> Response:
        """End a container; ending an ended one is no error."""
        machine = self._one(request, container_id)
        if machine.alive and machine.phase is not Phase.ENDING and not self.ignores_destroy(machine):
            self.end(machine)
        return JSONResponse({})

    async def list_keys(self, request: Request) -> Response:
        """List the account's keys."""
        return JSONResponse(self._keys(self.login(request)))

    async def add_key(self, request: Request, body: KeyIn) -> Response:
        """Add a key; 409 if it exists."""
        known = self._keys(self.login(request))
        if any(body.name == row["name"] or body.key == row["key"] for row in known):
            raise self.refuse(409, "SSH key already exists")
        row = {"id": self.new_id(), "name": body.name, "key": body.key, "created_at": int(self.clock.now())}
        known.append(row)
        return JSONResponse(row)

    async def delete_key(self, request: Request, key_id: str) -> Response:
        """Delete a key; 404 if it does not exist."""
        known = self._keys(self.login(request))
        row = next((row for row in known if row["id"] == key_id), None)
        if row is None:
            raise self.refuse(404, "SSH key not found")
        known.remove(row)
        return JSONResponse({})

    async def usage(
        self, request: Request, since: int = Query(alias="from"), until: int | None = Query(None, alias="to")
    ) -> Response:
        """Return billed seconds by container."""
        account, now = self.login(request), self.clock.now()
        seconds = {
            machine.id: round(machine.bill.seconds("gpu", now, since, until))
            for machine in self.machines.values()
            if machine.account is account
        }
        return JSONResponse({"id_to_duration": {key: value for key, value in seconds.items() if value}})

    async def limits(self, request: Request) -> Response:
        """Return the account's GPU limits by type."""
        self.login(request)
        return JSONResponse({"limits": dict(self.limits_by_type), "pending_requests": None})

    def _one(self, request: Request, container_id: str) -> Machine:
        account = self.login(request)
        machine = self.machines.get(container_id)
        if machine is None or machine.account is not account:
            raise self.refuse(404, "Container not found")
        return machine

    def _in_use(self, account: Account, model: Model) -> int:
        alive = (
            machine for machine in self.machines.values() if machine.account is account and machine.alive
        )
        return sum(machine.data["gpus"] for machine in alive if machine.data["gpu"] == model.name)

    @staticmethod
    def _keys(account: Account) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = account.data.setdefault("ssh_keys", [])
        return keys

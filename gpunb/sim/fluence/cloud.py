"""Simulated API of Fluence: plans, containers, virtual machines, bare metal, clock-hour bills.

Shapes as in Fluence's documentation (February 2026). The account's SSH keys
live beside ``/gpu``, as there.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, ClassVar, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.catalog import Rig, rigs
from gpunb.sim.cloud import Cloud, Machine, Phase
from gpunb.sim.fluence.bodies import DeployContainer, DeployMachine, Key, Rename, UpdateContainer
from gpunb.sim.fluence.money import ClockHours
from gpunb.sim.fluence.plans import DEFAULT_IMAGES, container_plan, grouped
from gpunb.sim.hosts.machines import HostSpec
from gpunb.sim.money import Account

__all__ = ["FluenceCloud"]


class FluenceCloud(ClockHours, Cloud):
    """The simulation of Fluence's GPU cloud."""

    name: ClassVar[str] = "fluence"
    title: ClassVar[str] = "Fluence"
    boot_s: ClassVar[float] = 150.0  # "provisioning typically takes 2-3 minutes"
    end_s: ClassVar[float] = 3.0
    usual_offers: ClassVar[int] = 60
    #: an ACTIVE container's domain is null for a while
    domain_s: ClassVar[float] = 10.0
    update_s: ClassVar[float] = 15.0

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        count = self.offer_count
        made = list(rigs(count, self.seed, datacenter=True))
        self.plans: dict[str, tuple[Rig, dict[str, Any]]] = {}
        self.options: dict[str, dict[str, tuple[Rig, str]]] = {"vms": {}, "baremetal": {}}
        for number, rig in enumerate(made):
            if number % 2 == 0:
                row = container_plan(rig, self.new_id())
                self.plans[row["plan"]["id"]] = (rig, row)
            else:
                kind = "baremetal" if number % 8 == 7 else "vms"
                provider = ("sesterce", "massed-compute", "hyperstack")[number % 3]
                self.options[kind][self.new_id()] = (rig, provider)

    # -- shapes --------------------------------------------------------------------

    def identity(self, request: Request) -> str:
        """Return the key in ``X-API-KEY``."""
        return request.headers.get("x-api-key", "")

    def wrong_key(self) -> Response:
        """Return 403, the answer to a missing or wrong key."""
        return self.refusal(403, "Invalid API key")

    def refusal(self, status: int, message: str) -> Response:
        """Return an error as a sentence under ``detail``."""
        return JSONResponse({"detail": message}, status)

    def wrong_shape(self, endpoint: str) -> Response:
        """Return a success with other field names than documented."""
        if endpoint == "create":
            return JSONResponse({"id": 7})
        if endpoint in ("list", "search"):
            return JSONResponse({"items": [], "total": 0})
        return super().wrong_shape(endpoint)

    def image_failed(self, machine: Machine, at: float) -> None:
        """Keep the instance ACTIVE and billed; its container does not start."""
        self.trouble(machine, "never-starts")
        machine.fail_reason = (
            f"Failed to pull image {machine.data.get('settings', {}).get('image')}: not found"
        )
        self.change(machine, Phase.RUNNING, at)

    def status(self, machine: Machine) -> str:
        """Return Fluence's state of an instance."""
        if machine.phase is Phase.BOOTING:
            return "INITIALIZED"
        return {Phase.FAILED: "FAILED", Phase.ENDED: "ENDED"}.get(machine.phase, "ACTIVE")

    def row(self, machine: Machine, *, detail: bool) -> dict[str, Any]:
        """Return a container or a machine, in full or as in the list."""
        rig: Rig = machine.data["rig"]
        active = self.status(machine) == "ACTIVE"
        row: dict[str, Any] = {
            "id": machine.id,
            "name": machine.label,
            "resources": {
                "supply": container_plan(rig, "")["plan"]["supply"],
                "gpu_model": machine.data["gpu_model"],
            },
            "location": machine.data["location"],
            "created_at": _iso(machine.created),
            "updated_at": _iso(machine.phase_at),
        }
        billing = {
            "hourly_usage": machine.data["price"] if machine.bill.billed() else 0,
            "total_spendings": round(machine.bill.total(self.clock.now()), 6),
            "reserved_amount": round(machine.account.held.get(machine.id, 0.0), 6),
            "next_billing_period": _iso(machine.data["paid_until"]) if machine.bill.billed() else None,
        }
        if machine.data["kind"] == "containers":
            row["instance_status"] = self.status(machine)
            late = self.clock.now() < machine.phase_at + min(self.domain_s, self.boot_seconds)
            domain = machine.address[0] if active and not late else None
            if not detail:
                return row | {"domain": domain}
            started = active and self._started(machine)
            row["container_status"] = "STARTED" if started else "NOT_STARTED"
            settings = machine.data["settings"]
            shown = {name: settings[name] for name in ("image", "expose", "environment", "startup_command")}
            if machine.data["ssh_key"]:
                variable = {"name": "SSH_PUBKEY", "value": machine.data["ssh_key"]}
                shown["environment"] = [*shown["environment"], variable]
            row["container_info"] = shown
            row["network"] = self._network(machine, domain) if active else None
        else:
            row["status"] = self.status(machine)
            host, port = machine.address
            if not detail:
                return row | {"domain": host if active else None}
            row["availability"] = "vm" if machine.data["kind"] == "vms" else "baremetal"
            row["os_image"] = machine.data["os_image"]
            row["ssh_connection"] = f"ssh ubuntu@{host} -p {port}" if active else None
            row["ssh_key"] = machine.data["ssh_key"]
            found: dict[str, Any] = {"domain": host, "forwarded_ports": [], "uri": None}
            row["network"] = found if active else None
        row["billing"] = billing
        return row

    def _network(self, machine: Machine, domain: str | None) -> dict[str, Any]:
        ports = []
        for number, entry in enumerate(machine.data["settings"]["expose"]):
            external = machine.address[1] if entry["port"] == "22" else 30000 + number
            ports.append(
                {"port": entry["port"], "external_port": str(external), "protocol": entry["protocol"]}
            )
        return {"domain": domain, "forwarded_ports": ports, "uri": None}

    # -- routes ----------------------------------------------------------------------

    def routes(self, app: FastAPI) -> None:
        """Add the endpoints of containers, machines and keys."""
        table: list[tuple[str, str, Any, str]] = [
            ("GET", "/gpu/plans/", self.container_plans, "search"),
            ("GET", "/gpu/plans/{kind}", self.machine_plans, "search"),
            ("GET", "/gpu/default-images/", self.default_images, "default-images"),
            ("POST", "/gpu/instances/", self.deploy_container, "create"),
            ("GET", "/gpu/instances/", self.list_containers, "list"),
            ("GET", "/ssh_keys", self.list_keys, "ssh-keys"),
            ("POST", "/ssh_keys", self.add_key, "add-ssh-key"),
            ("DELETE", "/ssh_keys", self.delete_key, "delete-ssh-key"),
        ]
        for kind in ("vms", "baremetal"):
            table += [
                ("POST", f"/gpu/instances/{kind}", self._deployer(kind), "create"),
                ("GET", f"/gpu/instances/{kind}", self._lister(kind), "list"),
                ("GET", f"/gpu/instances/{kind}/{{instance_id}}", self._getter(kind), "get"),
                ("PUT", f"/gpu/instances/{kind}/{{instance_id}}", self._renamer(kind), "rename"),
                ("DELETE", f"/gpu/instances/{kind}/{{instance_id}}", self._ender(kind), "destroy"),
            ]
        table += [
            ("GET", "/gpu/instances/{instance_id}", self._getter("containers"), "get"),
            ("PUT", "/gpu/instances/{instance_id}", self.update_container, "update"),
            ("DELETE", "/gpu/instances/{instance_id}", self._ender("containers"), "destroy"),
            ("GET", "/gpu/instances/{instance_id}/logs", self.logs, "logs"),
            ("GET", "/gpu/instances/{instance_id}/events", self.events, "events"),
        ]
        for method, path, handler, name in table:
            app.add_api_route(path, handler, methods=[method], name=name, response_model=None)

    async def container_plans(self, request: Request) -> Response:
        """List the plans of containers, in a flat list."""
        self.login(request)
        return JSONResponse([row for _, row in self.plans.values()])

    async def machine_plans(self, request: Request, kind: Literal["vms", "baremetal"]) -> Response:
        """List the plans of machines, in groups by model, then by count."""
        self.login(request)
        return JSONResponse({"data": grouped(self.options[kind], kind)})

    async def default_images(self, request: Request) -> Response:
        """List the default images, which have SSH."""
        self.login(request)
        return JSONResponse(DEFAULT_IMAGES)

    async def deploy_container(self, request: Request, body: DeployContainer) -> Response:
        """Rent a container."""
        account = self.login(request)
        if self.fault("offer-gone"):
            self.plans.pop(body.plan_id, None)
        if body.plan_id not in self.plans:
            raise self.refuse(400, "Plan is no longer available")
        rig, plan = self.plans[body.plan_id]
        places = plan["attributes"]["location"]
        place = body.constraints.location or places[0]
        if place not in places:
            raise self.refuse(400, f"Location {place} is not available for this plan")
        settings = body.container_settings.model_dump()
        known = self._check_key(settings, body.ssh_key)
        price = self._price(plan["plan"]["pricing"])
        data = {
            "kind": "containers",
            "rig": rig,
            "gpu_model": plan["plan"]["gpu_model"],
            "price": price,
            "location": place,
            "settings": settings,
            "ssh_key": body.ssh_key,
        }
        env = _variables(settings, body.ssh_key)
        machine = self._deploy(account, body.name, rig, data, user="root", env=env)
        if not re.search(r"[:@]", settings["image"].rpartition("/")[2]) and known is None:
            self.trouble(machine, "wrong-image")
        return JSONResponse({"instance_id": machine.id})

    def _check_key(self, settings: dict[str, Any], ssh_key: str | None) -> dict[str, Any] | None:
        """Return the default image that `settings` name, if any, after checking its rules for the key."""
        known = next((row for row in DEFAULT_IMAGES if row["image"] == settings["image"]), None)
        if (known or ssh_key) and "SSH_PUBKEY" in {row["name"] for row in settings["environment"]}:
            raise self.refuse(400, "Environment variable SSH_PUBKEY is reserved")
        if known and known["requires_ssh"] and not ssh_key:
            raise self.refuse(400, "This image requires an SSH key")
        return known

    def _deployer(self, kind: str) -> Any:
        async def deploy(request: Request, body: DeployMachine) -> Response:
            account = self.login(request)
            if self.fault("offer-gone"):
                self.options[kind].pop(body.plan_id, None)
            if body.plan_id not in self.options[kind]:
                raise self.refuse(400, "Plan is no longer available")
            rig, provider = self.options[kind][body.plan_id]
            group = grouped({body.plan_id: (rig, provider)}, kind)[0]
            option = group["availability_by_number"][0]["options"][0]
            if body.os_image not in option["os_options"]:
                names = ", ".join(option["os_options"])
                message = f"Provided OS image {body.os_image} is not supported for the selected offer."
                raise self.refuse(400, f"{message} Available OS images: {names}")
            data = {
                "kind": kind,
                "rig": rig,
                "gpu_model": group["gpu_model"],
                "price": self._price(option["pricing"]),
                "location": option["location"],
                "os_image": body.os_image,
                "ssh_key": body.ssh_key,
            }
            return JSONResponse(
                {"instance_id": self._deploy(account, body.name, rig, data, user="ubuntu").id}
            )

        return deploy

    def _price(self, pricing: dict[str, Any]) -> float:
        if fault := self.fault("price-increase"):
            pricing["hour"] = round(pricing["hour"] * fault.number("factor", 1.5), 4)
        return float(pricing["hour"])

    def _deploy(
        self,
        account: Account,
        label: str,
        rig: Rig,
        data: dict[str, Any],
        *,
        user: str,
        env: dict[str, str] | None = None,
    ) -> Machine:
        now, price = self.clock.now(), data["price"]
        if account.balance(now) < 3 * price - 1e-9 or self.fault("zero-balance"):
            raise self.refuse(400, "Insufficient balance to deploy instance")
        machine_id = self.new_id()
        spec = HostSpec(
            id=machine_id,
            user=user,
            public_keys=[data["ssh_key"]] if data["ssh_key"] else [],
            env=env or {},
            command=(data.get("settings") or {}).get("startup_command") or "",
            image=(data.get("settings") or {}).get("image") or "",
            gpu=rig.model.name,
            gpus=rig.gpus,
            vram_mib=rig.model.vram_mib,
        )
        machine = self.launch(account, label, spec, machine_id=machine_id, data=data)
        self.begin_hours(machine, now)
        self.sell_twice(machine)
        return machine

    def _lister(self, kind: str) -> Any:
        async def listing(request: Request) -> Response:
            machines = self.listed(self.login(request))
            return JSONResponse(
                [self.row(machine, detail=False) for machine in machines if machine.data["kind"] == kind]
            )

        return listing

    async def list_containers(self, request: Request) -> Response:
        """List the containers in short rows."""
        machines = self.listed(self.login(request))
        return JSONResponse(
            [self.row(machine, detail=False) for machine in machines if machine.data["kind"] == "containers"]
        )

    def _getter(self, kind: str) -> Any:
        async def get(request: Request, instance_id: str) -> Response:
            return JSONResponse(self.row(self._one(request, instance_id, kind), detail=True))

        return get

    def _renamer(self, kind: str) -> Any:
        async def rename(request: Request, instance_id: str, body: Rename) -> Response:
            machine = self._one(request, instance_id, kind)
            machine.label = machine.bill.label = body.name
            return Response(status_code=204)

        return rename

    def _ender(self, kind: str) -> Any:
        async def delete(request: Request, instance_id: str) -> Response:
            machine = self._one(request, instance_id, kind)
            if self.status(machine) != "ACTIVE":
                raise self.refuse(400, "Only ACTIVE instances can be terminated")
            if machine.phase is not Phase.ENDING and not self.ignores_destroy(machine):
                self.end(machine)
            return Response(status_code=204)

        return delete

    async def update_container(self, request: Request, instance_id: str, body: UpdateContainer) -> Response:
        """Update everything of a container but the ports."""
        machine = self._one(request, instance_id, "containers")
        if self.clock.now() < machine.data.get("updating_until", 0.0):
            raise self.refuse(400, "A previous update is still being applied")
        settings = body.container_settings.model_dump()
        self._check_key(settings, body.ssh_key)
        settings["expose"] = machine.data["settings"]["expose"]
        machine.label = machine.bill.label = body.name
        machine.data["updating_until"] = self.clock.now() + min(self.update_s, self.boot_seconds)
        if settings != machine.data["settings"] or body.ssh_key != machine.data["ssh_key"]:
            machine.data["update"] = (settings, body.ssh_key)
        return Response(status_code=204)

    def _settle_one(self, machine: Machine, now: float) -> None:
        """Apply an update when it is due: it shows, and a new container takes the old one's place."""
        super()._settle_one(machine, now)
        if machine.phase is not Phase.RUNNING:
            return
        if "update" in machine.data and now >= machine.data["updating_until"]:
            self._made_anew(machine, *machine.data.pop("update"))
        anew = machine.booting if machine.host is None else None
        if anew is not None and anew.done() and anew.exception() is None:
            machine.host = anew.result()

    def _made_anew(self, machine: Machine, settings: dict[str, Any], ssh_key: str | None) -> None:
        """Replace the container by a new one: the instance stays ACTIVE, and is billed."""
        machine.data["settings"], machine.data["ssh_key"] = settings, ssh_key
        if machine.spec is None or "never-starts" in machine.troubles:
            return
        machine.spec = replace(
            machine.spec,
            public_keys=[ssh_key] if ssh_key else [],
            env=_variables(settings, ssh_key),
            command=settings["startup_command"] or "",
            image=settings["image"],
        )
        if machine.host is not None:
            self._later(self.hosts.terminate, machine.host)
            machine.host = None
        machine.booting = self._later(self.hosts.launch, machine.spec)

    def _started(self, machine: Machine) -> bool:
        """Whether the container runs: neither being replaced, nor stopped by a fault or its command."""
        never = "never-starts" in machine.troubles
        return not never and machine.host is not None and not machine.host.exited

    async def logs(self, request: Request, instance_id: str, last: int = Query(1000, ge=1)) -> Response:
        """Return what the container printed."""
        machine = self._one(request, instance_id, "containers")
        lines: list[str] = []
        if machine.phase is Phase.RUNNING and "never-starts" not in machine.troubles:
            lines = ["Server listening on 0.0.0.0 port 22.", "Server listening on :: port 22."]
            if machine.host is not None and machine.data["settings"]["startup_command"]:
                lines = list(machine.host.output)
        return JSONResponse([f"[{_pod(machine)}] {line}" for line in lines[-last:]])

    async def events(self, request: Request, instance_id: str, last: int = Query(100, ge=1)) -> Response:
        """Return the cluster's events."""
        machine = self._one(request, instance_id, "containers")
        image = machine.data["settings"]["image"]
        lines = ["[Normal] [Scheduled] Successfully assigned pod to node2"]
        if machine.fail_reason:
            lines.append(f"[Warning] [Failed] {machine.fail_reason}")
        elif machine.phase is Phase.RUNNING:
            lines.append(f'[Normal] [Pulled] Container image "{image}" already present on machine')
            lines.append("[Normal] [Created] Created container: service-1")
            up = "[Normal] [Started] Started container service-1"
            down = "[Warning] [BackOff] Back-off restarting failed container service-1"
            lines.append(up if self._started(machine) else down)
        else:
            lines.append(f'[Normal] [Pulling] Pulling image "{image}"')
        return JSONResponse([f"[{_pod(machine)}]: {line}" for line in lines[-last:]])

    async def list_keys(self, request: Request) -> Response:
        """List the account's keys."""
        return JSONResponse(self._keys(self.login(request)))

    async def add_key(self, request: Request, body: Key) -> Response:
        """Add a key: 201 for a new one, 200 for a known one."""
        known = self._keys(self.login(request))
        row = next((row for row in known if row["publicKey"] == body.publicKey), None)
        if row is not None:
            return JSONResponse(row, 200)
        row = {"name": body.name, "publicKey": body.publicKey, "fingerprint": f"SHA256:{self.new_id()}"}
        known.append(row)
        return JSONResponse(row, 201)

    async def delete_key(self, request: Request, fingerprint: str) -> Response:
        """Delete a key by its fingerprint."""
        known = self._keys(self.login(request))
        row = next((row for row in known if row["fingerprint"] == fingerprint), None)
        if row is None:
            raise self.refuse(404, "SSH key was not found")
        known.remove(row)
        return JSONResponse({})

    def _one(self, request: Request, instance_id: str, kind: str) -> Machine:
        account = self.login(request)
        machine = self.machines.get(instance_id)
        if machine is None or machine.account is not account or machine.data["kind"] != kind:
            raise self.refuse(404, "Instance was not found")
        return machine

    @staticmethod
    def _keys(account: Account) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = account.data.setdefault("ssh_keys", [])
        return keys


def _pod(machine: Machine) -> str:
    """Return the prefix of each line of a container's log."""
    return f"service-1-{machine.id[:9].replace('-', '')}-{machine.id[-5:]}"


def _variables(settings: dict[str, Any], ssh_key: str | None) -> dict[str, str]:
    """Return the environment of the container's first process."""
    env = {row["name"]: row["value"] for row in settings["environment"]}
    return env | ({"SSH_PUBKEY": ssh_key} if settings["startup_command"] and ssh_key else {})


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat().replace("+00:00", "Z")

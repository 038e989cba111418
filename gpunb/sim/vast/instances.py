"""Instance routes of the simulated Vast: rent, list, stop, destroy."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.catalog import model
from gpunb.sim.cloud import Cloud, Machine, Phase
from gpunb.sim.hosts.machines import HostSpec
from gpunb.sim.vast.instance_list import InstanceList
from gpunb.sim.vast.market import HOURS_A_MONTH, premium
from gpunb.sim.vast.reserved import ReservedRoutes

if TYPE_CHECKING:
    from gpunb.sim.cloud import Refusal
    from gpunb.sim.money import Account

__all__ = ["InstanceRoutes"]

#: A container's environment on a simulated host must not be written to this machine's.
_ENVIRONMENT_FILE = "/dev/null"


class InstanceRoutes(InstanceList, ReservedRoutes, Cloud):
    """Routes under ``/asks/`` and ``/instances/``."""

    offers: dict[str, dict[str, Any]]
    scopes: dict[str, tuple[frozenset[str], str | None]]
    owners: dict[str, Account]
    next_id: Callable[[], int]
    deny: Callable[..., Refusal]
    body: Callable[[Request], Any]
    allow: Callable[..., Account]
    machine: Callable[[Request, str, str], Machine]
    known_templates: Callable[[Account], list[dict[str, Any]]]
    found_offers: Callable[[dict[str, Any]], list[dict[str, Any]]]

    def instance_routes(self) -> list[tuple[str, str, Any, str]]:
        """List method, path, handler and endpoint's name."""
        one = "/instances/{instance_id}/"
        return [
            ("PUT", "/asks/{offer_id}/", self.accept_ask, "create"),
            ("POST", "/asks/bulk/", self.accept_many, "create"),
            ("PUT", "/launch_instance/", self.launch_instance, "launch"),
            ("GET", "/api/v1/instances/", self.list_v1, "list"),
            ("GET", "/instances/", self.list_v0, "list-v0"),
            ("GET", "/instances/filters/", self.filters, "filters"),
            ("PUT", "/instances/", self.state_many, "state-many"),
            ("DELETE", "/instances/", self.destroy_many, "destroy"),
            ("GET", one, self.show, "get"),
            ("PUT", one, self.manage, "state"),
            ("DELETE", one, self.destroy, "destroy"),
            ("PUT", "/instances/reboot/{instance_id}/", self.reboot, "reboot"),
            ("PUT", "/instances/recycle/{instance_id}/", self.recycle, "recycle"),
            ("PUT", "/instances/bid_price/{instance_id}/", self.change_bid, "bid"),
            ("PUT", "/instances/prepay/{instance_id}/", self.prepay, "prepay"),
            ("GET", "/instances/balance/{instance_id}/", self.deposit, "deposit"),
            ("POST", "/instances/take_snapshot/{instance_id}/", self.snapshot, "snapshot"),
        ]

    # -- create ------------------------------------------------------------------------

    async def accept_ask(self, request: Request, offer_id: str) -> Response:
        """Rent one offer."""
        account = self.allow(request, "instance_write")
        return self._rent(account, offer_id, await self.body(request))

    async def accept_many(self, request: Request) -> Response:
        """Rent several offers, each on its own."""
        account, body = self.allow(request, "instance_write"), await self.body(request)
        answers = [self._rent(account, str(ident), body) for ident in body.get("ids") or []]
        return JSONResponse({"success": True, "results": [json.loads(bytes(a.body)) for a in answers]})

    async def launch_instance(self, request: Request) -> Response:
        """Search and rent the first offer in one call."""
        account, body = self.allow(request, "misc"), await self.body(request)
        found = self.found_offers(body.get("q") or {})
        if not found:
            raise self.deny(404, "No offers match", "no_such_ask")
        return self._rent(account, str(found[0]["id"]), {**body, "price": None})

    def _rent(self, account: Account, offer_id: str, body: dict[str, Any]) -> Response:
        offer = self.offers.get(offer_id)
        if self.fault("offer-gone"):
            raise self._stale(offer_id)
        if offer is None:
            raise self.deny(404, f"No such ask {offer_id}", "no_such_ask")
        cancel = body.get("cancel_unavail") is True
        doubled = "_holder" in offer
        if doubled and not self.fault("double-buy"):
            if not cancel:
                raise self._stale(offer_id)
            text = f"error 410/3907: no_such_ask Instance type {offer_id} is no longer available."
            raise self.deny(410, text, "no_such_ask")
        if self.fault("zero-balance"):
            account.deposit -= account.balance(self.clock.now())
        if account.balance(self.clock.now()) <= 0:
            raise self.deny(400, "Your account lacks credit; see the billing page", "insufficient_credit")
        disk, bid = self._checked(offer, body)
        if fault := self.fault("price-increase"):
            offer["dph_base"] = round(offer["dph_base"] * fault.number("factor", 1.5), 6)
        low = bid is not None and bid < offer["min_bid"] - 1e-9
        if low and cancel:
            raise self.deny(410, "Bid is too low to start", "no_such_ask")
        machine = self._launched(account, offer, body, disk=disk, bid=bid)
        if doubled:
            # both were accepted; the later one fails on its ports (skypilot#9117)
            machine.fail_reason = "driver failed programming external connectivity: port is already allocated"
            machine.troubles["wrong-image"] = _DOUBLE
        else:
            offer.update(_holder=machine.id, rented=True, rentable=False)
        answer = {
            "success": True,
            "new_contract": int(machine.id),
            "instance_api_key": machine.data["api_key"],
        }
        if low or body.get("target_state") == "stopped":
            machine.data["wanted"] = "stopped"
            self.stop(machine)
        if low:
            # the instance is there, stopped, and its disk is billed (dstack#4036)
            answer.update(
                success=False, error="invalid_price", msg="Bid is too low; instance created stopped"
            )
        return JSONResponse(answer)

    def _stale(self, offer_id: str) -> Refusal:
        """Return 400 or 404 for a stale offer, by text only (create_instance.yaml, clients' logs)."""
        text = f"error 404/3603: no_such_ask Instance type by id {offer_id} is not available."
        return self.deny(self.rng.choice((400, 404)), text, "invalid_args")

    def _checked(self, offer: dict[str, Any], body: dict[str, Any]) -> tuple[float, float | None]:
        disk, price, label = body.get("disk"), body.get("price"), body.get("label") or ""
        disk = 8.0 if disk is None else disk
        if not isinstance(disk, (int, float)) or not 8 <= disk <= offer["disk_space"]:
            raise self.deny(400, f"disk {disk!r} must be between 8 and {offer['disk_space']}")
        if not isinstance(label, str) or len(label) > 256:
            raise self.deny(400, "label must be a string of at most 256 characters")
        if not body.get("image") and not body.get("template_hash_id"):
            raise self.deny(400, "image or template_hash_id is needed")
        env = body.get("env") or {}
        if not isinstance(env, dict) or any(len(str(value)) > 256 for value in env.values()):
            raise self.deny(400, "env must be an object whose values have at most 256 characters")
        if len(body.get("onstart") or "") > 4048:
            raise self.deny(400, "onstart is longer than 4048 characters")
        if price is not None and (
            not isinstance(price, (int, float)) or not 0 < price <= 32 * offer["num_gpus"]
        ):
            raise self.deny(400, f"price {price!r} is out of range", "invalid_price")
        return float(disk), None if price is None else float(price)

    def _launched(
        self, account: Account, offer: dict[str, Any], body: dict[str, Any], *, disk: float, bid: float | None
    ) -> Machine:
        body = self._from_template(account, body)
        ident = str(self.next_id())
        key = f"sim-instance-{ident}-{self.rng.getrandbits(64):016x}"
        env = {name: str(value) for name, value in (body.get("env") or {}).items()}
        variables = {name: value for name, value in env.items() if not name.startswith("-")}
        card = model(offer["gpu_name"])
        ports = self._ports(env)
        key_rows = account.data.setdefault("ssh_keys", [])
        keys = [row["ssh_key"] for row in key_rows]
        spec = HostSpec(
            id=ident,
            user="root",
            public_keys=list(keys),
            env={
                **account.data.get("secrets", {}),
                **variables,
                **{
                    f"VAST_{name.partition('/')[2].upper()}_PORT_{name.partition('/')[0]}": str(outside)
                    for name, outside in ports.items()
                },
                "CONTAINER_ID": ident,
                "CONTAINER_API_KEY": key,
                "VAST_CONTAINERLABEL": f"C.{ident}",
                "GPUNB_ENVIRONMENT": _ENVIRONMENT_FILE,
                "GPUNB_SSHD": "/nonexistent",  # this machine's own keys do not belong to the host
            },
            onstart=body.get("onstart") or "",
            onstart_always=True,
            gpu=card.name,
            gpus=offer["num_gpus"],
            vram_mib=card.vram_mib,
            cuda=offer["cuda_max_good"],
        )
        runtype = str(body.get("runtype") or "ssh_proxy")
        machine = self.launch(
            account,
            body.get("label") or "",
            spec,
            machine_id=ident,
            data={
                "offer": offer,
                "is_bid": bid is not None,
                "gpu_usd_h": (offer["dph_base"] if bid is None else bid) + premium(offer),
                "disk_gb": disk,
                "disk_usd_h": disk * offer["storage_cost"] / HOURS_A_MONTH,
                "image": body.get("image"),
                "template": body.get("template_hash_id"),
                "runtype": runtype,
                "env": env,
                "ports": ports,
                "image_login": body.get("image_login"),
                "onstart": body.get("onstart"),
                "volume_info": body.get("volume_info"),
                "wanted": "running",
                "keys": [],
                # an account's key is detached from an instance by the number that it has on the account
                "key_ids": {row["id"]: row["ssh_key"] for row in key_rows},
                "api_key": key,
                "files": {"/root/onstart.sh": len(body.get("onstart") or ""), "/root/hasbooted": 0},
            },
        )
        machine.bill.open("disk", machine.data["disk_usd_h"], self.clock.now())
        self.owners[key] = account
        self.scopes[key] = (frozenset({"instance_read", "instance_write"}), ident)
        return machine

    def _from_template(self, account: Account, body: dict[str, Any]) -> dict[str, Any]:
        """Add the template's values that the call leaves out; of variables in both, the call's win."""
        wanted = body.get("template_hash_id")
        if not wanted:
            return body
        found = next((row for row in self.known_templates(account) if row["hash_id"] == wanted), None)
        if found is None:
            raise self.deny(404, f"No template {wanted}", "no_such_template")
        env: dict[str, str] = {}
        words = shlex.split(str(found.get("env") or ""))
        for option, value in zip(words[::2], words[1::2], strict=False):
            name, _, text = value.partition("=")
            env.update(
                {f"-p {value}": "1"} if option == "-p" else {"-h": value} if option == "-h" else {name: text}
            )
        image = f"{found['image']}:{found['tag']}" if found.get("tag") else found["image"]
        return {
            **body,
            "image": body.get("image") or image,
            "onstart": body.get("onstart") or found.get("onstart"),
            "env": {**env, **(body.get("env") or {})},
        }

    def _ports(self, env: Mapping[str, str]) -> dict[str, int]:
        """Map the ports of ``-p`` to outside ones: a random number; the same one from 70000 on.

        A real host of this machine has no port mapping, so the outside number is its own.
        """
        result: dict[str, int] = {}
        for given in env:
            asked = re.fullmatch(r"-p (\d+):(\d+)(?:/(tcp|udp))?", given)
            if not asked:
                continue
            inside, protocol = int(asked[2]), asked[3] or "tcp"
            same = self.hosts.real and inside < 65_536
            result[f"{inside}/{protocol}"] = inside if same else 40_000 + self.rng.randrange(20_000)
        if len(result) + 1 > _MOST_PORTS:
            raise self.deny(400, f"a container can open {_MOST_PORTS} ports")
        return result

    # -- state ---------------------------------------------------------------------------

    async def manage(self, request: Request, instance_id: str) -> Response:
        """Change state or label, by the body."""
        machine = self.machine(request, instance_id, "instance_write")
        body = await self.body(request)
        if isinstance(body.get("label"), str):
            if len(body["label"]) > 1024:
                raise self.deny(400, "label is longer than 1024 characters")
            machine.label = machine.bill.label = body["label"]
        if body.get("state") in ("running", "stopped"):
            if not self._set_state(machine, body["state"]):
                return JSONResponse({"success": False, "msg": _QUEUED})
        elif "label" not in body:
            raise self.deny(400, "state must be running or stopped")
        return JSONResponse({"success": True})

    async def state_many(self, request: Request) -> Response:
        """Change the state of several instances."""
        body = await self.body(request)
        for ident in body.get("ids") or []:
            self._set_state(self.machine(request, str(ident), "instance_write"), str(body.get("state")))
        return JSONResponse({"success": True})

    def _set_state(self, machine: Machine, state: str) -> bool:
        """Set the state; return whether it is done now. A start without a free GPU is queued."""
        machine.data["wanted"] = state
        machine.data.pop("queued", None)
        if state == "stopped" and machine.phase in (
            Phase.RUNNING,
            Phase.BOOTING,
            Phase.OUTBID,
            Phase.OFFLINE,
        ):
            machine.data["stop_reason"] = ""
            self.stop(machine)
        elif state == "running" and machine.phase in (Phase.STOPPED, Phase.OFFLINE):
            offer, now = machine.data["offer"], self.clock.now()
            if now >= offer["end_date"]:
                machine.data["wanted"] = "stopped"
                raise self.deny(400, "Instance has expired and cannot be started", "contract_expired")
            if taken := self.fault("gpu-taken", "state"):
                seconds = taken.params.get("seconds")
                machine.data["queued"] = now + float(seconds) if seconds else math.inf
                machine.data["stop_reason"] = "success, running"
                return False
            if offer.get("_holder") != machine.id or machine.account.balance(now) <= 0:
                machine.data["stop_reason"] = "scheduling: waiting for the GPU"
                machine.data["queued"] = math.inf
                return False
            self._start_again(machine)
        return True

    def _start_again(self, machine: Machine) -> None:
        # its container still has the state "exited" until it is up again
        machine.data["rebooting"] = "exited"
        self.start(machine, boot_s=min(self.boot_seconds, 5.0))

    def settle_contract(self, machine: Machine, now: float) -> None:
        """Start what was queued, stop what is past its contract's end, delete it two days later."""
        if machine.phase is Phase.STOPPED and machine.data.get("queued", math.inf) <= now:
            del machine.data["queued"]
            self._start_again(machine)
        ends = machine.data["offer"]["end_date"]
        if now < ends or not machine.alive:
            return
        if machine.phase in (Phase.RUNNING, Phase.BOOTING, Phase.OUTBID):
            machine.data.update(wanted="stopped", stop_reason="stopped: the contract has ended")
            self.stop(machine)
        elif now >= ends + _DELETED_AFTER_S and machine.phase is Phase.STOPPED:
            self.end(machine)

    async def destroy(self, request: Request, instance_id: str) -> Response:
        """Destroy an instance."""
        self._destroy(self.machine(request, instance_id, "instance_write"))
        return JSONResponse({"success": True, "msg": f"Instance {instance_id} destroyed"})

    async def destroy_many(self, request: Request) -> Response:
        """Destroy several instances."""
        body = await self.body(request)
        for ident in body.get("instance_ids") or []:
            self._destroy(self.machine(request, str(ident), "instance_write"))
        return JSONResponse({"success": True})

    def _destroy(self, machine: Machine) -> None:
        if machine.phase is not Phase.ENDING and not self.ignores_destroy(machine):
            self.end(machine)

    async def reboot(self, request: Request, instance_id: str) -> Response:
        """Stop and start the container, which keeps its GPU."""
        return self._again(self.machine(request, instance_id, "instance_write"), "rebooting")

    async def recycle(self, request: Request, instance_id: str) -> Response:
        """Recreate the container from a newly pulled image; it keeps its GPU."""
        return self._again(self.machine(request, instance_id, "instance_write"), "recycling")

    def _again(self, machine: Machine, word: str) -> Response:
        if machine.phase is not Phase.RUNNING:
            raise self.deny(400, "Instance is not running")
        machine.data["rebooting"] = word
        machine.ready_at = self.clock.now() + min(self.boot_seconds, 10.0)
        if machine.host is not None:
            self._later(self.hosts.wipe if word == "recycling" else self.hosts.stop, machine.host)
            machine.booting = self._later(self.hosts.start, machine.host)
        self.change(machine, Phase.BOOTING, self.clock.now())
        return JSONResponse({"success": True})

    async def change_bid(self, request: Request, instance_id: str) -> Response:
        """Change the bid; a higher one brings an outbid instance back."""
        machine = self.machine(request, instance_id, "instance_write")
        body = await self.body(request)
        offer = machine.data["offer"]
        if not machine.data["is_bid"]:
            raise self.deny(400, "Not an interruptible instance", "invalid_args")
        price = body.get("price")
        price = offer["min_bid"] if price is None else price
        if not isinstance(price, (int, float)) or not 0 < price <= 32 * offer["num_gpus"]:
            raise self.deny(400, f"price {price!r} is out of range", "invalid_price")
        machine.data["gpu_usd_h"] = float(price)
        if machine.phase is Phase.RUNNING:
            machine.bill.open("gpu", float(price), self.clock.now())
        elif machine.phase is Phase.OUTBID and price >= offer["min_bid"]:
            machine.troubles.pop("outbid", None)
            self.start(machine, boot_s=min(self.boot_seconds, 5.0))
        return JSONResponse({"success": True})

    async def snapshot(self, request: Request, instance_id: str) -> Response:
        """Answer only; there is no image to push."""
        machine = self.machine(request, instance_id, "instance_write")
        body = await self.body(request)
        if not body.get("personal_repo"):
            raise self.deny(400, "personal_repo is needed")
        machine.data["snapshot"] = body
        return JSONResponse({"success": True, "msg": "snapshot requested"})


_QUEUED = "Required resources are currently unavailable, state change queued."
_DELETED_AFTER_S = 48 * 3600.0
_MOST_PORTS = 64  # SSH's own among them


def _double() -> Any:
    from gpunb.sim.faults import Fault

    return Fault(kind="double-buy")


_DOUBLE = _double()

"""Routes of the simulated Vast for logs, files, keys and price increases."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from gpunb.providers.vast.onstart import HOST_KEY
from gpunb.sim.cloud import Cloud, Machine, Phase

if TYPE_CHECKING:
    from gpunb.sim.cloud import Refusal
    from gpunb.sim.money import Account

__all__ = ["ControlRoutes"]

_RESULT_DELAY_S = 1.0


class ControlRoutes(Cloud):
    """Routes that control an instance."""

    next_id: Callable[[], int]
    deny: Callable[..., Refusal]
    body: Callable[[Request], Any]
    allow: Callable[..., Account]
    machine: Callable[[Request, str, str], Machine]

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.results: dict[str, tuple[float, str]] = {}

    def control_routes(self) -> list[tuple[str, str, Any, str]]:
        """List method, path, handler and endpoint's name."""
        return [
            ("GET", "/instances/pending-price-increases/", self.pending, "price-increases"),
            ("PUT", "/instances/accept-price-increase/", self.accept_increase, "answer-increase"),
            ("PUT", "/instances/reject-price-increase/", self.reject_increase, "answer-increase"),
            ("PUT", "/instances/command/{instance_id}/", self.execute, "execute"),
            ("PUT", "/instances/request_logs/{instance_id}/", self.request_logs, "logs"),
            ("GET", "/instances/{instance_id}/ssh/", self.instance_keys, "instance-ssh-keys"),
            ("POST", "/instances/{instance_id}/ssh/", self.attach_key, "attach-key"),
            ("DELETE", "/instances/{instance_id}/ssh/{key_id}/", self.detach_key, "detach-key"),
            ("GET", "/results/{token}/", self.result, "result"),
        ]

    # -- results behind an address --------------------------------------------------------------

    async def request_logs(self, request: Request, instance_id: str) -> Response:
        """Make a snapshot of the log, and return its address."""
        machine = self.machine(request, instance_id, "instance_read")
        body = await self.body(request)
        lines = self._log(machine, daemon=str(body.get("daemon_logs")).lower() == "true")
        if pattern := body.get("filter"):
            lines = [line for line in lines if str(pattern) in line]
        tail = int(body.get("tail") or 1000)
        return self._later_result(request, "\n".join(lines[-tail:]) + "\n")

    def _log(self, machine: Machine, *, daemon: bool) -> list[str]:
        image = machine.data["image"] or machine.data["template"]
        if daemon:
            lines = [f"loading image {image}", "Pulling fs layer"]
            return (
                [*lines, machine.fail_reason] if machine.fail_reason else [*lines, f"started C.{machine.id}"]
            )
        if machine.phase is Phase.BOOTING:
            return []
        return [
            "Mounting entrypoint",
            "starting sshd",
            *(
                [f"{HOST_KEY} {machine.host.host_public}"]
                if machine.host and machine.host.host_public
                else []
            ),
            *(f"line {number}" for number in range(5)),
            "onstart done",
        ]

    async def execute(self, request: Request, instance_id: str) -> Response:
        """Run ``ls``, ``rm`` or ``du``, also on a stopped instance."""
        machine = self.machine(request, instance_id, "instance_write")
        command = str((await self.body(request)).get("command") or "")
        try:
            words = shlex.split(command)
        except ValueError:
            words = []
        if not words or words[0] not in ("ls", "rm", "du") or len(command) > 512:
            raise self.deny(400, "Invalid command given; only ls, rm and du are allowed")
        files: dict[str, int] = dict(machine.data["files"])
        if machine.host is not None:
            files.update(self.hosts.files(machine.host))
        base = f"/var/lib/docker/volumes/C.{machine.id}/_data"
        where = [word for word in words[1:] if not word.startswith("-")] or ["/"]
        hit = [
            name for name in files if any(name == w or name.startswith(w.rstrip("/") + "/") for w in where)
        ]
        if words[0] == "rm":
            for name in hit:
                machine.data["files"].pop(name, None)
                if machine.host is not None:
                    self.hosts.remove(machine.host, name)
            text = ""
        elif words[0] == "du":
            text = _used({name: files[name] for name in hit}, words[1:], base)
        else:
            text = "".join(f"{base}{name}\n" for name in hit)
        return self._later_result(request, text, writeable_path=base)

    def _later_result(self, request: Request, text: str, **more: Any) -> Response:
        token = self.new_id()
        self.results[token] = (self.clock.now() + _RESULT_DELAY_S, text)
        url = f"{str(request.base_url).rstrip('/')}/api/v0/results/{token}/"
        return JSONResponse({"success": True, "result_url": url, **more})

    async def result(self, token: str) -> Response:
        """Return a result; 404 until it is there, as S3 does; needs no key."""
        ready, text = self.results.get(token, (float("inf"), ""))
        if self.clock.now() < ready:
            return PlainTextResponse("<Error><Code>NoSuchKey</Code></Error>", 404)
        return PlainTextResponse(text)

    # -- keys of one instance ---------------------------------------------------------------

    async def instance_keys(self, request: Request, instance_id: str) -> Response:
        """List the keys on the instance."""
        machine = self.machine(request, instance_id, "instance_read")
        rows = [{"id": ident, "public_key": line} for ident, line in machine.data["key_ids"].items()]
        return JSONResponse({"success": True, "ssh_keys": rows})

    async def attach_key(self, request: Request, instance_id: str) -> Response:
        """Attach a key, now or when the host is up."""
        machine = self.machine(request, instance_id, "instance_write")
        line = str((await self.body(request)).get("ssh_key") or "").strip()
        if not line.startswith(("ssh-", "ecdsa-", "sk-")) or "\n" in line:
            raise self.deny(400, "ssh_key is not a public key")
        data = machine.data
        if line in data["key_ids"].values():
            raise self.deny(400, "SSH key already attached to this instance")
        known = {row["ssh_key"]: row["id"] for row in machine.account.data.get("ssh_keys", [])}
        ident = known.get(line) or self.next_id()
        data["key_ids"][ident] = line
        data["keys"].append(line)
        if "key-late" in machine.troubles:
            data.setdefault("late_keys", []).append(line)
        elif machine.phase is Phase.RUNNING and machine.host is not None:
            self._later(self.hosts.authorize, machine.host, [line])
        return JSONResponse({"success": True, "key": {"id": ident, "public_key": line}})

    async def detach_key(self, request: Request, instance_id: str, key_id: int) -> Response:
        """Detach a key."""
        machine = self.machine(request, instance_id, "instance_write")
        line = machine.data["key_ids"].pop(key_id, None)
        if line is None:
            raise self.deny(404, f"No key {key_id}", "no_such_key")
        if line in machine.data["keys"]:
            machine.data["keys"].remove(line)
        return JSONResponse({"success": True})

    # -- price increases ----------------------------------------------------------------------

    def ask_for_more(self, machine: Machine, factor: float) -> None:
        """Ask for `factor` times the price of the GPU, as a host does."""
        machine.data["increase"] = (self.next_id(), machine.data["gpu_usd_h"] * factor)

    def _increases(self, account: Account) -> dict[int, Machine]:
        mine = [machine for machine in self.machines.values() if machine.account is account and machine.alive]
        return {machine.data["increase"][0]: machine for machine in mine if "increase" in machine.data}

    async def pending(self, request: Request) -> Response:
        """List the increases that wait for an answer."""
        rows = []
        for ident, machine in self._increases(self.allow(request, "instance_read")).items():
            data, offer = machine.data, machine.data["offer"]
            disk = data["disk_usd_h"] / 3600
            rows.append(
                {
                    "pending_price_increase_id": ident,
                    "contract_id": int(machine.id),
                    "host_id": offer["host_id"],
                    "old_gpu_costpersec": data["gpu_usd_h"] / 3600,
                    "new_gpu_costpersec": data["increase"][1] / 3600,
                    "old_disk_ram_costpersec": disk,
                    "new_disk_ram_costpersec": disk,
                    "old_bwu_cost": offer["inet_up_cost"],
                    "new_bwu_cost": offer["inet_up_cost"],
                    "old_bwd_cost": offer["inet_down_cost"],
                    "new_bwd_cost": None,
                    "contract_end_date": offer["end_date"],
                    "created_at": self.clock.now(),
                }
            )
        answer = {"success": True, "count": len(rows), "truncated": False, "pending_price_increases": rows}
        return JSONResponse(answer)

    async def accept_increase(self, request: Request) -> Response:
        """Accept an increase: the instance costs more from now on."""
        machine, ident = await self._increase(request)
        machine.data["gpu_usd_h"] = machine.data.pop("increase")[1]
        if machine.phase is Phase.RUNNING:
            machine.bill.open("gpu", machine.data["gpu_usd_h"], self.clock.now())
        return JSONResponse(
            {"success": True, "pending_price_increase_id": ident, "contract_id": int(machine.id)}
        )

    async def reject_increase(self, request: Request) -> Response:
        """Reject an increase: the contract stays as it is."""
        machine, ident = await self._increase(request)
        del machine.data["increase"]
        return JSONResponse(
            {"success": True, "pending_price_increase_id": ident, "contract_id": int(machine.id)}
        )

    async def _increase(self, request: Request) -> tuple[Machine, int]:
        account, body = self.allow(request, "instance_write"), await self.body(request)
        if set(body) != {"pending_price_increase_id"}:
            raise self.deny(400, "extra fields not permitted")
        ident = body["pending_price_increase_id"]
        machine = self._increases(account).get(ident)
        if machine is None:
            raise self.deny(404, "No pending price increase", "no_pending_price_increase")
        return machine, ident


def _used(files: dict[str, int], words: list[str], base: str) -> str:
    """Return what ``du`` prints of `files` and their folders, with ``-a`` (files, too) and ``-b`` (bytes)."""
    flags = {letter for word in words if word.startswith("-") for letter in word[1:]}
    where = [word.rstrip("/") or "/" for word in words if not word.startswith("-")] or ["/"]
    sizes: dict[str, int] = {}
    for name, size in files.items():
        above = [str(folder) for folder in PurePosixPath(name).parents]
        inside = [one for one in above if any(one == w or one.startswith(f"{w.rstrip('/')}/") for w in where)]
        for folder in inside:
            sizes[folder] = sizes.get(folder, 4096) + size
    listed = {**(files if "a" in flags else {}), **sizes}
    return "".join(
        f"{size if 'b' in flags else size // 1024 + 1}\t{base}{name}\n" for name, size in listed.items()
    )

"""Copies of the simulated Vast, between instances and with a linked object store.

A status message reports their state half a minute late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.cloud import Cloud, Machine

if TYPE_CHECKING:
    from gpunb.sim.cloud import Refusal
    from gpunb.sim.money import Account

__all__ = ["CopyRoutes", "copy_message"]

LAG_S = 30.0
TAKES_S = 120.0
_COPY_USER = "vastai_kaalia"
_WAYS = ("Instance To Cloud", "Cloud To Instance")


class CopyRoutes(Cloud):
    """Routes under ``/commands/``."""

    next_id: Callable[[], int]
    deny: Callable[..., Refusal]
    body: Callable[[Request], Any]
    allow: Callable[..., Account]
    machine: Callable[[Request, str, str], Machine]

    def copy_routes(self) -> list[tuple[str, str, Any, str]]:
        """List method, path, handler and endpoint's name."""
        return [
            ("GET", "/users/cloud_integrations/", self.connections, "connections"),
            ("POST", "/commands/rclone/", self.start_copy, "cloud-copy"),
            ("DELETE", "/commands/rclone/", self.cancel_copy, "cancel-copy"),
            ("POST", "/commands/schedule_job/", self.schedule, "schedule"),
            ("GET", "/commands/schedule_job/", self.schedules, "schedules"),
            ("PUT", "/commands/schedule_job/{job_id}/", self.reschedule, "reschedule"),
            ("DELETE", "/commands/schedule_job/{job_id}/", self.unschedule, "unschedule"),
            ("PUT", "/commands/copy_direct/", self.copy_direct, "rsync"),
            ("DELETE", "/commands/copy_direct/", self.cancel_direct, "cancel-rsync"),
            ("PUT", "/commands/rsync/", self.copy_local, "rsync"),
        ]

    async def connections(self, request: Request) -> Response:
        """List the stores linked by a test or the user; the real Vast links them in the browser."""
        return JSONResponse(self._connections(self.allow(request, "user_read")))

    async def start_copy(self, request: Request) -> Response:
        """Start a copy of a container, running or stopped."""
        body = await self.body(request)
        machine = self.machine(request, str(body.get("instance_id")), "instance_write")
        self._check(machine, body)
        machine.data["copy"] = {"began": self.clock.now(), "over": None, "body": body}
        return JSONResponse({"success": True, "msg": "Cloud Copy Started"})

    async def cancel_copy(self, request: Request) -> Response:
        """Cancel a copy; what was moved stays."""
        body = await self.body(request)
        machine = self.machine(request, str(body.get("dst_id")), "instance_write")
        copy = machine.data.get("copy")
        if copy is None:
            raise self.deny(404, "no copy is running")
        if copy["over"] is None:
            copy["over"] = self.clock.now()
        return JSONResponse({"success": True})

    async def schedule(self, request: Request) -> Response:
        """Schedule a copy: one job an instance and endpoint; another one is 422."""
        body = await self.body(request)
        machine = self.machine(request, str(body.get("instance_id")), "instance_write")
        if body.get("api_endpoint") != "/api/v0/commands/rclone/":
            raise self.deny(400, "this endpoint can't be scheduled")
        self._check(machine, body.get("request_body") or {})
        if machine.data.get("job") is not None:
            ident, text = machine.data["job"]["id"], "a job for this instance exists"
            row = {"success": False, "error": "job_exists", "msg": text, "scheduled_job_id": ident}
            return JSONResponse(row, 422)
        machine.data["job"] = {**body, "id": self.next_id()}
        return JSONResponse({"success": True, "scheduled_job_id": machine.data["job"]["id"]})

    async def schedules(self, request: Request) -> Response:
        """List the account's scheduled copies."""
        account = self.allow(request, "instance_read")
        return JSONResponse([job for _, job in self._jobs(account)])

    async def reschedule(self, request: Request, job_id: str) -> Response:
        """Change the times of a scheduled copy."""
        body = await self.body(request)
        for machine, job in self._jobs(self.allow(request, "instance_write")):
            if str(job["id"]) == job_id:
                self._check(machine, body.get("request_body") or {})
                job.update(body)
                return JSONResponse({"success": True, "scheduled_job_id": job["id"]})
        raise self.deny(404, f"no scheduled job {job_id}")

    async def unschedule(self, request: Request, job_id: str) -> Response:
        """Delete a scheduled copy."""
        for machine, job in self._jobs(self.allow(request, "instance_write")):
            if str(job["id"]) == job_id:
                machine.data["job"] = None
                return JSONResponse({"success": True})
        raise self.deny(404, f"no scheduled job {job_id}")

    # -- between instances, and with this machine -----------------------------------------

    async def copy_direct(self, request: Request) -> Response:
        """Copy from one instance to another, running or stopped; `execute` lists the result afterwards.

        With a side that is ``local`` only access is granted: the client runs rsync itself.
        """
        body = await self.body(request)
        if not body.get("src_path") or not body.get("dst_path"):
            raise self.deny(400, "Invalid src_path.")
        if {body.get("src_id"), body.get("dst_id")} & {"local", None}:
            return await self.copy_local(request)
        source = self._place(request, body["src_id"], "instance_read")
        target = self._place(request, body["dst_id"], "instance_write")
        root, into = str(body["src_path"]).rstrip("/"), str(body["dst_path"]).rstrip("/")
        found = {
            f"{into}{name.removeprefix(root)}": size
            for name, size in (source.data["files"] if source else {}).items()
            if name == root or name.startswith(f"{root}/")
        }
        if source is not None and target is not None and source.host and target.host:
            self._later(self.hosts.copy, source.host, root, target.host, into)
        if target is not None:
            target.data["files"].update(found)
            target.data["copy"] = {"began": self.clock.now(), "over": None, "body": body, "word": "Copy"}
        return JSONResponse({"success": True, "msg": "Remote to Remote copy initiated"})

    async def cancel_direct(self, request: Request) -> Response:
        """Cancel all copies into one instance."""
        target = self._place(request, (await self.body(request)).get("dst_id"), "instance_write")
        copy = None if target is None else target.data.get("copy")
        if copy is None:
            raise self.deny(404, "No such copy.", "no_such_user")
        copy["over"] = copy["over"] or self.clock.now()
        return JSONResponse({"success": True})

    async def copy_local(self, request: Request) -> Response:
        """Return the address and port of the instance's side, for the client's rsync."""
        body = await self.body(request)
        answer: dict[str, Any] = {"success": True}
        for side in ("src", "dst"):
            machine = self._place(request, body.get(f"{side}_id"), "instance_write")
            if machine is not None and machine.host is not None:
                found = self.hosts.serve_files(machine.host, f"C.{machine.id}", _COPY_USER)
                answer[f"{side}_addr"], answer[f"{side}_port"] = found
        if len(answer) == 1:
            raise self.deny(400, "one side must be an instance that has been started")
        return JSONResponse(answer)

    def _place(self, request: Request, place: Any, scope: str) -> Machine | None:
        """Parse ``C.123``, ``123`` or ``123:/path``; None for this machine, a volume or an object store."""
        text = str(place or "local").partition(":")[0].removeprefix("C.")
        if text.isdecimal():
            return self.machine(request, text, scope)
        kind, _, number = text.partition(".")
        if kind in ("local", "V", "s3", "drive", "hf", "dropbox", "backblaze") and (
            not number or number.isdecimal()
        ):
            self.allow(request, scope)
            return None
        raise self.deny(400, f"Invalid place {text}")

    def _jobs(self, account: Account) -> list[tuple[Machine, dict[str, Any]]]:
        mine = [machine for machine in self.machines.values() if machine.account is account]
        return [(machine, machine.data["job"]) for machine in mine if machine.data.get("job") is not None]

    def _check(self, machine: Machine, body: dict[str, Any]) -> None:
        known = {row["id"] for row in self._connections(machine.account)}
        if body.get("selected") not in known:
            raise self.deny(404, f"no connection {body.get('selected')}")
        if body.get("transfer") not in _WAYS or not body.get("src") or not body.get("dst"):
            raise self.deny(400, "src, dst and transfer must be given")

    @staticmethod
    def _connections(account: Account) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = account.data.setdefault("connections", [])
        return result


def copy_message(machine: Machine, now: float) -> str | None:
    """Return the status message while there is, or was, a copy."""
    copy = machine.data.get("copy")
    if copy is None or now < copy["began"] + LAG_S:
        return None
    word = copy.get("word", "Cloud Copy")
    if copy["over"] is not None and now >= copy["over"] + LAG_S:
        return f"{word} Operation Cancelled"
    done = (now - LAG_S - copy["began"]) / TAKES_S
    return f"{word} Operation Finished" if done >= 1 else f"{word} in progress: {done:.0%}"

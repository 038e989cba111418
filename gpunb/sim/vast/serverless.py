"""Endpoints and workergroups of the simulated Vast: stored and listed, with no worker behind them.

gpunb has no verb for them. They answer so that the published client's commands can be tried whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.cloud import Cloud

if TYPE_CHECKING:
    from gpunb.sim.cloud import Refusal
    from gpunb.sim.money import Account

__all__ = ["ServerlessRoutes"]

_KINDS = {"endptjobs": "endpoint", "autojobs": "workergroup", "workergroups": "workergroup"}


class ServerlessRoutes(Cloud):
    """Routes ``/endptjobs/``, ``/autojobs/`` (also ``/workergroups/``), ``/deployments``."""

    next_id: Callable[[], int]
    deny: Callable[..., Refusal]
    body: Callable[[Request], Any]
    allow: Callable[..., Account]

    def serverless_routes(self) -> list[tuple[str, str, Any, str]]:
        """List method, path, handler and endpoint's name."""
        result: list[tuple[str, str, Any, str]] = [("GET", "/deployments", self.deployments, "deployments")]
        for path, kind in _KINDS.items():
            result += [
                ("GET", f"/{path}/", self._lister(kind), f"list-{kind}s"),
                ("POST", f"/{path}/", self._maker(kind), f"add-{kind}"),
                ("PUT", f"/{path}/{{ident}}/", self._changer(kind), f"update-{kind}"),
                ("DELETE", f"/{path}/{{ident}}/", self._ender(kind), f"delete-{kind}"),
            ]
        return result

    def autoscaler_routes(self) -> list[tuple[str, str, Any, str]]:
        """List the routes of another server, run.vast.ai: their paths have no ``/api/v0``."""
        return [
            ("POST", "/get_endpoint_logs/", self.worker_logs, "endpoint-logs"),
            ("POST", "/get_autogroup_logs/", self.worker_logs, "workergroup-logs"),
            ("POST", "/get_endpoint_workers/", self.workers, "endpoint-workers"),
            ("POST", "/update_workers/", self.update_workers, "update-workers"),
        ]

    def _lister(self, kind: str) -> Callable[[Request], Any]:
        async def list_them(request: Request) -> Response:
            rows = list(self._groups(self.allow(request, "user_read"), kind).values())
            return JSONResponse({"success": True, "results": rows})

        return list_them

    def _maker(self, kind: str) -> Callable[[Request], Any]:
        async def make(request: Request) -> Response:
            account, body = self.allow(request, "instance_write"), await self.body(request)
            ident, fields = self.next_id(), {name: one for name, one in body.items() if name != "client_id"}
            row = {**fields, "id": ident, "created_at": self.clock.now(), "user_id": 4711}
            self._groups(account, kind)[ident] = row
            return JSONResponse({"success": True, "result" if kind == "endpoint" else "id": ident})

        return make

    def _changer(self, kind: str) -> Callable[[Request, int], Any]:
        async def change(request: Request, ident: int) -> Response:
            row = self._group(self.allow(request, "instance_write"), kind, ident)
            body = await self.body(request)
            row.update({name: one for name, one in body.items() if one is not None and name in row})
            return JSONResponse({"success": True})

        return change

    def _ender(self, kind: str) -> Callable[[Request, int], Any]:
        async def end(request: Request, ident: int) -> Response:
            account = self.allow(request, "instance_write")
            self._group(account, kind, ident)
            del self._groups(account, kind)[ident]
            text = f"Deleted {kind} and 0 workers"
            return JSONResponse({"success": True, "deleted_workers": [], "failed_workers": [], "msg": text})

        return end

    async def deployments(self, request: Request) -> Response:
        """Return none: only Vast's own library makes them, from a program's source."""
        self.allow(request, "user_read")
        return JSONResponse({"success": True, "deployments": []})

    async def worker_logs(self, request: Request) -> Response:
        """Return the logs by level, all empty."""
        self.allow(request, "user_read")
        return JSONResponse({"info0": [], "info1": [], "trace": [], "debug": []})

    async def workers(self, request: Request) -> Response:
        """Return no workers, as a bare list."""
        account = self.allow(request, "user_read")
        self._group(account, "endpoint", (await self.body(request)).get("id"))
        return JSONResponse([])

    async def update_workers(self, request: Request) -> Response:
        """Do nothing: there are no workers to update."""
        account = self.allow(request, "instance_write")
        self._group(account, "workergroup", (await self.body(request)).get("workergroup_id"))
        return JSONResponse({"success": True, "msg": "no workers to update"})

    def _group(self, account: Account, kind: str, ident: Any) -> dict[str, Any]:
        result = self._groups(account, kind).get(ident)
        if result is None:
            raise self.deny(404, f"No {kind} {ident}")
        return result

    @staticmethod
    def _groups(account: Account, kind: str) -> dict[int, dict[str, Any]]:
        result: dict[int, dict[str, Any]] = account.data.setdefault(kind, {})
        return result

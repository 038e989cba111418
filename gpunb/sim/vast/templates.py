"""Templates of the simulated Vast: public ones, and those that an account makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.cloud import Cloud, Machine

if TYPE_CHECKING:
    from gpunb.sim.cloud import Refusal
    from gpunb.sim.money import Account

__all__ = ["TemplateRoutes"]

_PUBLIC = (
    {
        "id": 101,
        "hash_id": "a33b72bd045341cfcd678ce7c932a614",
        "name": "PyTorch (Vast)",
        "image": "vastai/pytorch",
        "tag": "@vastai-automatic-tag",
        "desc": "PyTorch with Jupyter",
        "env": "-p 6006:6006 -e DATA_DIRECTORY=/workspace",
        "onstart": "touch ~/template-was-here",
        "recommended_disk_space": 50.0,
        "creator_id": 1,
    },
)


class TemplateRoutes(Cloud):
    """Routes under ``/template/``, and an instance's change of template."""

    next_id: Callable[[], int]
    deny: Callable[..., Refusal]
    body: Callable[[Request], Any]
    allow: Callable[..., Account]
    machine: Callable[[Request, str, str], Machine]
    user_row: Callable[[Account], dict[str, Any]]

    def template_routes(self) -> list[tuple[str, str, Any, str]]:
        """List method, path, handler and endpoint's name."""
        return [
            ("GET", "/template/", self.templates, "templates"),
            ("POST", "/template/", self.add_template, "add-template"),
            ("PUT", "/api/v1/template/", self.update_template, "update-template"),
            ("DELETE", "/template/", self.delete_template, "delete-template"),
            ("PUT", "/instances/update_template/{instance_id}/", self.use_template, "use-template"),
        ]

    async def templates(self, request: Request) -> Response:
        """List the account's and the public templates that fit."""
        account = self.allow(request, "user_read")
        filters = json.loads(request.query_params.get("select_filters") or "{}")
        found = [
            row
            for row in self.known_templates(account)
            if all(rule.get("eq") == row.get(field) for field, rule in filters.items())
        ]
        return JSONResponse({"success": True, "templates_found": len(found), "templates": found})

    async def add_template(self, request: Request) -> Response:
        """Add a template; its hash is made from its content."""
        account, body = self.allow(request, "user_write"), await self.body(request)
        row = self._made_template(account, self.next_id(), body)
        self._my_templates(account).append(row)
        text = f"Template Created Successfully! New Template ID: {row['id']}"
        return JSONResponse({"success": True, "msg": text, "template": row})

    async def update_template(self, request: Request) -> Response:
        """Save a new version with a new hash; number and hash must name the same template."""
        account, body = self.allow(request, "user_write"), await self.body(request)
        old = self._my_template(account, body.get("hash_id"), body.get("id"))
        row = self._made_template(account, old["id"], body)
        mine = self._my_templates(account)
        mine[mine.index(old)] = row
        return JSONResponse({"success": True, "template": row})

    async def delete_template(self, request: Request) -> Response:
        """Delete a template by its hash or its number."""
        account, body = self.allow(request, "user_write"), await self.body(request)
        self._my_templates(account).remove(
            self._my_template(account, body.get("hash_id"), body.get("template_id"))
        )
        return JSONResponse({"success": True})

    async def use_template(self, request: Request, instance_id: str) -> Response:
        """Set the template for the container's next recycle."""
        machine = self.machine(request, instance_id, "instance_write")
        body = await self.body(request)
        changed = {name: body[name] for name in ("image", "onstart", "env") if body.get(name) is not None}
        if hash_id := body.get("template_hash_id"):
            known = {row["hash_id"]: row for row in self.known_templates(machine.account)}
            if hash_id not in known:
                raise self.deny(404, f"No template {hash_id}", "no_such_template")
            changed = {"template": hash_id, "image": known[hash_id]["image"], **changed}
        machine.data.update(changed)
        return JSONResponse({"success": True, "updated_instance": {"id": int(instance_id), **changed}})

    def _made_template(self, account: Account, ident: int, body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("name") or not body.get("image"):
            raise self.deny(400, "name and image are needed")
        fields = {name: value for name, value in body.items() if name not in ("id", "hash_id")}
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]
        return {**fields, "id": ident, "hash_id": digest, "creator_id": self.user_row(account)["id"]}

    def _my_template(self, account: Account, hash_id: object, ident: object) -> dict[str, Any]:
        for row in self._my_templates(account):
            if hash_id in (None, row["hash_id"]) and ident in (None, row["id"]) and (hash_id or ident):
                return row
        raise self.deny(404, "No such template of yours", "no_such_template")

    def known_templates(self, account: Account) -> list[dict[str, Any]]:
        """Return the account's and the public templates."""
        return [*self._my_templates(account), *_PUBLIC]

    @staticmethod
    def _my_templates(account: Account) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = account.data.setdefault("templates", [])
        return result

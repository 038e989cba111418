"""Vast's list of instances: filters, columns, pages; and one instance by itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.cloud import Cloud, Machine, Phase
from gpunb.sim.vast.rows import FILTERABLE, instance_row

if TYPE_CHECKING:
    from gpunb.sim.cloud import Refusal
    from gpunb.sim.money import Account

__all__ = ["InstanceList"]


class InstanceList(Cloud):
    """Routes ``instances``, for reading."""

    deny: Callable[..., Refusal]
    allow: Callable[..., Account]

    def row(self, machine: Machine) -> dict[str, Any]:
        """Return one instance in Vast's format."""
        return instance_row(machine, self.clock.now(), boot_seconds=self.boot_seconds)

    async def list_v0(self, request: Request) -> Response:
        """Refuse the list of v0 (swm#13, dstack#3969)."""
        self.allow(request, "instance_read")
        msg = "Use /api/v1/instances/"
        return JSONResponse({"success": False, "error": "deprecated_endpoint", "msg": msg}, 410)

    async def list_v1(self, request: Request) -> Response:
        """List instances in pages of at most 25."""
        account = self.allow(request, "instance_read")
        filters = self._json(request, "select_filters", {})
        columns = self._json(request, "select_cols", None)
        order = self._json(request, "order_by", [])
        limit = int(self._json(request, "limit", 25))
        limit = 5 if limit <= 0 else min(limit, 25)
        everything = [
            self.row(machine) for machine in self.listed(account) if machine.phase is not Phase.ENDED
        ]
        rows = everything
        for field, rule in filters.items():
            if field not in FILTERABLE:
                raise self.deny(400, f"can't filter by {field}")
            rows = [row for row in rows if _fits(row[field], rule)]
        for entry in reversed(order):
            column = entry.get("col")
            rows.sort(
                key=lambda row: str(row.get(column)) if column != "id" else row["id"],
                reverse=entry.get("dir") == "desc",
            )
        token = request.query_params.get("after_token")
        start = int(base64.urlsafe_b64decode(token)) if token else 0
        page = rows[start : start + limit]
        more = start + limit < len(rows)
        labels: dict[str, int] = {}
        for row in everything:
            labels[row["label"] or ""] = labels.get(row["label"] or "", 0) + 1
        if columns and columns != ["*"]:
            page = [{column: row.get(column) for column in columns} for row in page]
        return JSONResponse(
            {
                "success": True,
                "instances": page,
                "instances_found": len(rows),
                "total_instances": len(everything),
                "label_counts": labels,
                "next_token": base64.urlsafe_b64encode(str(start + limit).encode()).decode()
                if more
                else None,
            }
        )

    def _json(self, request: Request, name: str, default: Any) -> Any:
        text = request.query_params.get(name)
        if text is None:
            return default
        try:
            return json.loads(text)
        except ValueError:
            raise self.deny(400, f"{name} is not JSON") from None

    async def filters(self, request: Request) -> Response:
        """Return the columns that the list can be filtered by."""
        self.allow(request, "instance_read")
        return JSONResponse({"success": True, "filters": []})

    async def show(self, request: Request, instance_id: str) -> Response:
        """Return one instance; null if it is gone."""
        account = self.allow(request, "instance_read", instance_id)
        machine = self.machines.get(instance_id)
        if machine is None or machine.account is not account or machine.phase is Phase.ENDED:
            return JSONResponse({"instances": None})
        return JSONResponse({"instances": self.row(machine)})


def _fits(value: Any, rule: Any) -> bool:
    if not isinstance(rule, dict):
        return False
    tests: dict[str, Callable[[Any], bool]] = {
        "eq": lambda wanted: str(value) == str(wanted),
        "neq": lambda wanted: str(value) != str(wanted),
        "in": lambda wanted: str(value) in [str(one) for one in wanted],
        "notin": lambda wanted: str(value) not in [str(one) for one in wanted],
        "gte": lambda wanted: value >= wanted,
        "lte": lambda wanted: value <= wanted,
    }
    return all(tests.get(operator, lambda _: False)(wanted) for operator, wanted in rule.items())

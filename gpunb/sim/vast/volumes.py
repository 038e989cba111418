"""Volumes of the simulated Vast: disks that are billed until they are deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.cloud import Cloud, Phase
from gpunb.sim.vast import market

if TYPE_CHECKING:
    from gpunb.sim.cloud import Refusal
    from gpunb.sim.money import Account

__all__ = ["VolumeRoutes"]


_STILL_IN_USE_S = 30.0


class VolumeRoutes(Cloud):
    """Routes under ``/volumes/``."""

    volume_offers: dict[str, dict[str, Any]]
    next_id: Callable[[], int]
    deny: Callable[..., Refusal]
    body: Callable[[Request], Any]
    allow: Callable[..., Account]

    def volume_routes(self) -> list[tuple[str, str, Any, str]]:
        """List method, path, handler and endpoint's name."""
        return [
            ("POST", "/volumes/search/", self.search_volumes, "search-volumes"),
            ("POST", "/network_volumes/search/", self.search_volumes, "search-volumes"),
            ("PUT", "/volumes/", self.create_volume, "create-volume"),
            ("PUT", "/network_volumes/", self.create_volume, "create-volume"),
            ("GET", "/volumes/", self.list_volumes, "list-volumes"),
            ("GET", "/volumes", self.list_volumes, "list-volumes"),
            ("DELETE", "/volumes/", self.delete_volume, "delete-volume"),
            ("POST", "/volumes/copy/", self.clone_volume, "clone-volume"),
        ]

    async def search_volumes(self, request: Request) -> Response:
        """Search for disk to rent."""
        query = dict(await self.body(request))
        order, limit = query.pop("order", [["disk_space", "desc"]]), query.pop("limit", None)
        query.pop("allocated_storage", None)
        rows = [
            {**row, "verified": row["verification"] == "verified", "score": row["reliability2"]}
            for row in self.volume_offers.values()
            if (row["machine_id"] is None) == ("network" in request.url.path)
        ]
        try:
            for field, rule in query.items():
                rows = [row for row in rows if market.matches(row, field, rule)]
            market.sort_rows(rows, order)
        except market.BadFilterError as err:
            raise self.deny(400, str(err)) from err
        return JSONResponse({"offers": rows[: int(limit)] if limit else rows})

    async def create_volume(self, request: Request) -> Response:
        """Rent a volume."""
        account, body = self.allow(request, "instance_write"), await self.body(request)
        ident = self._made(account, str(body.get("id")), body.get("size"), str(body.get("name") or ""))
        # a name with the number in it, and no volume_id (rent_volume.yaml)
        return JSONResponse({"success": True, "volume_name": f"V.{ident}"})

    def _made(self, account: Account, offer_id: str, size: Any, name: str) -> int:
        offer = self.volume_offers.get(offer_id)
        if offer is None:
            raise self.deny(404, f"No such ask {offer_id}", "no_such_ask")
        if not isinstance(size, (int, float)) or not 1 <= size <= offer["disk_space"]:
            raise self.deny(400, f"size {size!r} must be between 1 and {offer['disk_space']}")
        ident, now = self.next_id(), self.clock.now()
        usd_h = size * offer["storage_cost"] / market.HOURS_A_MONTH
        self._volumes(account)[ident] = {
            **offer,
            "id": ident,
            "label": name or f"volume_{ident}",
            "disk_space": float(size),
            "storage_total_cost": usd_h,
            "status": "ready",
            "start_date": now,
        }
        account.bill(f"volume-{ident}", name).open("disk", usd_h, now)
        return ident

    async def list_volumes(self, request: Request) -> Response:
        """List the account's volumes, with the instances on them."""
        account = self.allow(request, "instance_read")
        rows = [
            {**row, "instances": [{"id": user} for user in self._users(account, ident)]}
            for ident, row in self._volumes(account).items()
        ]
        return JSONResponse({"success": True, "volumes": rows})

    async def delete_volume(self, request: Request) -> Response:
        """Delete a volume that no instance is on."""
        account = self.allow(request, "instance_write")
        text = request.query_params.get("id", "")
        ident = int(text) if text.isdecimal() else -1
        if ident not in self._volumes(account):
            raise self.deny(404, f"No volume {text}", "no_such_volume")
        if self._users(account, ident, ended_s=_STILL_IN_USE_S):
            raise self.deny(400, "Destroy the instances that use the volume first", "volume_in_use")
        del self._volumes(account)[ident]
        account.bill(f"volume-{ident}").close(self.clock.now())
        return JSONResponse({"success": True})

    async def clone_volume(self, request: Request) -> Response:
        """Copy a volume to another offer."""
        account, body = self.allow(request, "instance_write"), await self.body(request)
        source = self._volumes(account).get(body.get("src_id"))
        if source is None:
            raise self.deny(404, f"No volume {body.get('src_id')}", "no_such_volume")
        size = body.get("size") or source["disk_space"]
        if size < source["disk_space"]:
            raise self.deny(400, "the copy must not be smaller")
        ident = self._made(account, str(body.get("dst_id")), size, f"{source['label']}_copy")
        return JSONResponse({"success": True, "volume_id": ident})

    @staticmethod
    def _volumes(account: Account) -> dict[int, dict[str, Any]]:
        result: dict[int, dict[str, Any]] = account.data.setdefault("volumes", {})
        return result

    def _users(self, account: Account, volume_id: int, *, ended_s: float = 0.0) -> list[int]:
        """Return the instances on it; those that ended less than `ended_s` ago, too."""
        since = self.clock.now() - ended_s
        return [
            int(machine.id)
            for machine in self.machines.values()
            if machine.account is account
            and (machine.phase is not Phase.ENDED or (ended_s and machine.phase_at > since))
            and (machine.data.get("volume_info") or {}).get("volume_id") == volume_id
        ]

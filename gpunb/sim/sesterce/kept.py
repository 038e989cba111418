"""What Sesterce keeps for an account: SSH keys and volumes."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.cloud import Cloud
from gpunb.sim.sesterce.bodies import KeyIn, VolumeIn

if TYPE_CHECKING:
    from gpunb.sim.catalog import Rig
    from gpunb.sim.money import Account

__all__ = ["CLOUDS", "KeysAndVolumes", "iso"]

#: The clouds behind Sesterce: id and name.
CLOUDS: tuple[tuple[str, str], ...] = (
    ("64f0c1a2b3d4e5f601020304", "Nebius"),
    ("64f0c1a2b3d4e5f601020305", "Scaleway"),
    ("64f0c1a2b3d4e5f601020306", "Hyperstack"),
)
VOLUME_USD_GB_H = 0.0001


class KeysAndVolumes(Cloud):
    """Routes ``ssh-keys`` and ``volumes``."""

    offers: dict[str, tuple[Rig, dict[str, Any]]]

    async def list_keys(self, request: Request) -> Response:
        """List the account's keys."""
        return JSONResponse(self.kept_rows(self.login(request), "ssh_keys"))

    async def add_key(self, request: Request, body: KeyIn) -> Response:
        """Add a key; the first one is the default."""
        known, now = self.kept_rows(self.login(request), "ssh_keys"), iso(self.clock.now())
        row = {
            "_id": f"{self.rng.getrandbits(96):024x}",
            "name": body.name,
            "publicKey": body.publicKey,
            "isDefault": not known,
            "createdAt": now,
            "updatedAt": now,
        }
        known.append(row)
        return JSONResponse(row, 201)

    async def delete_key(self, request: Request, key_id: str) -> Response:
        """Delete a key; 204."""
        self._take(self.kept_rows(self.login(request), "ssh_keys"), key_id, "SSH key")
        return Response(status_code=204)

    async def default_key(self, request: Request, key_id: str) -> Response:
        """Set the key that a create without a key gets."""
        known = self.kept_rows(self.login(request), "ssh_keys")
        if not any(row["_id"] == key_id for row in known):
            raise self.refuse(404, "SSH key not found")
        for row in known:
            row["isDefault"] = row["_id"] == key_id
        return JSONResponse(next(row for row in known if row["isDefault"]))

    async def volume_offers(self, request: Request) -> Response:
        """List the offers of volumes by cloud."""
        self.login(request)
        regions: dict[str, set[str]] = {}
        for _, row in self.offers.values():
            regions.setdefault(row["cloud"]["_id"], set()).update(
                one["region"] for one in row["availability"]
            )
        return JSONResponse(
            [
                {
                    "cloudProvider": {"_id": cloud_id, "displayName": name},
                    "minSizeInGb": 10,
                    "pricePerGbPerHour": f"{VOLUME_USD_GB_H}",
                    "regions": sorted(regions.get(cloud_id, ())),
                }
                for cloud_id, name in CLOUDS
            ]
        )

    async def create_volume(self, request: Request, body: VolumeIn) -> Response:
        """Make a volume, billed from now on."""
        account, now = self.login(request), self.clock.now()
        if body.sizeInGb < 10:
            raise self.refuse(400, "sizeInGb must be at least 10")
        row = {
            "_id": f"{self.rng.getrandbits(96):024x}",
            "user": account.user,
            "name": body.name,
            "sizeInGb": body.sizeInGb,
            "cloudProvider": body.cloudProvider,
            "region": body.region,
            "createdAt": iso(now),
            "updatedAt": iso(now),
        }
        self.kept_rows(account, "volumes").append(row)
        account.bill(str(row["_id"]), body.name).open("volume", body.sizeInGb * VOLUME_USD_GB_H, now)
        return JSONResponse(row, 201)

    async def list_volumes(self, request: Request) -> Response:
        """List all volumes."""
        return JSONResponse(self.kept_rows(self.login(request), "volumes"))

    async def get_volume(self, request: Request, volume_id: str) -> Response:
        """Return a volume."""
        known = self.kept_rows(self.login(request), "volumes")
        row = next((row for row in known if row["_id"] == volume_id), None)
        if row is None:
            raise self.refuse(404, "Volume not found")
        return JSONResponse(row)

    async def delete_volume(self, request: Request, volume_id: str) -> Response:
        """Delete a volume; its bill ends."""
        account = self.login(request)
        self._take(self.kept_rows(account, "volumes"), volume_id, "Volume")
        account.bill(volume_id).close(self.clock.now())
        return Response(status_code=204)

    def _take(self, known: list[dict[str, Any]], wanted: str, what: str) -> None:
        row = next((row for row in known if row["_id"] == wanted), None)
        if row is None:
            raise self.refuse(404, f"{what} not found")
        known.remove(row)

    @staticmethod
    def kept_rows(account: Account, name: str) -> list[dict[str, Any]]:
        """Return what is kept under `name`, "ssh_keys" or "volumes"; a list to be changed in place."""
        rows: list[dict[str, Any]] = account.data.setdefault(name, [])
        return rows


def iso(at: float) -> str:
    """Format a time as Sesterce does."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Account routes of the simulated Vast: user, keys, variables, charges."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.cloud import Cloud

if TYPE_CHECKING:
    from gpunb.sim.cloud import Refusal
    from gpunb.sim.money import Account

__all__ = ["AccountRoutes"]

_CATEGORIES = frozenset(
    [
        "misc",
        "user_read",
        "user_write",
        "instance_read",
        "instance_write",
        "billing_read",
        "billing_write",
        "machine_read",
        "machine_write",
        "team_read",
        "team_write",
    ]
)
_ITEMS = {"gpu": "gpu", "disk": "disk", "bwd": "bwd", "bwu": "bwu"}


class AccountRoutes(Cloud):
    """Routes that concern the account and not one instance."""

    scopes: dict[str, tuple[frozenset[str], str | None]]
    owners: dict[str, Account]
    offers: dict[str, dict[str, Any]]
    next_id: Callable[[], int]
    charges_late_s: float
    deny: Callable[..., Refusal]
    body: Callable[[Request], Any]
    allow: Callable[..., Account]

    def account_routes(self) -> list[tuple[str, str, Any, str]]:
        """List method, path, handler and endpoint's name."""
        return [
            ("GET", "/users/current", self.user, "check"),
            ("GET", "/users/current/", self.user, "check"),
            ("GET", "/ssh/", self.ssh_keys, "ssh-keys"),
            ("POST", "/ssh/", self.add_ssh_key, "add-ssh-key"),
            ("PUT", "/ssh/{key_id}/", self.update_ssh_key, "update-ssh-key"),
            ("DELETE", "/ssh/{key_id}/", self.delete_ssh_key, "delete-ssh-key"),
            ("GET", "/secrets/", self.env_vars, "env-vars"),
            ("POST", "/secrets/", self.add_env_var, "add-env-var"),
            ("PUT", "/secrets/", self.update_env_var, "update-env-var"),
            ("DELETE", "/secrets/", self.delete_env_var, "delete-env-var"),
            ("GET", "/auth/apikeys/", self.api_keys, "list-keys"),
            ("POST", "/auth/apikeys/", self.add_api_key, "add-key"),
            ("GET", "/auth/apikeys/{key_id}/", self.api_key, "show-key"),
            ("DELETE", "/auth/apikeys/{key_id}/", self.delete_api_key, "delete-key"),
            ("PUT", "/commands/reset_apikey/", self.reset_api_key, "reset-key"),
            ("GET", "/machines/{machine_id}/reports/", self.reports, "reports"),
            ("GET", "/charges/", self.charges, "charges"),
        ]

    async def user(self, request: Request) -> Response:
        """Return the user and the credit."""
        return JSONResponse({**self.user_row(self.allow(request, "user_read")), "key_id": 1})

    def user_row(self, account: Account) -> dict[str, Any]:
        """Return one account; a sub-account names the one that it belongs to."""
        parent: Account | None = account.data.get("parent")
        return {
            "id": account.data.get("id", 4711),
            "username": account.user,
            "email": account.data.get("email", f"{account.user}@example.org"),
            "credit": account.balance(self.clock.now()),
            "balance": 0.0,
            "api_key": account.key,
            "ssh_key": "",
            "balance_threshold_enabled": False,
            **({} if parent is None else {"parent_id": parent.data.get("id", 4711)}),
        }

    # -- SSH keys ----------------------------------------------------------------------

    async def ssh_keys(self, request: Request) -> Response:
        """List the SSH keys, as a bare list."""
        return JSONResponse(self._ssh_keys(self.allow(request, "user_read")))

    async def add_ssh_key(self, request: Request) -> Response:
        """Add an SSH key for instances that are made later."""
        account = self.allow(request, "user_write")
        line = str((await self.body(request)).get("ssh_key") or "").strip()
        if not line.startswith(("ssh-", "ecdsa-", "sk-")):
            raise self.deny(400, "ssh_key is not a public key")
        row = {"id": self.next_id(), "ssh_key": line, "public_key": line, "created_at": self.clock.now()}
        self._ssh_keys(account).append(row)
        return JSONResponse({"success": True, "key": row})

    async def update_ssh_key(self, request: Request, key_id: int) -> Response:
        """Replace the key with this number."""
        row = self._ssh_key(self.allow(request, "user_write"), key_id)
        row["ssh_key"] = row["public_key"] = str((await self.body(request)).get("ssh_key") or "")
        return JSONResponse({"success": True})

    async def delete_ssh_key(self, request: Request, key_id: int) -> Response:
        """Delete an SSH key."""
        account = self.allow(request, "user_write")
        self._ssh_keys(account).remove(self._ssh_key(account, key_id))
        return JSONResponse({"success": True})

    def _ssh_key(self, account: Account, key_id: int) -> dict[str, Any]:
        result = next((row for row in self._ssh_keys(account) if row["id"] == key_id), None)
        if result is None:
            raise self.deny(404, f"No key {key_id}", "no_such_key")
        return result

    @staticmethod
    def _ssh_keys(account: Account) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = account.data.setdefault("ssh_keys", [])
        return result

    # -- variables -----------------------------------------------------------------------

    async def env_vars(self, request: Request) -> Response:
        """List the variables' names and values."""
        return JSONResponse({"success": True, "secrets": self._secrets(self.allow(request, "user_read"))})

    async def add_env_var(self, request: Request) -> Response:
        """Add a variable; its name is put into capitals."""
        account, body = self.allow(request, "user_write"), await self.body(request)
        name = str(body.get("key") or "").upper()
        if not name or name in self._secrets(account):
            raise self.deny(400, f"variable {name!r} exists or has no name")
        self._secrets(account)[name] = str(body.get("value"))
        return JSONResponse({"success": True, "msg": f"Environment variable {name} created"})

    async def update_env_var(self, request: Request) -> Response:
        """Change an existing variable."""
        account, body = self.allow(request, "user_write"), await self.body(request)
        name = str(body.get("key") or "").upper()
        if name not in self._secrets(account):
            raise self.deny(404, f"no variable {name!r}", "no_such_secret")
        self._secrets(account)[name] = str(body.get("value"))
        return JSONResponse({"success": True})

    async def delete_env_var(self, request: Request) -> Response:
        """Delete an existing variable."""
        account, body = self.allow(request, "user_write"), await self.body(request)
        if self._secrets(account).pop(str(body.get("key") or "").upper(), None) is None:
            raise self.deny(404, "no such variable", "no_such_secret")
        return JSONResponse({"success": True})

    @staticmethod
    def _secrets(account: Account) -> dict[str, str]:
        result: dict[str, str] = account.data.setdefault("secrets", {})
        return result

    # -- API keys --------------------------------------------------------------------------

    async def api_keys(self, request: Request) -> Response:
        """List the API keys without the secrets."""
        account = self.allow(request, "user_read")
        rows = account.data.setdefault("api_keys", [])
        return JSONResponse({"apikeys": [{k: v for k, v in row.items() if k != "key"} for row in rows]})

    async def add_api_key(self, request: Request) -> Response:
        """Make a key with categories; it is shown this once."""
        account, body = self.allow(request, "user_write"), await self.body(request)
        permissions = body.get("permissions") or {"api": {name: {} for name in _CATEGORIES}}
        wanted = permissions.get("api") if isinstance(permissions, dict) else None
        if not isinstance(wanted, dict) or not wanted or set(wanted) - _CATEGORIES:
            raise self.deny(400, "permissions must be {'api': {category: {}}}")
        value = f"sim-key-{self.rng.getrandbits(128):032x}"
        row = {
            "id": self.next_id(),
            "name": str(body.get("name") or ""),
            "permissions": permissions,
            "key": value,
            "created_at": self.clock.now(),
        }
        account.data.setdefault("api_keys", []).append(row)
        self.owners[value] = account
        self.scopes[value] = (frozenset(wanted), None)
        return JSONResponse({"success": True, **row})

    async def api_key(self, request: Request, key_id: int) -> Response:
        """Return an API key without the secret."""
        row = self._api_key(self.allow(request, "user_read"), key_id)
        return JSONResponse({name: value for name, value in row.items() if name != "key"})

    async def reset_api_key(self, request: Request) -> Response:
        """Replace the account's first key; the new one is shown on Vast's page only."""
        account = self.allow(request, "user_write")
        self.accounts.pop(account.key, None)
        account.key = f"sim-{self.name}-{self.rng.getrandbits(64):016x}"
        self.accounts[account.key] = account
        return JSONResponse({"success": True, "msg": "API key reset"})

    async def delete_api_key(self, request: Request, key_id: int) -> Response:
        """Revoke a key."""
        account = self.allow(request, "user_write")
        row = self._api_key(account, key_id)
        account.data["api_keys"].remove(row)
        self.owners.pop(row["key"], None)
        return JSONResponse({"success": True})

    def _api_key(self, account: Account, key_id: int) -> dict[str, Any]:
        rows: list[dict[str, Any]] = account.data.setdefault("api_keys", [])
        result = next((row for row in rows if row["id"] == key_id), None)
        if result is None:
            raise self.deny(404, f"No key {key_id}", "no_such_key")
        return result

    # -- shared information --------------------------------------------------------------------

    async def reports(self, request: Request, machine_id: int) -> Response:
        """Return one report for every third machine."""
        self.allow(request, "misc")
        row = {
            "problem": "slow network",
            "message": "pull took 40 min",
            "created_at": self.clock.now() - 86_400,
        }
        return JSONResponse([row] if machine_id % 3 == 0 else [])

    async def charges(self, request: Request) -> Response:
        """Return charges by instance and kind, until now; without those younger than `charges_late_s`."""
        account, now = self.allow(request, "billing_read"), self.clock.now()
        rows = []
        for ident, bill in account.bills.items():
            kinds = bill.by_kind(now)
            volume = ident.startswith("volume-")
            items = [
                {"type": _ITEMS.get(kind, kind), "amount": usd, "description": kind}
                for kind, usd in kinds.items()
            ]
            start = min((part.start for part in bill.segments), default=now)
            if self.charges_late_s and start > now - self.charges_late_s:
                continue
            ends = [part.end for part in bill.segments]
            rows.append(
                {
                    "source": ident if volume else f"instance-{ident}",
                    "type": "volume" if volume else "instance",
                    "amount": sum(kinds.values()),
                    "metadata": {"label": bill.label},
                    "start": start,
                    "end": None if None in ends else max((end for end in ends if end), default=now),
                    "items": items,
                }
            )
        limit = min(int(request.query_params.get("limit") or 20), 500)
        start_at = int(request.query_params.get("after_token") or 0)
        page = rows[start_at : start_at + limit]
        more = start_at + limit < len(rows)
        return JSONResponse(
            {
                "success": True,
                "results": page,
                "count": len(page),
                "total": len(rows),
                "next_token": str(start_at + limit) if more else None,
            }
        )

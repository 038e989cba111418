"""Records of an account on the simulated Vast: invoices, audit log, addresses, sub-accounts.

Shapes: the invoices of Vast's OpenAPI document (``show_invoices_v1``), the rest as the published client
``vastai`` 1.9.1 reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.cloud import Cloud
from gpunb.sim.money import Account
from gpunb.sim.vast import market

if TYPE_CHECKING:
    from gpunb.sim.cloud import Machine, Refusal

__all__ = ["PaperRoutes"]

_HERE = "198.51.100.7"


class PaperRoutes(Cloud):
    """Routes that only read, and those of sub-accounts."""

    offers: dict[str, dict[str, Any]]
    next_id: Callable[[], int]
    deny: Callable[..., Refusal]
    body: Callable[[Request], Any]
    allow: Callable[..., Account]
    user_row: Callable[[Account], dict[str, Any]]

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.opened = self.clock.now()

    def paper_routes(self) -> list[tuple[str, str, Any, str]]:
        """List method, path, handler and endpoint's name."""
        return [
            ("GET", "/api/v1/invoices/", self.invoices_v1, "invoices"),
            ("GET", "/invoices", self.search_invoices, "search-invoices"),
            ("GET", "/users/me/invoices", self.invoices_v0, "old-invoices"),
            ("POST", "/contracts/fetch/", self.contracts, "contracts"),
            ("GET", "/audit_logs/", self.audit_logs, "audit-logs"),
            ("GET", "/users/me/ipaddrs", self.addresses, "ipaddrs"),
            ("GET", "/subaccounts", self.subaccounts, "subaccounts"),
            ("GET", "/subaccounts/", self.subaccounts, "subaccounts"),
            ("POST", "/users/", self.add_subaccount, "add-subaccount"),
            ("PUT", "/users/", self.update_user, "update-user"),
            ("PUT", "/commands/transfer_credit/", self.transfer_credit, "transfer-credit"),
            ("GET", "/tfa/status/", self.two_factor, "tfa-status"),
            ("GET", "/benchmarks", self.benchmarks, "benchmarks"),
            ("GET", "/instance_backups/", self.backups, "backups"),
        ]

    # -- invoices: payments, not charges ---------------------------------------------------

    async def invoices_v1(self, request: Request) -> Response:
        """List payments between two moments, which are required, in pages."""
        account = self.allow(request, "billing_read")
        when = self._filters(request).get("when")
        if not isinstance(when, dict) or not {"gte", "lte"} <= set(when):
            page = {"count": 0, "total": 0, "results": [], "next_token": None}
            return JSONResponse({"success": False, "error": "Invalid date range", **page})
        rows = [row for row in self._payments(account) if when["gte"] <= row["start"] <= when["lte"]]
        query = request.query_params
        if query.get("latest_first") == "true":
            rows.reverse()
        limit, start = min(int(query.get("limit") or 20), 100), int(query.get("after_token") or 0)
        page_rows = rows[start : start + limit]
        more = str(start + limit) if start + limit < len(rows) else None
        count = {"count": len(page_rows), "total": len(rows), "next_token": more}
        return JSONResponse({"success": True, **count, "results": page_rows})

    def _payments(self, account: Account) -> list[dict[str, Any]]:
        """Return the payments, as negative amounts: the account owes so much less."""
        paid = [(self.opened, "credit", "stripe", "Manual Billing from VISA ...4242", account.deposit)]
        paid += [
            (self.opened, "reserved", "reserved", f"Prepayment of instance {ident}", -usd)
            for ident, usd in account.held.items()
        ]
        return [
            {
                "start": at,
                "end": at,
                "type": kind,
                "source": source,
                "description": text,
                "amount": -usd,
                "metadata": {"invoice_id": 900_000 + number, "service": "stripe_payments"},
                "items": [],
            }
            for number, (at, kind, source, text, usd) in enumerate(paid)
            if usd
        ]

    async def search_invoices(self, request: Request) -> Response:
        """Search the invoices; a bare list."""
        rows = [
            {"id": row["metadata"]["invoice_id"], "when": row["start"], "amount_cents": -100 * row["amount"]}
            for row in self._payments(self.allow(request, "billing_read"))
        ]
        for field, rule in self._filters(request).items():
            rows = [row for row in rows if field not in row or market.matches({"": 0, **row}, field, rule)]
        return JSONResponse(rows)

    async def invoices_v0(self, request: Request) -> Response:
        """Return the old list: payments and charges in one, and what is open now."""
        account, now = self.allow(request, "billing_read"), self.clock.now()
        query = request.query_params
        begin, end = float(query.get("sdate") or 0), float(query.get("edate") or now)
        rows: list[dict[str, Any]] = [
            {
                "id": row["metadata"]["invoice_id"],
                "description": row["description"],
                "quantity": 1,
                "rate": -row["amount"],
                "amount": -row["amount"],
                "timestamp": row["start"],
                "type": "payment",
            }
            for row in self._payments(account)
        ]
        if query.get("inc_charges", "true").lower() == "true":
            rows += self._charges(account, now)
        spent = account.spent(now)
        return JSONResponse(
            {
                "invoices": [row for row in rows if begin <= row["timestamp"] <= end],
                "current": {"charges": spent, "service_fee": 0.0, "total": spent, "credit": account.deposit},
            }
        )

    @staticmethod
    def _charges(account: Account, now: float) -> list[dict[str, Any]]:
        return [
            {
                "instance_id": None if ident.startswith("volume-") else int(ident),
                "description": f"{ident} {part.kind}",
                "quantity": f"{(min(part.end or now, now) - part.start) / 3600:.3f}",
                "rate": f"{part.usd_h:.4f}",
                "amount": f"{part.usd(now):.6f}",
                "timestamp": part.start,
                "type": "charge",
            }
            for ident, bill in account.bills.items()
            for part in bill.segments
        ]

    async def contracts(self, request: Request) -> Response:
        """List instances by label or number, ended ones too."""
        account, body = self.allow(request, "instance_read"), await self.body(request)
        ids = {str(ident) for ident in body.get("contract_ids") or []}
        mine: list[Machine] = [machine for machine in self.machines.values() if machine.account is account]
        rows = [
            {"id": int(machine.id), "label": machine.label}
            for machine in mine
            if body.get("label") in (None, machine.label) and (not ids or machine.id in ids)
        ]
        return JSONResponse({"success": True, "contracts": rows})

    # -- audit log, addresses, two-factor ------------------------------------------------------

    async def audit_logs(self, request: Request) -> Response:
        """List the calls that changed something, as a bare list, newest first."""
        self.allow(request, "user_read")
        rows = [
            {
                "ip_address": _HERE,
                "api_key_id": 1,
                "created_at": call.at,
                "api_route": f"{call.method} {call.path}",
                "args": "{}",
            }
            for call in reversed(self.calls)
            if call.method != "GET"
            and call.path.startswith("/api/")
            and not call.endpoint.startswith("search")
        ]
        return JSONResponse(rows)

    async def addresses(self, request: Request) -> Response:
        """Return the one address that the requests come from."""
        self.allow(request, "user_read")
        day = datetime.fromtimestamp(self.opened, timezone.utc).isoformat()
        seen = {"first_seen": day, "first_location": "Reykjavik, IS"}
        row = {"id": 1, "user_id": 4711, "ip": _HERE, "ip_address": _HERE, "timestamp": day, **seen}
        return JSONResponse({"success": True, "results": [row]})

    async def two_factor(self, request: Request) -> Response:
        """Return none: calls that need a code can't be tried in the simulation."""
        self.allow(request, "user_read")
        answer = {"tfa_enabled": False, "methods": [], "backup_codes_remaining": 0}
        return JSONResponse({"success": True, **answer, "new_method_authorized": False})

    # -- sub-accounts: each spends its own credit ----------------------------------------------

    async def subaccounts(self, request: Request) -> Response:
        """List the sub-accounts of this account."""
        account = self.allow(request, "user_read")
        mine = [one for one in self.accounts.values() if one.data.get("parent") is account]
        return JSONResponse({"users": [self.user_row(one) for one in mine]})

    async def add_subaccount(self, request: Request) -> Response:
        """Make a sub-account without credit, with a key of its own."""
        account, body = self.allow(request, "user_write"), await self.body(request)
        name, email = str(body.get("username") or ""), str(body.get("email") or "")
        if not name or not email or body.get("parent_id") != "me":
            raise self.deny(400, "email, username and password are needed")
        if any(one.user == name for one in self.accounts.values()):
            raise self.deny(409, f"username {name} is taken")
        key, ident = f"sim-vast-{self.rng.getrandbits(64):016x}", self.next_id()
        made = Account(key, user=name, deposit=0.0, data={"id": ident, "email": email, "parent": account})
        self.accounts[key] = made
        return JSONResponse({"id": ident, "username": name, "email": email, "key_id": self.next_id()})

    async def update_user(self, request: Request) -> Response:
        """Change the user's data, except money and keys."""
        account, body = self.allow(request, "user_write"), await self.body(request)
        account.data.setdefault("profile", {}).update(body)
        return JSONResponse(self.user_row(account))

    async def transfer_credit(self, request: Request) -> Response:
        """Transfer credit to another account, by its e-mail address or number."""
        account, body = self.allow(request, "billing_write"), await self.body(request)
        amount, wanted = body.get("amount"), str(body.get("recipient"))
        if not isinstance(amount, (int, float)) or not 0 < amount <= account.balance(self.clock.now()):
            raise self.deny(400, "amount must be above 0 and at most your credit")
        for other in self.accounts.values():
            row = self.user_row(other)
            if wanted in (row["email"], str(row["id"])):
                account.deposit -= amount
                other.deposit += amount
                return JSONResponse({"success": True})
        raise self.deny(400, f"No account {wanted}")

    # -- benchmarks and backups --------------------------------------------------------------

    async def benchmarks(self, request: Request) -> Response:
        """Return a benchmark row for every third machine, 200 a page."""
        self.allow(request, "misc")
        rows: list[dict[str, Any]] = [
            {
                # a machine's two rows get different numbers, derived from its offer's
                "benchmark_id": offer["id"],
                "machine_id": offer["machine_id"],
                "gpu_name": offer["gpu_name"],
                "num_gpus": offer["num_gpus"],
                "value": round(offer["dlperf"] * 3.1, 2),
                "dph_base": offer["dph_base"],
                "type": "llm",
                "template_hash": "a33b72bd045341cfcd678ce7c932a614",
                "template_id": 101,
                "contract_id": offer["id"],
                "image": "vastai/pytorch",
                "last_update": self.opened,
            }
            for offer in list(self.offers.values())[::3]
        ]
        try:
            for field, rule in self._filters(request).items():
                rows = [row for row in rows if market.matches(row, field, rule)]
        except market.BadFilterError as err:
            raise self.deny(400, str(err)) from err
        query = request.query_params
        for order in reversed(json.loads(query.get("order_by") or "[]")):
            rows.sort(key=itemgetter(order["col"]), reverse=order.get("dir") == "desc")
        limit, start = min(int(query.get("limit") or 200), 200), int(query.get("after_token") or 0)
        page = [{"id": row.pop("benchmark_id"), **row} for row in rows[start : start + limit]]
        more = str(start + limit) if start + limit < len(rows) else None
        return JSONResponse(
            {"success": True, "benchmarks": page, "benchmarks_found": len(rows), "next_token": more}
        )

    async def backups(self, request: Request) -> Response:
        """Return none: the simulation copies no disks."""
        self.allow(request, "instance_read")
        return JSONResponse({"success": True, "backups": []})

    def _filters(self, request: Request) -> dict[str, Any]:
        try:
            data = json.loads(request.query_params.get("select_filters") or "{}")
        except ValueError:
            raise self.deny(400, "select_filters is not JSON") from None
        return data if isinstance(data, dict) else {}

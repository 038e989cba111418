"""Simulated API of Vast.ai: the market, instances, keys, volumes, charges.

Shapes and codes from Vast's documentation and its published client ``vastai``
1.9.1, which works with this unchanged (``VAST_URL``). What is not documented
is answered in the plainest form that the client takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from gpunb.sim.catalog import rigs
from gpunb.sim.cloud import Cloud, Machine, Phase, Refusal
from gpunb.sim.vast import market
from gpunb.sim.vast.account import AccountRoutes
from gpunb.sim.vast.controls import ControlRoutes
from gpunb.sim.vast.copies import CopyRoutes
from gpunb.sim.vast.instances import InstanceRoutes
from gpunb.sim.vast.papers import PaperRoutes
from gpunb.sim.vast.serverless import ServerlessRoutes
from gpunb.sim.vast.templates import TemplateRoutes
from gpunb.sim.vast.volumes import VolumeRoutes
from gpunb.sim.vast.webhooks import WebhookRoutes

if TYPE_CHECKING:
    from gpunb.sim.faults import Fault
    from gpunb.sim.money import Account

__all__ = ["VastCloud"]


#: Rows of one answer, whatever limit is asked for.
MOST_ROWS = 64


class VastCloud(
    InstanceRoutes,
    ControlRoutes,
    VolumeRoutes,
    CopyRoutes,
    AccountRoutes,
    PaperRoutes,
    TemplateRoutes,
    ServerlessRoutes,
    WebhookRoutes,
    Cloud,
):
    """The simulation of Vast.ai's market of hosts."""

    name: ClassVar[str] = "vast"
    title: ClassVar[str] = "Vast.ai"
    boot_s: ClassVar[float] = 60.0
    usual_offers: ClassVar[int] = 200
    #: ``x-rate-limit`` of Vast's OpenAPI; search is counted by the minute instead
    intervals: ClassVar[dict[str, float]] = {
        "create": 4.5,
        "launch": 5.0,
        "destroy": 3.0,
        "get": 2.0,
        "list": 1.0,
        "state": 1.0,
        "state-many": 2.0,
        "reboot": 1.0,
        "recycle": 1.0,
        "bid": 5.5,
        "execute": 1.5,
        "connections": 2.9,
        "add-ssh-key": 1.0,
        "charges": 1.0,
        "invoices": 3.0,
        "env-vars": 5.0,
        "add-env-var": 3.0,
        "add-key": 2.0,
        "prepay": 3.0,
        "create-volume": 5.5,
        "delete-volume": 5.5,
        "rsync": 3.5,
        "cancel-rsync": 3.5,
        "search-invoices": 3.0,
        "audit-logs": 2.0,
        "tfa-status": 1.0,
        "subaccounts": 2.1,
    }
    searches_a_minute: ClassVar[int] = 10
    #: seconds until a machine's charges show; an hour in the world, none here unless it is set
    charges_late_s: float = 0.0
    #: how long unpaid disks are kept
    unpaid_s: ClassVar[float] = 3600.0

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        now = self.clock.now()
        self.rigs = list(rigs(self.offer_count, self.seed))
        self.offers = {str(row["id"]): row for row in (market.offer_row(rig, now) for rig in self.rigs)}
        local = [market.volume_row(rig, now) for rig in self.rigs]
        self.volume_offers = {str(row["id"]): row for row in (*local, *market.network_rows(self.rigs, now))}
        #: a key's categories and the one instance that it may touch, where it is not a full key
        self.scopes: dict[str, tuple[frozenset[str], str | None]] = {}
        self.owners: dict[str, Account] = {}
        self._next_id = 20_000_000 + self.rng.randrange(1_000_000)
        self._searches: dict[str, list[float]] = {}

    def next_id(self) -> int:
        """Return a new number for an instance, a volume, a key."""
        self._next_id += 1 + self.rng.randrange(5)
        return self._next_id

    # -- refusals --------------------------------------------------------------------

    def refusal(self, status: int, message: str, error: str = "") -> Response:
        """Return an error as ``{"success": false, "error", "msg"}``."""
        word = error or {400: "invalid_args", 403: "forbidden", 404: "not_found"}.get(status, "server_error")
        return JSONResponse({"success": False, "error": word, "msg": message}, status)

    def deny(self, status: int, message: str, error: str = "") -> Refusal:
        """Return an error to raise: ``raise cloud.deny(404, "…", "no_such_ask")``."""
        return Refusal(self.refusal(status, message, error))

    def invalid(self, errors: list[dict[str, Any]], *_: object) -> Response:
        """Return 400 ``invalid_args`` with the first invalid field."""
        first = errors[0]
        return self.refusal(400, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")

    def wrong_key(self) -> Response:
        """Return 404, not 401 (AIonDemandCluster#1)."""
        return self.refusal(404, "Invalid or missing API key", "auth_error")

    def too_many(self, retry_after: float | None) -> Response:
        """Return a 429, mostly as plain text."""
        threshold = 2.0 if retry_after is None else retry_after
        answer = PlainTextResponse(f"API requests too frequent endpoint threshold={threshold:.1f}", 429)
        if retry_after is not None:
            answer.headers["Retry-After"] = f"{max(0.1, retry_after):.1f}"
        return answer

    def quota(self) -> Response:
        """Return the answer to a search beyond the day's quota, which is renewed at midnight UTC."""
        now = self.clock.now()
        answer = self.refusal(429, "Daily search quota exceeded", "search_quota_exceeded")
        answer.headers["X-RateLimit-Reset"] = str(int(now - now % 86_400 + 86_400))
        return answer

    def wrong_shape(self, endpoint: str) -> Response:
        """Return a success without the documented fields."""
        if endpoint == "create":
            return JSONResponse({"success": True})
        if endpoint == "list":
            # what old clients took for "no instances" (skypilot#10517)
            return JSONResponse({"success": True, "total_instances": 0})
        return super().wrong_shape(endpoint)

    # -- authentication ----------------------------------------------------------------

    def login(self, request: Request) -> Account:
        """Return the account of a full key, a scoped one, or an instance's own."""
        return self.owners.get(self.identity(request)) or super().login(request)

    def allow(self, request: Request, scope: str, instance_id: str | None = None) -> Account:
        """Return the account of the key, if the key may do this."""
        account = self.login(request)
        found = self.scopes.get(self.identity(request))
        if found is not None:
            scopes, only = found
            if scope not in scopes or (only is not None and instance_id != only):
                raise self.deny(403, f"API key lacks permission for {scope}")
        return account

    def machine(self, request: Request, instance_id: str, scope: str) -> Machine:
        """Return the instance, or raise 404 ``no_such_instance``."""
        account = self.allow(request, scope, instance_id)
        result = self.machines.get(instance_id)
        if result is None or result.account is not account or result.phase is Phase.ENDED:
            raise self.deny(404, f"Instance {instance_id} not found", "no_such_instance")
        return result

    def searched(self, request: Request) -> None:
        """Enforce the limit of ten searches a minute from one address."""
        who = self.identity(request) or (request.client.host if request.client else "")
        now = self.clock.now()
        recent = [at for at in self._searches.get(who, []) if at > now - 60]
        if self.limiter.enabled and len(recent) >= self.searches_a_minute:
            raise Refusal(self.too_many(recent[0] + 60 - now))
        self._searches[who] = [*recent, now]

    # -- money -------------------------------------------------------------------------

    def on_phase(self, machine: Machine, old: Phase, new: Phase, at: float) -> None:
        """Bill the GPU from running to stopped, the disk from create to destroy; nothing while offline."""
        self.tell(machine, new)
        bill, data = machine.bill, machine.data
        if new is Phase.RUNNING:
            data.pop("rebooting", None)
            bill.open("gpu", data["gpu_usd_h"] * (1 - data.get("discount", 0.0)), at)
            if not any(segment.kind == "disk" and segment.end is None for segment in bill.segments):
                bill.open("disk", data["disk_usd_h"], at)  # it was offline
            if data["keys"] and "key-late" not in machine.troubles and machine.host is not None:
                self._later(self.hosts.authorize, machine.host, list(data["keys"]))
        elif new is Phase.BOOTING and old is Phase.RUNNING and data.get("rebooting"):
            return  # it keeps its GPU, and pays for it
        elif new in (Phase.ENDING, Phase.ENDED, Phase.OFFLINE):
            bill.close(at)
        else:
            bill.close(at, "gpu")
        if new in (Phase.ENDING, Phase.ENDED):
            self.refund(machine, at)
            self.free(machine)

    def settle(self) -> None:
        """Bring machines, contracts and reservations up to the clock."""
        super().settle()
        now = self.clock.now()
        for machine in list(self.machines.values()):
            self.settle_contract(machine, now)
            self.settle_reservation(machine, now)

    def free(self, machine: Machine) -> None:
        """Make the offer of `machine` rentable again."""
        offer = machine.data["offer"]
        holder = offer.get("_holder")
        if holder == machine.id:
            offer.pop("_holder")
            offer["rented"] = False
            offer["rentable"] = True

    def check_funds(self, now: float) -> None:
        """Save the data of accounts that got credit in time."""
        for account in self.accounts.values():
            if account.balance(now) > 0:
                account.data.pop("broke_at", None)
        super().check_funds(now)

    def broke(self, account: Account, at: float) -> None:
        """Stop everything without destroying it: disks are billed on.

        ``account.data["card"] = False`` is an account without a saved payment method: after `unpaid_s` its
        instances are deleted with their data (Vast's page on billing, "Negative Balances", names no time).
        """
        since = account.data.setdefault("broke_at", at)
        if account.data.get("card") is False and self.clock.now() - since >= self.unpaid_s:
            super().broke(account, since + self.unpaid_s)
            return
        for machine in list(self.machines.values()):
            if machine.account is account and machine.phase in (Phase.RUNNING, Phase.BOOTING):
                machine.data["wanted"] = "stopped"
                machine.data["stop_reason"] = "stopped: no credit"
                self.stop(machine)
                machine.bill.close(at, "gpu")

    def suffer(self, machine: Machine, fault: Fault) -> None:
        """Apply a fault: a host asks for more money; only interruptible instances are outbid."""
        if fault.kind == "price-increase":
            self.ask_for_more(machine, fault.number("factor", 1.5))
        elif fault.kind == "contract-end":
            machine.data["offer"]["end_date"] = self.clock.now() + fault.number("seconds", 0.0)
        elif fault.kind != "outbid" or machine.data["is_bid"]:
            super().suffer(machine, fault)

    # -- routes --------------------------------------------------------------------------

    def routes(self, app: FastAPI) -> None:
        """Add all endpoints that gpunb or the published client uses."""
        table = [
            ("POST", "/bundles/", self.search_offers, "search"),
            ("PUT", "/search/asks/", self.search_asks, "search"),
            ("GET", "/gpu_names/unique/", self.gpu_names, "gpu-names"),
            *self.control_routes(),  # before /instances/{id}/
            *self.instance_routes(),
            *self.volume_routes(),
            *self.account_routes(),
            *self.copy_routes(),
            *self.paper_routes(),
            *self.template_routes(),
            *self.serverless_routes(),
            *self.webhook_routes(),
        ]
        full = [
            (method, path if path.startswith("/api/") else f"/api/v0{path}", handler, name)
            for method, path, handler, name in table
        ]
        for method, path, handler, name in [*full, *self.autoscaler_routes()]:
            app.add_api_route(path, handler, methods=[method], name=name, response_model=None)

    async def gpu_names(self) -> Response:
        """List the GPU names; needs no key."""
        return JSONResponse({"gpu_names": sorted({row["gpu_name"] for row in self.offers.values()})})

    async def search_offers(self, request: Request) -> Response:
        """Search offers; needs no key."""
        return self._search(request, await self.body(request))

    async def search_asks(self, request: Request) -> Response:
        """Search offers with the filters under ``q``."""
        query = (await self.body(request)).get("q")
        return self._search(request, query if isinstance(query, dict) else {})

    async def body(self, request: Request) -> dict[str, Any]:
        """Return the JSON object of a request."""
        try:
            result = await request.json()
        except ValueError:
            raise self.deny(400, "body is not JSON") from None
        if not isinstance(result, dict):
            raise self.deny(400, "body must be an object")
        return result

    def _search(self, request: Request, query: dict[str, Any]) -> Response:
        self.searched(request)
        return JSONResponse({"offers": self.found_offers(query)})

    def found_offers(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the rows that fit, in order."""
        query = dict(query)
        order, limit = query.pop("order", [["score", "desc"]]), query.pop("limit", None)
        kind = {"ondemand": "on-demand", "interruptible": "bid"}.get(
            str(query.get("type")), query.get("type")
        )
        query.pop("type", None)
        query.pop("disable_bundling", None)
        if kind not in (None, "on-demand", "bid", "reserved"):
            raise self.deny(400, f"type {kind!r} is not known")
        try:
            storage = float(query.pop("allocated_storage", 5.0))
            now = self.clock.now()
            rows = [
                market.priced(row, kind=kind or "on-demand", storage_gb=storage, now=now)
                for row in self._free()
            ]
            for field, rule in query.items():
                rows = [row for row in rows if market.matches(row, field, rule)]
            market.sort_rows(rows, order)
            return rows[: min(int(limit or MOST_ROWS), MOST_ROWS)]
        except (market.BadFilterError, TypeError, ValueError) as err:
            raise self.deny(400, str(err)) from err

    def _free(self) -> list[dict[str, Any]]:
        # a rented offer is not shown at all
        return [row for row in self.offers.values() if "_holder" not in row]

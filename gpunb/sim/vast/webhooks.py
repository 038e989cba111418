"""Notification webhooks of the simulated Vast: made, listed, deleted, and called when machines change."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.cloud import Cloud, Machine, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.sim.cloud import Refusal
    from gpunb.sim.money import Account

__all__ = ["WebhookRoutes"]

MOST = 4
#: the kind of event that a phase is; kinds without an example on Vast's pages are ours
EVENTS = {
    Phase.RUNNING: "instance_started",
    Phase.STOPPED: "instance_stopped",
    Phase.OUTBID: "outbid",
    Phase.OFFLINE: "instance_offline",
    Phase.ENDED: "instance_deleted",
}


class WebhookRoutes(Cloud):
    """Routes of webhooks, and their calls."""

    next_id: Callable[[], int]
    deny: Callable[..., Refusal]
    body: Callable[[Request], Any]
    allow: Callable[..., Account]

    def webhook_routes(self) -> list[tuple[str, str, Any, str]]:
        """List method, path, handler and endpoint's name."""
        return [
            ("GET", "/webhooks/", self.webhooks, "webhooks"),
            ("POST", "/webhooks/", self.add_webhook, "add-webhook"),
            ("DELETE", "/webhooks/{webhook_id}/", self.delete_webhook, "delete-webhook"),
        ]

    async def webhooks(self, request: Request) -> Response:
        """List the webhooks, without their secrets."""
        rows = self._webhooks(self.allow(request, "user_read"))
        shown = [{key: value for key, value in row.items() if key != "webhook_secret"} for row in rows]
        return JSONResponse({"success": True, "webhooks": shown})

    async def add_webhook(self, request: Request) -> Response:
        """Make a webhook; the one answer that has its secret."""
        account = self.allow(request, "user_write")
        body = await self.body(request)
        url = str(body.get("webhook_url") or "")
        if not url.startswith(("https://", "http://127.0.0.1:", "http://[::1]:")):
            raise self.deny(400, "webhook_url must be an https URL")
        if not body.get("event_types"):
            raise self.deny(400, "event_types must not be empty")
        if len(self._webhooks(account)) >= MOST:
            raise self.deny(400, f"at most {MOST} webhooks")
        row = {
            "id": self.next_id(),
            "name": body.get("name"),
            "webhook_url": url,
            "event_types": list(body["event_types"]),
            "created_at": self.clock.now(),
            "webhook_secret": secrets.token_hex(32),
        }
        self._webhooks(account).append(row)
        return JSONResponse({"success": True, "webhook": row})

    async def delete_webhook(self, request: Request, webhook_id: int) -> Response:
        """Delete a webhook."""
        rows = self._webhooks(self.allow(request, "user_write"))
        rows[:] = [row for row in rows if row["id"] != webhook_id]
        return JSONResponse({"success": True})

    def tell(self, machine: Machine, new: Phase) -> None:
        """Call the webhooks that want to know, each in a thread: their answers are nobody's business."""
        kind = EVENTS.get(new)
        for row in self._webhooks(machine.account) if kind is not None else ():
            if f"client:{kind}" in row["event_types"]:
                message = f"Instance {machine.id}: {kind}"
                body = notification(str(kind), message, self.clock.now())
                threading.Thread(target=self.call, args=(row, body), daemon=True).start()

    def call(self, row: dict[str, Any], body: bytes, **more: str) -> int:
        """Call one webhook as Vast does, headers replaced by `more`; returns its status, 0 for none."""
        sent = {
            "Content-Type": "application/json",
            "X-Vast-Event-Id": json.loads(body).get("event_id", ""),
            "X-Vast-Delivery-Attempt": "1",
            **signed(row["webhook_secret"], body, f"{self.clock.now():.0f}"),
            **more,
        }
        try:
            url = row["webhook_url"]
            with httpx.Client(trust_env=False, timeout=10.0, verify=url.startswith("https:")) as client:
                return client.post(url, content=body, headers=sent).status_code
        except httpx.HTTPError:
            return 0

    @staticmethod
    def _webhooks(account: Account) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = account.data.setdefault("webhooks", [])
        return found


def signed(secret: str, body: bytes, stamp: str) -> dict[str, str]:
    """The headers that sign a call."""
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Vast-Timestamp": stamp, "X-Vast-Signature-256": f"sha256={digest}"}


def notification(kind: str, message: str, at: float) -> bytes:
    """The body of a call."""
    event = secrets.token_hex(16)
    return json.dumps(
        {
            "event_id": event,
            "user_id": 4711,
            "notif_type": kind,
            "subject": f"Vast.ai: {kind}",
            "message": message,
            "timestamp": at,
        }
    ).encode()

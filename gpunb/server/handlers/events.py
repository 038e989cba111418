"""The websocket of events: authenticated, same-origin, and send-only."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from gpunb import log

if TYPE_CHECKING:
    from gpunb.server.event_bus import Client
    from gpunb.server.hub import Hub

__all__ = ["ROUTES", "Events"]


class Events(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """``GET events``: the websocket of events."""

    auth_resource = "gpunb"
    client: Client | None = None
    _task: asyncio.Task[None] | None = None

    @property
    def hub(self) -> Hub:
        """The state that all handlers share."""
        return cast("Hub", self.settings["gpunb_hub"])

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Upgrade to a websocket, if the user may read."""
        allowed = await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "read", self.auth_resource)
        )
        if not allowed:
            raise web.HTTPError(403)
        coroutine = super().get(*args, **kwargs)
        if coroutine is not None:
            await coroutine

    def open(self, *args: Any, **kwargs: Any) -> None:
        """Start to send events."""
        super().open(*args, **kwargs)
        self.client = self.hub.feed.join(self._send)
        self._task = asyncio.ensure_future(self._serve(self.client))

    async def _send(self, text: str) -> None:
        await self.write_message(text)

    async def _serve(self, client: Client) -> None:
        try:
            await client.serve()
        except (WebSocketClosedError, asyncio.CancelledError):
            return
        except Exception:  # noqa: BLE001 - concerns one client only
            log.get(__name__).exception("events could not be sent")
            self.close(1011)
        finally:
            self.hub.feed.leave(client)

    def on_message(self, message: str | bytes) -> None:
        """Ignore messages from the client."""

    def on_close(self) -> None:
        """Remove the client from the event bus."""
        if self.client is not None:
            self.hub.feed.leave(self.client)
        if self._task is not None:
            self._task.cancel()

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ARG002
        """Send the error of a refused upgrade in the API's usual form."""
        body = {"message": "refused", "reason": "Forbidden", "hint": None, "bill": None}
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(body | ({} if status_code == 403 else {"reason": "HttpError"})))


ROUTES: list[tuple[str, type[Any]]] = [(r"/events", Events)]

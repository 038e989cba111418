"""An httpx transport that calls a simulated cloud's app in this thread, without a socket."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx

from gpunb.sim.serving.gate import IN_PROCESS, Hangs

if TYPE_CHECKING:
    from starlette.types import Message

    from gpunb.sim.cloud import Cloud

__all__ = ["InProcessTransport"]


class InProcessTransport(httpx.BaseTransport):
    """Transport that hands requests to `cloud`; safe to share by threads (the cloud has a lock).

    A request that hangs is answered at once with ``httpx.ReadTimeout``; a
    virtual clock moves on by the request's read timeout then.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Handle one request and return its whole answer."""
        body = request.read()
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": unquote(request.url.path),
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "server": (request.url.host, request.url.port),
            "client": ("127.0.0.1", 0),
            "root_path": "",
            IN_PROCESS: True,
        }
        messages: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            messages.append(message)

        try:
            _finish(self.cloud.app()(scope, receive, send))
        except Hangs as hang:
            if hang.dropped:
                msg = "the server cut the connection without an answer"
                raise httpx.RemoteProtocolError(msg, request=request) from None
            timeout = request.extensions.get("timeout", {}).get("read")
            if self.cloud.clock.speed == 0 and timeout:
                self.cloud.clock.advance(timeout)
            msg = "the read operation timed out"
            raise httpx.ReadTimeout(msg, request=request) from None
        start = messages[0]
        content = b"".join(message.get("body", b"") for message in messages[1:])
        return httpx.Response(start["status"], headers=start["headers"], content=content, request=request)


def _finish(serving: Awaitable[None]) -> None:
    """Run a coroutine that never waits: no handler does, and the body is here already.

    So no event loop is needed, and a thread that has a running one may call too.
    """
    steps = serving.__await__()
    try:
        next(steps)
    except StopIteration:
        return
    msg = "a handler of a simulated cloud waits; it must answer at once"
    raise RuntimeError(msg)

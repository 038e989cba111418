"""ASGI middleware in front of a simulated cloud's app: lock, faults, rate limits, call log.

The gate reads the whole body, takes the cloud's lock, brings its machines up
to the clock, injects the faults of `faults.ANSWER_KINDS`, enforces the rate
limits, and logs the call. The handlers never wait, so the lock gives each
request exclusive access to the cloud.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.routing import Match, Route

from gpunb.sim.cloud import Call, Cloud, Refusal

if TYPE_CHECKING:
    from fastapi.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gpunb.sim.faults import Fault

__all__ = ["IN_PROCESS", "Gate", "Hangs", "build"]

#: Key of the ASGI scope for calls without a socket: a hang is raised, not slept.
IN_PROCESS = "gpunb.sim.in_process"

#: The longest time that a request is left without an answer, real seconds.
HANG_S = 120.0

_BEFORE = ("timeout-before", "error-before", "rate-limit", "rate-limit-bare", "quota", "gateway")
_AFTER = ("timeout-after", "drop-after", "error-after", "wrong-shape", "not-json")


class Hangs(Exception):
    """Raised in process for an answer that never comes (`dropped`: the connection is cut)."""

    def __init__(self, *, dropped: bool = False) -> None:
        super().__init__("dropped" if dropped else "hangs")
        self.dropped = dropped


def build(cloud: Cloud) -> ASGIApp:
    """Build the cloud's FastAPI app behind its gate, control routes included."""
    from gpunb.sim.serving.control import control_routes

    app = FastAPI(title=f"{cloud.title}, simulated", openapi_url=None, docs_url=None, redoc_url=None)

    async def refused(_request: Request, err: Exception) -> Response:
        if not isinstance(err, Refusal):
            raise err
        return err.response

    async def invalid(request: Request, err: Exception) -> Response:
        if not isinstance(err, RequestValidationError):
            raise err
        route = request.scope.get("route")
        return cloud.invalid(jsonable_encoder(err.errors()), getattr(route, "name", ""))

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    control_routes(app, cloud)
    cloud.routes(app)
    return Gate(app, cloud)


class Gate:
    """The ASGI middleware in front of one cloud's app."""

    def __init__(self, app: FastAPI, cloud: Cloud) -> None:
        self.app = app
        self.cloud = cloud

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, from the whole body to the whole answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await _whole_body(receive)
        try:
            messages = await self._serve(scope, body)
        except Hangs as hang:
            if scope.get(IN_PROCESS):
                raise
            if not hang.dropped and await _disconnects(receive):
                return
            # an answer that stops in its middle makes the server cut the connection
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            return
        for message in messages:
            await send(message)

    async def _serve(self, scope: Scope, body: bytes) -> list[Message]:
        cloud, endpoint = self.cloud, self._endpoint(scope)
        where = f"{scope['method']} {scope['path']}"
        with cloud.lock:
            cloud.settle()
            if endpoint.startswith("sim:"):
                return await _run(self.app, scope, body)
            call = Call(scope["method"], scope["path"], endpoint, cloud.clock.now())
            cloud.calls.append(call)
            answer = self._before(scope, endpoint, where)
            if answer is None:
                messages = await _run(self.app, scope, body)
                answer = self._after(endpoint, where)
                if answer is None:
                    call.status = messages[0]["status"]
                    return messages
            call.status = answer.status_code
            return await _run(answer, scope, b"")

    def _before(self, scope: Scope, endpoint: str, where: str) -> Response | None:
        cloud = self.cloud
        fault = self._take(_BEFORE, endpoint, where)
        if fault is None:
            left = cloud.limiter.wait(endpoint, cloud.identity(Request(scope)))
            return cloud.too_many(left) if left else None
        if fault.kind == "timeout-before":
            raise Hangs
        if fault.kind == "error-before":
            return cloud.refusal(int(fault.number("status", 500)), "Internal server error")
        if fault.kind == "quota":
            return cloud.quota()
        if fault.kind == "gateway":
            return cloud.html(502)
        return cloud.too_many(fault.number("retry_after", 2.0) if fault.kind == "rate-limit" else None)

    def _after(self, endpoint: str, where: str) -> Response | None:
        fault = self._take(_AFTER, endpoint, where)
        if fault is None:
            return None
        if fault.kind in ("timeout-after", "drop-after"):
            raise Hangs(dropped=fault.kind == "drop-after")
        if fault.kind == "error-after":
            return self.cloud.refusal(int(fault.number("status", 500)), "Internal server error")
        if fault.kind == "not-json":
            return self.cloud.html(200)
        return self.cloud.wrong_shape(endpoint)

    def _take(self, kinds: tuple[str, ...], endpoint: str, where: str) -> Fault | None:
        now = self.cloud.clock.now()
        for kind in kinds:
            fault = self.cloud.faults.take(kind, endpoint, now, where=where)
            if fault is not None:
                return fault
        return None

    def _endpoint(self, scope: Scope) -> str:
        for route in self.app.router.routes:
            if isinstance(route, Route) and route.matches(scope)[0] is Match.FULL:
                return route.name
        return "unknown"


async def _whole_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _run(app: Any, scope: Scope, body: bytes) -> list[Message]:
    """Return the app's answer as messages; the app waits for the body only, which is here already."""
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    await app(dict(scope), receive, send)
    return messages


async def _disconnects(receive: Receive) -> bool:
    """Wait until the client disconnects; return False if its timeout is longer than ours."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    try:
        await asyncio.wait_for(gone(), HANG_S)
    except asyncio.TimeoutError:
        return False
    return True

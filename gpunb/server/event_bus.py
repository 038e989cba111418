"""Events to all clients: one bounded queue each, with events merged; a slow client gets a snapshot."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from gpunb import __version__
from gpunb.server import API

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gpunb.presentation import api

__all__ = ["Client", "Feed"]

BEHIND = 1000  # events queued for one client
NOTICES = 20
# the field by which a later event replaces an earlier one of its kind
_NAMES = {"session": "id", "run": "id", "transfer": "id", "job": "id", "telemetry": "session"}
_WHOLE = frozenset({"cost", "supervisor"})


class Client:
    """One websocket client: `send` writes a text and returns when the socket took it."""

    def __init__(self, feed: Feed, send: Callable[[str], Awaitable[object]]) -> None:
        self.feed = feed
        self.send = send
        self.behind = True  # the first message is a snapshot
        self.closed = False
        self._waiting: dict[tuple[str, str], tuple[str, str]] = {}
        self._count = 0
        self._wake = asyncio.Event()

    def put(self, kind: str, name: str, data: str) -> None:
        """Queue an event; it replaces an older one of the same name."""
        if not self.behind:
            self._waiting.pop((kind, name), None)
            self._waiting[kind, name] = (kind, data)
            if len(self._waiting) > BEHIND:
                self._waiting.clear()
                self.behind = True
        self._wake.set()

    def close(self) -> None:
        """Stop sending."""
        self.closed = True
        self._waiting.clear()
        self._wake.set()

    async def serve(self) -> None:
        """Send events until the client is closed or its socket is gone."""
        await self._write("hello", json.dumps({"version": __version__, "api": API}))
        self._wake.set()
        while not self.closed:
            await self._wake.wait()
            self._wake.clear()
            if self.behind:
                # events that come while the snapshot is made may be newer: they are queued, and sent after it
                self.behind = False
                await self._write("snapshot", _encode(await self.feed.snapshot()))
            while self._waiting and not self.behind and not self.closed:
                key = next(iter(self._waiting))
                kind, data = self._waiting.pop(key)
                await self._write(kind, data)

    async def _write(self, kind: str, data: str) -> None:
        if self.closed:
            return
        self._count += 1
        await self.send(f'{{"n":{self._count},"type":"{kind}","data":{data}}}')


class Feed:
    """The event bus: takes events from any thread and sends them to all clients.

    Parameters
    ----------
    snapshot
        Makes what a client begins with; called in the loop.
    """

    def __init__(self, snapshot: Callable[[], Awaitable[api.Snapshot]]) -> None:
        self.snapshot = snapshot
        self.notices: deque[api.Notice] = deque(maxlen=NOTICES)
        self._clients: set[Client] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._named = 0

    @property
    def watched(self) -> bool:
        """Whether any client is connected."""
        return bool(self._clients)

    def join(self, send: Callable[[str], Awaitable[object]]) -> Client:
        """Add a client, which the caller serves; call it in the loop."""
        self._loop = asyncio.get_running_loop()
        client = Client(self, send)
        self._clients.add(client)
        return client

    def leave(self, client: Client) -> None:
        """Remove a client."""
        client.close()
        self._clients.discard(client)

    def close(self) -> None:
        """Close all clients."""
        for client in list(self._clients):
            self.leave(client)

    def publish(self, kind: str, data: Mapping[str, Any]) -> None:
        """Publish an event to all clients; from any thread."""
        if kind == "notice":
            self.notices.append(cast("api.Notice", data))
        loop = self._loop
        if not self._clients or loop is None:
            return
        field = _NAMES.get(kind)
        if field is not None:
            name = str(data[field])
        elif kind in _WHOLE:
            name = ""
        elif kind == "removed":
            name = str(data["id"])
        else:
            self._named += 1
            name = str(self._named)
        text = _encode(data)
        try:
            loop.call_soon_threadsafe(self._fan, kind, name, text)
        except RuntimeError:  # the loop is closed
            return

    def _fan(self, kind: str, name: str, text: str) -> None:
        for client in self._clients:
            client.put(kind, name, text)


def _encode(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), allow_nan=False)

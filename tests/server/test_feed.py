"""Events to many: in order, folded, bounded; who is too slow gets a snapshot."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from gpunb.server.event_bus import BEHIND, Feed


class Socket:
    """Takes texts; while `held` it takes none."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def send(self, text: str) -> None:
        await self.free.wait()
        self.got.append(json.loads(text))

    def kinds(self) -> list[str]:
        return [one["type"] for one in self.got]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def with_feed(story: Any) -> None:
    async def run() -> None:
        made = 0

        async def snapshot() -> dict[str, Any]:
            nonlocal made
            made += 1
            return {"made": made}

        feed = Feed(snapshot)
        socket = Socket()
        client = feed.join(socket.send)
        task = asyncio.ensure_future(client.serve())
        await settled()
        try:
            await story(feed, socket, client)
        finally:
            feed.leave(client)
            socket.free.set()
            await asyncio.wait_for(task, 10)

    asyncio.run(run())


def test_hello_then_a_snapshot_then_events() -> None:
    async def story(feed: Feed, socket: Socket, client: Any) -> None:
        feed.publish("session", {"id": "a", "x": 1})
        feed.publish("notice", {"text": "one"})
        feed.publish("notice", {"text": "two"})
        await settled()
        assert socket.kinds() == ["hello", "snapshot", "session", "notice", "notice"]
        assert [one["n"] for one in socket.got] == [1, 2, 3, 4, 5]
        assert socket.got[0]["data"]["api"] == 1
        assert list(feed.notices) == [{"text": "one"}, {"text": "two"}]

    with_feed(story)


def test_what_waits_is_folded_by_name() -> None:
    async def story(feed: Feed, socket: Socket, client: Any) -> None:
        socket.free.clear()
        feed.publish("cost", {"total": 0})
        await settled()  # taken out, and held in the socket
        for number in range(500):
            feed.publish("session", {"id": "a", "x": number})
            feed.publish("session", {"id": "b", "x": number})
            feed.publish("cost", {"total": number})
        feed.publish("removed", {"id": "a"})
        await settled()
        assert len(client._waiting) == 4
        socket.free.set()
        await settled()
        told = [(one["type"], one["data"].get("id"), one["data"].get("x")) for one in socket.got[3:]]
        assert told == [
            ("session", "a", 499),
            ("session", "b", 499),
            ("cost", None, None),
            ("removed", "a", None),
        ]

    with_feed(story)


def test_who_falls_behind_gets_a_snapshot_and_no_queue() -> None:
    async def story(feed: Feed, socket: Socket, client: Any) -> None:
        socket.free.clear()
        for number in range(BEHIND * 3):
            feed.publish("notice", {"text": number})
            if number % 100 == 0:
                await settled()
            assert len(client._waiting) <= BEHIND
        await settled()
        assert client.behind
        assert not client._waiting
        socket.free.set()
        await settled()
        assert socket.kinds()[-1] == "snapshot"
        assert socket.got[-1]["data"]["made"] == 2
        feed.publish("cost", {"total": 1})
        await settled()
        assert socket.kinds()[-1] == "cost"

    with_feed(story)


def test_nobody_looks() -> None:
    feed = Feed(None)  # type: ignore[arg-type]
    feed.publish("session", {"id": "a"})
    assert not feed.watched
    for number in range(100):
        feed.publish("notice", {"text": number})
    assert len(feed.notices) == 20


def test_from_another_thread() -> None:
    async def story(feed: Feed, socket: Socket, client: Any) -> None:
        await asyncio.gather(*(asyncio.to_thread(feed.publish, "cost", {"total": n}) for n in range(20)))
        await settled()
        assert socket.kinds()[-1] == "cost"

    with_feed(story)

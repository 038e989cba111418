"""One connection to the agent: its requests, and the runs it follows."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

from ..shared import folders, frames
from .agent import OpError
from .operations import OPERATIONS, unknown
from .runs import PATIENCE, Follower

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .agent import Agent


class Client:
    """One connection: its requests, and the runs it follows."""

    def __init__(self, agent: Agent, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.agent = agent
        self.reader = reader
        self.writer = writer
        self.held = b""
        self.followers: dict[str, Follower] = {}
        self.tasks: set[asyncio.Future[Any]] = set()

    def post(self, frame: bytes) -> None:
        """Send a frame without waiting; small ones only."""
        self.writer.write(self.take_held() + frame)

    def hold(self, frame: bytes) -> None:
        """Queue a frame that is not urgent: it is sent with the next one, or soon."""
        self.held += frame
        asyncio.get_running_loop().call_later(PATIENCE, self.release)

    def release(self) -> None:
        """Send the queued frames."""
        if self.held and not self.writer.is_closing():
            self.writer.write(self.take_held())

    def take_held(self) -> bytes:
        """Remove and return the queued frames."""
        held, self.held = self.held, b""
        return held

    async def send(self, data: bytes) -> None:
        """Send whole frames, waiting while the client is slow."""
        self.writer.write(self.take_held() + data)
        await self.writer.drain()

    async def serve(self) -> None:
        """Answer requests until the connection closes."""
        decoder = frames.Decoder(64 << 20)
        try:
            while True:
                data = await self.reader.read(1 << 18)
                if not data:
                    return
                for _, head, payload in decoder.feed(data):
                    head["parts"] = frames.parts_of(head, payload)
                    self.spawn(self.handle(head))
        except (frames.FrameError, ConnectionError, OSError):
            return
        finally:
            for task in self.tasks:
                task.cancel()
            self.writer.close()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Start a task beside the reading of requests."""
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.done)
        return task

    def done(self, task: asyncio.Future[Any]) -> None:
        """Close the connection if a task failed, so that the client repeats its request."""
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log_error(error)
            self.writer.close()

    async def handle(self, head: dict[str, Any]) -> None:
        """Handle one request and send its answer."""
        number, op = head.get("id"), head.get("op")
        if op == "ack":
            follower = self.followers.get(str(head.get("run")))
            if follower is not None:
                follower.ack(int(head.get("n", 0)))
            return
        try:
            if op == "detach":
                answer = self.detach(head)
            else:
                answer = await OPERATIONS.get(str(op), unknown)(self.agent, head)
            parts = answer.pop("parts", ())
            frame = frames.encode(dict(answer, t="res", id=number), parts)
            if head.get("window"):  # the client follows the run from here on
                self.hold(frame)
                self.attach(head)
            else:
                self.post(frame)
        except OpError as err:
            self.post(frames.encode({"t": "err", "id": number, "code": err.code, "msg": str(err)}))
        except RuntimeError as err:
            self.post(frames.encode({"t": "err", "id": number, "code": "failed", "msg": str(err)}))
        except Exception as err:  # noqa: BLE001 - a bad request must not end the agent
            text = "%s: %s" % (type(err).__name__, err)
            self.post(frames.encode({"t": "err", "id": number, "code": "failed", "msg": text}))

    def attach(self, head: dict[str, Any]) -> None:
        """Follow a run from after a record number."""
        run = self.agent.run(head)
        self.detach(head)
        window = min(max(int(head["window"]), 1 << 16), 64 << 20)
        late = bool(head.get("late"))
        follower = Follower(run, int(head.get("after", 0)), window, self.send, late=late)
        follower.task = self.spawn(follower.follow())
        self.followers[run.id] = follower

    def detach(self, head: dict[str, Any]) -> dict[str, Any]:
        """Stop following a run."""
        follower = self.followers.pop(str(head.get("run")), None)
        if follower is not None and follower.task is not None:
            follower.task.cancel()
        return {}


def log_error(err: BaseException) -> None:
    """Write one line to the agent's log."""
    with open(os.path.join(folders.base(), "agent.log"), "a") as file:
        file.write(json.dumps({"ts": time.time(), "error": "%s: %s" % (type(err).__name__, err)}) + "\n")

"""The agent's server process: one per host and user, listening on a private Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import IO, TYPE_CHECKING

from ..shared import folders, processes
from .agent import Agent
from .connection import Client, log_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Door:
    """The agent's listening socket, created anew if it was removed.

    systemd removes ``/run/user/UID`` after the last logout, and clean-up jobs remove old files in
    ``/tmp``, while the agent and its work live on.
    """

    LOOK = 2.0  # seconds between checks

    def __init__(
        self, connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> None:
        self.connected = connected
        self.path = ""
        self._server: asyncio.AbstractServer | None = None
        self._inode = 0

    async def open(self) -> None:
        """Listen, and write the socket's path to `folders.agent_file`."""
        self.path = folders.agent_socket()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._server = await asyncio.start_unix_server(self.connected, self.path, limit=1 << 20)
        os.chmod(self.path, 0o600)
        self._inode = os.stat(self.path).st_ino
        mine = {"pid": os.getpid(), "started": processes.start_time(os.getpid()), "socket": self.path}
        with contextlib.suppress(OSError):  # a full disk: clients then find it by its usual name
            folders.write_json(folders.agent_file(), mine)

    async def watch(self) -> None:
        """Check regularly whether the socket's file still exists, for ever."""
        lost = False
        while True:
            await asyncio.sleep(self.LOOK)
            try:
                there = os.stat(self.path).st_ino == self._inode
            except OSError:
                there = False
            if not there:
                self.close()
                try:
                    await self.open()
                except OSError as err:  # the socket can't be created now
                    if not lost:
                        log_error(err)
                    lost = True
                else:
                    lost = False

    def close(self) -> None:
        """Stop listening; open connections stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def remove(self) -> None:
        """Remove the socket and the agent's file."""
        for path in (self.path, folders.agent_file()):
            with contextlib.suppress(OSError):
                os.unlink(path)


async def serve(version: str, lock: IO[str]) -> None:
    """Answer requests until the agent is told to end."""
    agent = Agent(version)
    await agent.restore()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(agent, reader, writer)
        agent.clients.add(client)
        try:
            await client.serve()
        finally:
            agent.clients.discard(client)

    door = Door(connected)
    await door.open()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, agent.ending.set)
    agent.cells.later(agent.cells.warm())
    watches = (agent.watchdog.watch(), agent.telemetry.watch(), door.watch())
    watching = [asyncio.ensure_future(watch) for watch in watches]
    await agent.ending.wait()
    await asyncio.sleep(0.1)  # time to send the last answer
    for watch in watching:
        watch.cancel()
    door.close()
    for client in list(agent.clients):
        client.writer.close()
    await asyncio.sleep(0.05)  # time for clients to see the end
    door.remove()
    with contextlib.suppress(OSError):  # a transfer may still use it
        os.rmdir(folders.sockets())
    lock.close()


def main(argv: list[str]) -> int:
    """Start the agent of this host and user, unless one runs."""
    if os.fork():  # detach: the parent may be ended with all its children
        os._exit(0)
    os.setsid()
    lock = folders.take(os.path.join(folders.base(), "agent.lock"))
    if lock is None:
        return 0
    os.chdir(os.path.expanduser("~"))
    log = os.path.join(folders.base(), "agent.log")
    if os.path.exists(log) and os.path.getsize(log) > 1 << 20:
        os.replace(log, log + ".1")
    try:
        asyncio.run(serve(argv[0], lock))
    except Exception as err:
        log_error(err)
        raise
    return 0

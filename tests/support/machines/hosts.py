"""Real sshds with their agents: one, or two for what goes from host to host."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from gpunb.agent.shared import processes
from gpunb.remote import AgentClient
from tests.support.machines import sshd as support

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.sync import SyncReport

MB = 2**20


@contextlib.contextmanager
def agent_on(sshd: support.Sshd, **changes: object) -> Iterator[AgentClient]:
    try:
        with AgentClient.connect(sshd.endpoint(**changes), python=sys.executable, patience=30.0) as found:
            yield found
    finally:
        processes.end_tree(None, f"HOME={sshd.home}", grace=2.0)


class Two:
    """Two hosts and their agents."""

    def __init__(self, root: Path, stack: contextlib.ExitStack, **second: Any) -> None:
        self._stack = stack
        self.root = root
        self.a = support.Sshd(root / "a", plain=True).start()
        stack.callback(self.a.stop)
        self.b = support.Sshd(root / "b", **{"plain": True, **second}).start()
        stack.callback(self.b.stop)
        self.one = stack.enter_context(agent_on(self.a, alias="gpunb-one"))
        self.keys = self.b.keys.read_bytes()

    def two(self, **changes: Any) -> AgentClient:
        return self._stack.enter_context(agent_on(self.b, alias="gpunb-two", **changes))

    def tree(self, size: int = 24 * MB) -> Path:
        """A folder on the source's host, of all kinds of files."""
        top = self.a.home / "out"
        (top / "deep/er").mkdir(parents=True)
        noise = random.Random(6)
        (top / "large").write_bytes(noise.randbytes(size))
        (top / "whole").write_bytes(noise.randbytes(3 * MB))
        (top / "empty").touch()
        with (top / "holes").open("wb") as file:
            file.seek(20 * MB)
            file.write(noise.randbytes(100))
        for number in range(700):
            (top / f"deep/er/{number}").write_bytes(noise.randbytes(number))
        (top / 'deep/it\'s "odd"\n').write_text("x")
        (top / "link").symlink_to("deep/er/7")
        (top / "large").chmod(0o640)
        return top

    def traffic(self, client: AgentClient) -> int:
        return sum(client.connection.traffic())


def leftovers() -> set[str]:
    places = [Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp"))]
    return {str(found) for place in places if place.is_dir() for found in place.glob("gpunb-direct-*")}


def dialled(sshd: support.Sshd) -> list[psutil.Process]:
    """The ssh processes that a host started towards another."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.info["name"] == "ssh" and "HostKeyAlias=gpunb-direct" in words and str(sshd.port) in words:
            found.append(process)
    return found


def wait_until(done: Any, seconds: float = 20.0) -> None:
    for _ in range(int(seconds * 20)):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError(done)


def went_straight(report: SyncReport) -> bool:
    report.check()
    return report.way.startswith("straight from host to host")

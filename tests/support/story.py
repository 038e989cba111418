"""A user at a terminal: what was typed is counted, and runs in processes of its own."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sysconfig
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.supervisor import process
from tests.support.machines import own_hosts
from tests.support.machines.terminal import Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BIN = sysconfig.get_path("scripts")


class Terminal:
    """A terminal without a keyboard, in the folder `cwd`; `typed` holds the commands.

    Without a keyboard no question can be asked: a decision of the user's is a ``--yes`` on the line.
    """

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.typed: list[str] = []

    @property
    def decisions(self) -> int:
        """How many of the commands carried a yes."""
        return sum("--yes" in shlex.split(line) for line in self.typed)

    def start(self, line: str) -> subprocess.Popen[str]:
        """Type a line; it runs on."""
        self.typed.append(line)
        environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "GPUNB_CLOUDS": own_hosts.CLOUD,
        }
        return subprocess.Popen(
            shlex.split(line),
            cwd=self.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def type(self, line: str) -> Ran:
        """Type a line and wait for its end."""
        running = self.start(line)
        out, err = running.communicate(timeout=100)
        return Ran(running.returncode, out, err, tuple(shlex.split(line)[1:]))


@contextlib.contextmanager
def ended(running: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A command that is gone afterwards, whatever the test came to."""
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        for pipe in (running.stdout, running.stderr):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def supervisor() -> Iterator[None]:
    """A supervisor in this process, as a Jupyter server has one, whose ticks are short."""
    stop, provider = threading.Event(), own_hosts.provider()

    def watch() -> None:
        with Ledger.open() as ledger:
            process.run(ledger, lambda _: provider, kind="server", tick_s=0.25, stop=stop, forever=True)

    thread = threading.Thread(target=watch, name="story-supervisor", daemon=True)
    thread.start()
    try:
        with Ledger.open() as ledger:
            wait_for(lambda: ledger.leader() is not None)
        yield
    finally:
        stop.set()
        thread.join(30)


def wait_for(check: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until `check` is true, and return what it says."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    msg = f"not true within {seconds} s"
    raise AssertionError(msg)


def all_over() -> bool:
    """Whether no session is left, each has its receipt, and nothing is rented."""
    with Ledger.open() as ledger:
        return not ledger.sessions() and not ledger.without_receipt() and not own_hosts.instances()

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gpunb.agent.shared import processes
from gpunb.remote import AgentClient
from tests.support.machines import sshd as support


def end_host(home: Path) -> None:
    """Whatever an agent left behind under `home`."""
    left = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _belongs(pid, str(home))]
    processes.send(left, 9)


def _belongs(pid: int, home: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"HOME={home}".encode() in environ and pid != os.getpid()


@pytest.fixture
def host():
    """A real sshd with a home of its own; ends all that ran there."""
    if not support.available():
        pytest.skip("OpenSSH's sshd is not installed")
    root = Path(tempfile.mkdtemp(prefix="gpunb-t-"))
    server = support.Sshd(root).start()
    yield server
    server.stop()
    end_host(server.home)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def client(host):
    with AgentClient.connect(host.endpoint(), python=sys.executable, trust="own") as found:
        yield found


@pytest.fixture
def reconnect(host):
    """Another client of the same host, as another notebook would make."""
    made = []

    def make(**more):
        made.append(AgentClient.connect(host.endpoint(), python=sys.executable, trust="own", **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Screen:
    """A sink that keeps what a user would see, in order."""

    def __init__(self, answers=()):
        self.events = []
        self.answers = list(answers)

    def stream(self, name, text):
        if self.events and self.events[-1][0] == name:
            self.events[-1] = (name, self.events[-1][1] + text)
        else:
            self.events.append((name, text))

    def display(self, content, *, update):
        self.events.append(("update" if update else "display", content))

    def result(self, content):
        self.events.append(("result", content["data"]["text/plain"]))

    def clear(self, *, wait):
        self.events.append(("clear", wait))

    def ask(self, prompt, *, password):
        self.events.append(("ask", prompt, password))
        return self.answers.pop(0)

    def note(self, text):
        self.events.append(("note", text))

    def finish(self):
        self.events.append(("finish",))

    def text(self, name="stdout"):
        return "".join(event[1] for event in self.events if event[0] == name)

    def kinds(self):
        return [event[0] for event in self.events]


@pytest.fixture
def screen():
    return Screen()


def wait_for(check, seconds=20.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not true within {seconds} s: {check}")


def kernel_pid(host) -> int:
    import json

    return json.loads((host.home / ".gpunb/kernels/main/process.json").read_text())["pid"]


def kill_agent(host) -> None:
    """kill -9 of the agent's process alone."""
    out = subprocess.run(
        ["pgrep", "-f", f"{host.home}/.gpunb/agent/[0-9a-f]* serve"], capture_output=True, text=True
    )
    pids = [int(word) for word in out.stdout.split()]
    assert pids, "no agent runs"
    processes.send(pids, 9)

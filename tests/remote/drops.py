"""Cuts of the line at random moments: ``python -m tests.remote.drops --n 200 [--seed S]``.

Each schedule runs one cell that prints, draws, updates or asks, and breaks the
line while it runs or just as it ends: connections reset, the line down for a
while, sshd killed and started again, sshd stopped (SIGSTOP), the client closed
and another one attached, the line reset again and again while it is being
brought back, or reset at the moment when the host has taken the command and
nothing was sent to it yet. Some cells end by a kernel that crashes. Every line must be there
once and in order, and the end must arrive. A schedule can be replayed alone by
its seed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.errors import KernelDied
from gpunb.output import show
from gpunb.remote import AgentClient
from gpunb.ssh import Connection
from tests.remote.conftest import Screen, end_host
from tests.support.machines.proxy import Proxy
from tests.support.machines.sshd import Sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = 40
PAUSE = 0.015
BEAT = f"time.sleep({PAUSE})"
CELLS = {
    "print": f"import time\nfor i in range({STEPS}):\n    print(i, flush=True); {BEAT}",
    "draw": (
        "import time\nfrom IPython.display import display\n"
        f"for i in range({STEPS}):\n    display({{'text/plain': str(i)}}, raw=True); {BEAT}"
    ),
    "update": (
        "import time\nfrom IPython.display import display, update_display\n"
        "display({'text/plain': '0'}, raw=True, display_id='d')\n"
        f"for i in range(1, {STEPS}):\n"
        f"    update_display({{'text/plain': str(i)}}, raw=True, display_id='d'); {BEAT}"
    ),
    "ask": (
        f"import time\nfor i in range(8):\n    print(input(f'{{i}}? '), flush=True); time.sleep({5 * PAUSE})"
    ),
    "crash": (
        f"import os, signal, time\nfor i in range({STEPS}):\n    print(i, flush=True); {BEAT}\n"
        "time.sleep(0.2)\nos.kill(os.getpid(), signal.SIGKILL)"
    ),
}
WAYS = (
    "reset",
    "down",
    "sshd killed",
    "sshd stopped",
    "another client",
    "again and again",
    "as it is opened",
)
LOGIN = 12_000  # bytes that a line sends until it is back, about


class Bench:
    """A host, a line to it that can be broken, and the client."""

    def __init__(self, root: Path) -> None:
        self.host = Sshd(root).start()
        self.proxy = Proxy(self.host.port)
        self.client = self.connect()

    def connect(self) -> AgentClient:
        endpoint = self.host.endpoint(port=self.proxy.port)
        return AgentClient.connect(endpoint, python=sys.executable, trust="own", patience=60)

    def close(self) -> None:
        self.client.close()
        self.proxy.close()
        self.host.stop()
        end_host(self.host.home)

    @contextlib.contextmanager
    def resets_as_opened(self, times: int) -> Iterator[None]:
        """The next channels are reset as the host has just taken their command, and one is left whole."""
        real, left = Connection.channel, [None] * times
        self.opened = threading.Event()

        def channel(connection: Connection, command: str, **more: Any) -> Any:
            made = real(connection, command, **more)
            if left:
                left.pop()
                self.proxy.drop()
                connection.transport.join(2)
            else:
                self.opened.set()
            return made

        Connection.channel = channel  # type: ignore[method-assign]
        try:
            yield
        finally:
            Connection.channel = real  # type: ignore[method-assign]

    def break_line(self, way: str, seconds: float) -> None:
        if way == "reset":
            self.proxy.drop()
        elif way == "as it is opened":
            with self.resets_as_opened(int(seconds * 4)):
                self.proxy.drop()
                self.opened.wait(20)
        elif way == "again and again":
            for part in (
                seconds,
                seconds / 2,
                0.9 - seconds,
                0.05,
            ):  # of the login, the agent's start, the resume
                self.proxy.drop()
                before, until = self.proxy.up, time.monotonic() + 3
                while self.proxy.up < before + part * LOGIN and time.monotonic() < until:
                    time.sleep(0.001)
            self.proxy.drop()
        elif way == "down":
            self.proxy.cut()
            time.sleep(seconds)
            self.proxy.restore()
        elif way == "sshd killed":
            port = self.host.port
            self.host.stop()
            time.sleep(seconds)
            self.host.start(port)
        elif way == "sshd stopped":
            self.host.freeze()
            time.sleep(seconds)
            self.host.freeze(on=False)


def seen(kind: str, screen: Screen) -> list[str]:
    """What the user saw, one entry a line, picture or update."""
    if kind in ("print", "ask", "crash"):
        return screen.text().splitlines()
    return [event[1]["data"]["text/plain"] for event in screen.events if event[0] in ("display", "update")]


def wanted(kind: str) -> list[str]:
    return [f"answer {i}" for i in range(8)] if kind == "ask" else [str(i) for i in range(STEPS)]


def schedule(bench: Bench, seed: int) -> tuple[str, str, str, str]:
    """Run one; returns kind, way, moment and what went wrong ("" if nothing)."""
    rng = random.Random(seed)
    kind, way = rng.choice(sorted(CELLS)), rng.choice(WAYS)
    moment = rng.choice(["while it runs", "as it ends"])
    length = STEPS * PAUSE * 1.15
    delay = rng.uniform(0, length) if moment == "while it runs" else length + rng.uniform(-0.05, 0.1)
    seconds = rng.uniform(0.1, 0.8)
    run = bench.client.run_cell(CELLS[kind])
    screen = Screen(f"answer {i}" for i in range(8))
    if way == "another client":
        problem = _other_client(bench, run, screen, delay, kind)
    else:
        breaker = threading.Timer(delay, bench.break_line, (way, seconds))
        breaker.start()
        problem = _watch(run, screen, kind)
        breaker.join()
    if not problem and seen(kind, screen) != wanted(kind):
        problem = f"saw {seen(kind, screen)}"
    return kind, way, moment, problem


def _watch(run, screen: Screen, kind: str) -> str:
    """Play the run; a watcher turns a hang into a problem instead of a stuck suite."""
    found: list[str] = []

    def play() -> None:
        try:
            info = show(run, screen)
            found.append("" if info.state == "ok" and kind != "crash" else f"ended as {info.state}")
        except KernelDied as err:
            found.append("" if kind == "crash" else f"KernelDied: {err}")
        except Exception as err:  # noqa: BLE001 - any of them is what went wrong
            found.append(f"{type(err).__name__}: {err}")

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    thread.join(60)
    return found[0] if found else "the end did not arrive within 60 s"


def _other_client(bench: Bench, run, screen: Screen, delay: float, kind: str) -> str:
    """Leave in the middle, and see it all from another client."""
    if kind == "ask":  # somebody must answer: the newcomer does
        delay = min(delay, 0.05)
    run.info()  # it has arrived
    time.sleep(delay)
    bench.client.close()
    bench.client = bench.connect()
    return _watch(bench.client.attach(run.id), screen, kind)


def run_schedules(count: int, seed: int, seconds: float = 1e9) -> tuple[collections.Counter, list[str]]:
    """Run `count` schedules from `seed` on, none after `seconds`; what was broken how often, the problems."""
    root = Path(tempfile.mkdtemp(prefix="gpunb-drops-"))
    tally: collections.Counter = collections.Counter()
    problems = []
    bench = Bench(root / "host")
    until = time.monotonic() + seconds
    try:
        for number in range(seed, seed + count):
            if time.monotonic() > until:
                break
            kind, way, moment, problem = schedule(bench, number)
            tally.update([f"cell: {kind}", f"line: {way}", f"when: {moment}"])
            if problem:
                problems.append(f"seed {number} ({kind}, {way}, {moment}): {problem}")
                bench.client.close()
                bench.client = bench.connect()
    finally:
        bench.close()
        shutil.rmtree(root, ignore_errors=True)
    return tally, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e6, help="no more after so many")
    options = parser.parse_args()
    begin = time.monotonic()
    tally, problems = run_schedules(options.n, options.seed, options.minutes * 60)
    for name, count in sorted(tally.items()):
        print(f"{name:28} {count:5}")
    for problem in problems:
        print("FAILED", problem)
    played = sum(count for name, count in tally.items() if name.startswith("cell"))
    print(f"{played} of {options.n} schedules in {time.monotonic() - begin:.0f} s, {len(problems)} bad")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""Real processes, real time: terminals, kernels, Jupyter servers and supervisors killed with SIGKILL.

``python -m tests.chaos.real [N] [--seed S]``: N stories. In each, somebody rents for some
seconds (on the local provider, or on a simulated cloud served over HTTP with real SSH hosts behind
it), and dies; supervisors die too; then gpunb is started once more, and nothing may be left.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import psutil

from gpunb.providers.base import InstanceState
from gpunb.providers.local import LocalProvider
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import IntentState
from gpunb.sim.clock import Clock
from gpunb.sim.hosts.real import RealHosts
from gpunb.sim.serving.runner import Served, cloud_class
from tests.chaos.world import CLOUDS, costs

if TYPE_CHECKING:
    from collections.abc import Iterator

TICK_S = 1.0
# what a destroy, a list and a process's start take on a machine that is busy
SLACK_S = 15.0
PATIENCE_S = 90.0


@dataclass
class Seen:
    """What a story, or several, did and left."""

    stories: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)
    latest_s: float = 0.0
    unknown: list[str] = field(default_factory=list)
    doubly: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    BARS = (
        ("unknown", "billed and unknown to the ledger after the next start"),
        ("doubly", "doubly rented"),
        ("late", f"alive past lease + 2 ticks ({SLACK_S:.0f} s of grace)"),
        ("left", "processes or sessions left behind"),
    )

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not any(getattr(self, name) for name, _ in self.BARS)

    def add(self, other: Seen) -> None:
        """Count `other` in."""
        self.stories += other.stories
        self.killed.update(other.killed)
        self.instances.update(other.instances)
        self.latest_s = max(self.latest_s, other.latest_s)
        for name, _ in self.BARS:
            getattr(self, name).extend(getattr(other, name))

    def lines(self) -> list[str]:
        """The figures to read."""
        out = [
            f"stories                   {self.stories}",
            f"killed with SIGKILL       {dict(self.killed)}",
            f"instances created         {dict(self.instances)}",
            f"latest end after a lease  {self.latest_s:.1f} s (a look every {TICK_S:.0f} s)",
        ]
        for name, text in self.BARS:
            found = getattr(self, name)
            out += [f"{text}: {len(found)}", *(f"    {line}" for line in found)]
        return out


class Story:
    """One seed's story, in a gpunb home of its own."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.random, self.folder = seed, random.Random(seed), folder
        self.seen = Seen(stories=1)
        self.home = folder / "home"
        # every other story is about the local provider, the rest about one simulated cloud
        self.cloud = "local" if seed % 2 == 0 else list(CLOUDS)[seed // 2 % len(CLOUDS)]
        self.env = {
            **os.environ,
            "GPUNB_HOME": str(self.home),
            "GPUNB_SUPERVISE_EVERY": f"{TICK_S:g}s",
            "GPUNB_PROVIDERS__LOCAL__USD_H": "3.6",
            "JUPYTER_RUNTIME_DIR": str(folder / "jupyter"),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        self.served: Served | None = None
        self.fronts: list[Front] = []
        self.children: list[subprocess.Popen[bytes]] = []
        self.first_seen: dict[str, float] = {}

    def run(self) -> Seen:
        """Tell it."""
        os.environ["GPUNB_HOME"] = str(self.home)
        with self._clouds(), Ledger.open(self.home / "ledger.sqlite") as ledger:
            try:
                self._deaths(ledger)
                self._next_start(ledger)
                self._wait(ledger)
            finally:
                self._end()
            if not self.seen.ok:
                self._tell(ledger)
        return self.seen

    def _tell(self, ledger: Ledger) -> None:
        """The ledger's history, and what the processes said."""
        lines = []
        for session in ledger.sessions(alive=False):
            lease = session.lease.deadline or 0.0
            lines.append((lease, f"{session.name} ({session.id}): its lease is over"))
            for event in ledger.events(session.id):
                change = f"{event.old} -> {event.new}" if event.new else event.kind
                lines.append((event.at, f"{session.name} [{event.pid}]: {change} {event.detail}"))
        for at, text in sorted(lines):
            print(time.strftime("%H:%M:%S", time.localtime(at)), text)
        for name in ("out", "home/log/supervise.out", "home/log/gpunb.log"):
            with contextlib.suppress(OSError):
                print(f"--- {name}", (self.folder / name).read_text()[-3000:], sep="\n")

    @contextlib.contextmanager
    def _clouds(self) -> Iterator[None]:
        if self.cloud != "local":
            hosts = RealHosts(self.folder / "hosts")
            cloud = cloud_class(self.cloud)(
                clock=Clock(), seed=self.seed, hosts=hosts, boot_s=1.0, limits=False
            )
            self.served = Served(cloud)
            self.served.start()
            prefix = f"GPUNB_PROVIDERS__{self.cloud.upper()}__"
            self.env[f"{prefix}BASE_URL"] = self.served.url + cloud.base_path
            self.env[f"{prefix}KEY"] = cloud.key
            self.env[f"{prefix}ACCEPT_TERMS"] = "true"
            self.env[f"{prefix}HTTP"] = '{"pace": 0.02}'
        try:
            yield
        finally:
            if self.served is not None:
                self.served.stop()

    # -- what happens -------------------------------------------------------

    def _deaths(self, ledger: Ledger) -> None:
        for number in range(self.random.randint(1, 2)):
            front = self._front(f"story-{number}", self.random.choice([8, 15]))
            self._pause(ledger, self.random.uniform(0.3, 9.0))
            if self.random.random() < 0.8 and front.alive():
                self.seen.killed[front.kind] += 1
                front.kill()
                self.fronts.remove(front)
            if self.random.random() < 0.6:
                self._pause(ledger, self.random.uniform(0.0, 5.0))
                self._kill_supervisors()

    def _front(self, name: str, seconds: int) -> Front:
        kind = self.random.choice([Terminal, Kernel, Server])
        made = kind(SyncOptions(self.cloud, name, seconds), self.folder, self.env)
        self.fronts.append(made)
        return made

    def _supervisors(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                mine = process.environ().get("GPUNB_HOME") == str(self.home)
                if mine and "supervise" in process.cmdline():
                    found.append(process)
        return found

    def _watchers(self) -> list[psutil.Process]:
        """The processes in which a supervisor may be: a Jupyter server is one."""
        servers = []
        for front in self.fronts:
            if isinstance(front, Server) and front.alive():
                with contextlib.suppress(psutil.Error):
                    servers.append(psutil.Process(front.pid))
        return self._supervisors() + servers

    def _kill_supervisors(self) -> None:
        for process in self._supervisors():
            with contextlib.suppress(psutil.Error):
                process.kill()
                self.seen.killed["supervisor"] += 1

    def _next_start(self, ledger: Ledger) -> None:
        """Somebody starts gpunb again: what is billed has to be in the ledger, and gets its end."""
        argv = [sys.executable, "-m", "gpunb", "supervise"]
        with (self.folder / "out").open("ab") as out:
            started = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env)
        self.children.append(started)
        self._pause(ledger, 4 * TICK_S)
        labels = {one.label for one in ledger.intents() if one.state is not IntentState.REFUSED}
        ids = {one.instance_id for one in ledger.sessions()} | {one.instance_id for one in ledger.orphans()}
        for ident, label in self._billed().items():
            if ident not in ids and label not in labels:
                self.seen.unknown.append(self._told(f"{ident} ({label})"))

    def _wait(self, ledger: Ledger) -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and (self._billed() or self._live(ledger)):
            self._pause(ledger, 0.5)
        for ident in self._billed():
            self.seen.late.append(self._told(f"{ident} is billed when everything is over"))

    def _live(self, ledger: Ledger) -> bool:
        # a create call that never was sent is known not to have been only when lists can't lag any more
        return any(one.instance_id for one in ledger.sessions())

    def _end(self) -> None:
        self._kill_fronts()
        for process in self._supervisors():
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.2)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                mine = process.environ().get("GPUNB_HOME") == str(self.home)
                if mine and process.pid != os.getpid():
                    what = " ".join(process.cmdline())[:120]
                    self.seen.left.append(self._told(f"process {process.pid}: {what}"))
                    process.kill()

    def _kill_fronts(self) -> None:
        for front in self.fronts:
            front.kill()
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait(10)

    # -- the truth ----------------------------------------------------------

    def _billed(self) -> dict[str, str]:
        """What costs something now, by id, with its label."""
        if self.served is None:
            return {
                one.id: one.label
                for one in LocalProvider().instances()
                if one.state not in {InstanceState.GONE, InstanceState.STOPPED}
            }
        found = self.served.cloud.billed_now()
        return {one.id: one.label for one in found if one.label.startswith("gpunb-") and costs(one)}

    def _pause(self, ledger: Ledger, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            self._look(ledger)
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(0.2, left))

    def _look(self, ledger: Ledger) -> None:
        billed = self._billed()
        for ident in billed:
            if ident not in self.first_seen:
                self.first_seen[ident] = time.time()
                self.seen.instances[self.cloud] += 1
        owners = Counter(label.split("-")[2] for label in billed.values())
        for owner, count in owners.items():
            line = self._told(f"{owner} has {count}: {billed}")
            if count > 1 and line not in self.seen.doubly:
                self.seen.doubly.append(line)
        if not self._watchers():
            return
        deadlines = {one.id: one.lease.deadline or 0.0 for one in ledger.sessions(alive=False)}
        for ident, label in billed.items():
            over = time.time() - deadlines.get(label.split("-")[2], time.time()) - 2 * TICK_S
            self.seen.latest_s = max(self.seen.latest_s, over + 2 * TICK_S)
            line = self._told(f"{ident} ({label})")
            if over > SLACK_S and line not in self.seen.late and self._watched(over):
                self.seen.late.append(line)

    def _watched(self, over: float) -> bool:
        """Whether a supervisor was there all the time that it is over."""
        begun = min((one.create_time() for one in self._watchers()), default=time.time())
        return time.time() - begun > min(over, SLACK_S)

    def _told(self, text: str) -> str:
        return f"seed {self.seed}, {self.cloud}: {text}"


@dataclass(frozen=True)
class SyncOptions:
    """What a front is to rent."""

    cloud: str
    name: str
    seconds: int

    @property
    def line(self) -> str:
        """As typed."""
        where = f"--cloud {self.cloud} --name {self.name}"
        return f"rent {where} --for {self.seconds}s --disk 30 --yes"


class Terminal:
    """``gpunb …`` as typed in a terminal."""

    kind = "terminal"

    def __init__(self, wish: SyncOptions, folder: Path, env: dict[str, str]) -> None:
        argv = [sys.executable, "-m", "gpunb", *wish.line.split()]
        with (folder / "out").open("ab") as out:
            self._child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=folder
            )

    def alive(self) -> bool:
        """Whether its process runs."""
        return self._child.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()
        self._child.wait(10)


class Kernel:
    """``%gpu …`` in a kernel of a notebook."""

    kind = "kernel"

    def __init__(self, wish: SyncOptions, folder: Path, env: dict[str, str]) -> None:
        from jupyter_client.manager import KernelManager

        self._manager = KernelManager(kernel_name="python3", connection_file=str(folder / f"{id(self)}.json"))
        with (folder / "out").open("ab") as out:
            self._manager.start_kernel(cwd=str(folder), env=env, stdout=out, stderr=out)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        self._client.execute(f"%load_ext gpunb\n%gpu {wish.line}", allow_stdin=False)

    def alive(self) -> bool:
        """Whether its process runs."""
        return bool(self._manager.is_alive())

    def kill(self) -> None:
        """SIGKILL."""
        provisioner = self._manager.provisioner
        assert provisioner is not None
        os.kill(provisioner.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


class Server:
    """A Jupyter server with the extension, in which somebody clicks Rent; it hosts a supervisor too."""

    kind = "server"

    def __init__(self, wish: SyncOptions, folder: Path, env: dict[str, str]) -> None:
        from tests.support.machines.jupyter import Jupyter

        ours = {name: value for name, value in env.items() if name.startswith("GPUNB_")}
        self._jupyter = Jupyter(Path(ours.pop("GPUNB_HOME")), **ours).start()
        assert self._jupyter.process is not None
        self.pid = self._jupyter.process.pid
        self._jupyter.client().rent(wish.name, hours=wish.seconds / 3600, clouds=[wish.cloud], disk_gb=30.0)

    def alive(self) -> bool:
        """Whether its process runs."""
        process = self._jupyter.process
        return process is not None and process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        self._jupyter.end(signal.SIGKILL)


Front: TypeAlias = Terminal | Kernel | Server


def tell(seed: int) -> Seen:
    """The story of `seed`, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="gpnb", dir="/tmp"))
    before = os.environ.get("GPUNB_HOME")
    try:
        return Story(seed, folder).run()
    finally:
        for instance in LocalProvider().instances():
            LocalProvider().destroy(instance.id)
        if before is None:
            os.environ.pop("GPUNB_HOME", None)
        else:
            os.environ["GPUNB_HOME"] = before
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Tell N stories and print what was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.real", description=__doc__)
    parser.add_argument("n", nargs="?", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e6, help="no more after so many")
    asked = parser.parse_args()
    total = Seen()
    until = time.monotonic() + asked.minutes * 60
    for seed in range(asked.seed, asked.seed + asked.n):
        began = time.monotonic()
        if began > until:
            break
        one = tell(seed)
        total.add(one)
        verdict = "ok" if one.ok else "BAD"
        print(f"{seed}: {verdict}, {dict(one.killed)}, {time.monotonic() - began:.0f} s", flush=True)
    print("\n".join(total.lines()))
    return 0 if total.ok else 1


if __name__ == "__main__":
    sys.exit(main())

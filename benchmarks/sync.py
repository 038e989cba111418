"""Files there and back: ours, rsync and rclone on a real sshd, near and far, trees compared after each.

Ours is `gpunb.sync.sync` on the line that a session holds open anyway; rsync and rclone start their own
ssh each time, as they do for a user (rclone once: it may take minutes). `--rtt-ms 0,50` names the round
trips; the line between is a proxy
in a process of its own. Each measurement begins with the file system settled, and both ends of ours are
measured for memory in processes of their own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks import Bar, Options, Report, Result
from benchmarks._measure import interleave, process
from benchmarks.cells import agent, sshd_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpunb.remote import AgentClient
    from gpunb.ssh import Endpoint
    from tests.support.machines.sshd import Sshd

ROUNDS = 3
FILES = 10_000
LARGE = 10**9
CHANGED = 10**6
MB = 1e6
# at most so many times rsync's time, by case and by (near, far)
LIMITS = {
    "first": (1.0, 0.7),
    "nothing changed": (0.5, 0.5),
    "one file changed": (0.5, 0.5),
    "1 GB up": (0.7, 0.2),
    "1 GB down": (0.7, 0.2),
    "1 MB of 1 GB changed": (1.0, 1.0),
}
PEAK_MB = 150.0
RCLONE_S = 120

# our end in a process of its own, so that its peak is its own
CLIENT = """
import json, sys
from pathlib import Path
from gpunb.remote import AgentClient
from gpunb.ssh import Endpoint
from gpunb.sync import sync
facts = json.loads(sys.argv[1])
for name in ("key", "known_hosts"):
    facts[name] = Path(facts[name])
with AgentClient.connect(Endpoint(**facts), python=sys.executable) as client:
    sync(client.connection, sys.argv[3], sys.argv[4], direction=sys.argv[2], agent=client).check()
"""


def run(options: Options) -> Report:
    """Measure all cases at each round trip."""
    report = Report()
    trips = options.rtt_ms or (0.0, 50.0)
    with sshd_host(options.hosts) as host:
        trees = _Trees(host)
        for rtt in trips:
            with line(host, rtt) as port, agent(host, port) as client:
                _Case(trees, client, host.endpoint(port=port), rtt, report).run(options.rounds(ROUNDS))
        for rtt in trips:
            with line(host, rtt) as port:
                peaks(trees, host.endpoint(port=port), rtt, report)
    if shutil.which("rclone") is None:
        report.notes.append("rclone is not installed: left out")
    return report


@contextlib.contextmanager
def line(host: Sshd, rtt_ms: float) -> Iterator[int]:
    """The port of a line with this round trip."""
    if not rtt_ms:
        yield host.port
        return
    argv = [sys.executable, "-m", "tests.support.machines.proxy", "--to", f"127.0.0.1:{host.port}"]
    proxy = subprocess.Popen(
        [*argv, "--rtt", str(rtt_ms / 1000)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert proxy.stdout is not None
        yield int(proxy.stdout.readline())
    finally:
        proxy.communicate(timeout=10)


class _Trees:
    """What is sent: many small files, of text and of noise by halves, and one large file."""

    def __init__(self, host: Sshd) -> None:
        self.host = host
        self.work = host.root / "bench"
        self.many, self.large = self.work / "many", self.work / "large"
        luck = random.Random(1)
        text = Path(__file__).read_bytes() * 2
        for number in range(FILES):
            path = self.many / f"d{number % 100:02}" / f"file-{number}.txt"
            if number < 100:
                path.parent.mkdir(parents=True)
            size = luck.randint(100, 4000)
            at = luck.randrange(len(text) - size)
            path.write_bytes(text[at : at + size] if number % 2 else luck.randbytes(size))
        self.large.mkdir()
        with (self.large / "blob").open("wb") as file:
            for _ in range(0, LARGE, 10**7):
                file.write(os.urandom(10**7))
        os.sync()

    def there(self, name: str) -> Path:
        """A folder of the host's, seen from here."""
        return self.host.home / name

    def fresh(self, *folders: Path) -> None:
        """Take folders away, and let the disk come to rest."""
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        os.sync()


class _Case:
    """All cases at one round trip."""

    def __init__(
        self, trees: _Trees, client: AgentClient, endpoint: Endpoint, rtt: float, report: Report
    ) -> None:
        self.trees, self.client, self.endpoint, self.rtt, self.report = trees, client, endpoint, rtt, report
        self.engines: dict[str, Callable[[str, Path, Path], None]] = {
            "gpunb": self.ours,
            "rsync": self.rsync,
            "rclone": self.rclone,
        }
        self._late: set[str] = set()  # what rclone gave up, and what would need it

    def run(self, rounds: int) -> None:
        """Each case, engines in turn."""
        few = max(1, rounds // 2) if self.rtt else rounds
        self.case("first", rounds, self.first)
        self.case("nothing changed", rounds, self.again)
        self.case("one file changed", rounds, self.one)
        self.case("1 GB up", few, self.up)
        self.case("1 MB of 1 GB changed", rounds, self.changed)
        self.case("1 GB down", few, self.down)
        for name in self.engines:
            self.trees.fresh(self.trees.there(name), self.trees.work / f"back-{name}")

    def case(self, name: str, rounds: int, work: Callable[[str], float]) -> None:
        """Measure, and hold our time against rsync's; rclone, which may take minutes, once."""
        warm = 0 if "GB" in name and self.rtt else 1  # a new tree is written back to the disk first
        print(f"{name} at {self.rtt:g} ms", file=sys.stderr)  # it takes minutes
        found = interleave({one: _bind(work, one) for one in ("gpunb", "rsync")}, rounds, warm_up=warm)
        where = f"{name}, {self.rtt:g} ms"
        results = {one: Result(name=f"{where}, {one}", samples=took, unit="s") for one, took in found.items()}
        self.report.results += results.values()
        limit = LIMITS[name][self.rtt > 0]
        ratio = results["gpunb"].median / results["rsync"].median
        self.report.bars.append(Bar(name=f"{where} / rsync", value=ratio, limit=limit, unit="x"))
        if shutil.which("rclone") is None or ("many" in self._late and "GB" not in name):
            return
        try:
            took = work("rclone")
        except subprocess.TimeoutExpired:
            self.report.notes.append(f"{where}: rclone was given up after {RCLONE_S} s")
            self._late.add("large" if "GB" in name else "many")
            return
        self.report.results.append(Result(name=f"{where}, rclone", samples=[took], unit="s"))

    # -- the cases; each gives seconds

    def first(self, engine: str) -> float:
        there = self.trees.there(engine) / "many"
        self.trees.fresh(there)
        return self.timed(engine, "up", self.trees.many, there)

    def again(self, engine: str) -> float:
        return self.timed(engine, "up", self.trees.many, self.trees.there(engine) / "many")

    def one(self, engine: str) -> float:
        path = self.trees.many / "d42/file-42.txt"
        path.write_bytes(os.urandom(2000))
        return self.timed(engine, "up", self.trees.many, self.trees.there(engine) / "many")

    def up(self, engine: str) -> float:
        there = self.trees.there(engine) / "large"
        self.trees.fresh(there)
        return self.timed(engine, "up", self.trees.large, there)

    def changed(self, engine: str) -> float:
        with (self.trees.large / "blob").open("r+b") as file:
            file.seek(LARGE // 2)
            file.write(os.urandom(CHANGED))
        os.sync()
        return self.timed(engine, "up", self.trees.large, self.trees.there(engine) / "large")

    def down(self, engine: str) -> float:
        back = self.trees.work / f"back-{engine}"
        self.trees.fresh(back)
        return self.timed(engine, "down", self.trees.there("gpunb") / "large", back)

    def timed(self, engine: str, way: str, source: Path, target: Path) -> float:
        """Seconds of one sync; the trees must be equal then."""
        target.parent.mkdir(exist_ok=True)
        gc.collect()
        begin = time.perf_counter()
        self.engines[engine](way, source, target)
        took = time.perf_counter() - begin
        done = subprocess.run(["diff", "-rq", source, target], capture_output=True, check=False)
        if done.returncode or _facts(source) != _facts(target):
            msg = f"{engine}, {way}: other trees: {done.stdout[:500]!r}"
            raise RuntimeError(msg)
        return took

    # -- the engines

    def ours(self, way: str, source: Path, target: Path) -> None:
        from gpunb.sync import sync

        direction = "up" if way == "up" else "down"
        sync(
            self.client.connection,
            str(source),
            str(target),
            direction=direction,  # type: ignore[arg-type]
            agent=self.client,
        ).check()

    def rsync(self, way: str, source: Path, target: Path) -> None:
        host = f"{self.endpoint.host}:"
        ends = [f"{source}/", f"{host}{target}/"] if way == "up" else [f"{host}{source}/", f"{target}/"]
        subprocess.run(["rsync", "-a", "-e", _ssh(self.endpoint), *ends], check=True)

    def rclone(self, way: str, source: Path, target: Path) -> None:
        ends = [str(source), f":sftp:{target}"] if way == "up" else [f":sftp:{source}", str(target)]
        where = {
            "host": self.endpoint.host,
            "port": str(self.endpoint.port),
            "user": self.endpoint.user,
            "key-file": str(self.endpoint.key),
            "shell-type": "unix",
        }
        options = [word for name, value in where.items() for word in (f"--sftp-{name}", value)]
        many = ["--transfers", "32", "--checkers", "32"] if self.rtt else []
        argv = ["rclone", "copy", "--config", os.devnull, *many, *options, *ends]
        subprocess.run(argv, check=True, capture_output=True, timeout=RCLONE_S)


def _bind(work: Callable[[str], float], engine: str) -> Callable[[], float]:
    return lambda: work(engine)


def _ssh(endpoint: Endpoint) -> str:
    from gpunb.ssh.endpoint import ssh_options

    return " ".join("'" + word.replace("'", "''") + "'" for word in ["ssh", *ssh_options(endpoint)])


def _facts(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, int(path.lstat().st_mtime))
        for path in root.rglob("*")
        if path.is_file()
    }


def peaks(trees: _Trees, endpoint: Endpoint, rtt: float, report: Report) -> None:
    """The peak of each end of ours: here that of the process, there that of all its helpers together."""
    facts = {name: str(one) if isinstance(one, Path) else one for name, one in asdict(endpoint).items()}
    there, back = trees.there("peak"), trees.work / "peak-back"
    for way, source, target in (
        ("up", trees.large, there / "large"),
        ("down", there / "large", back),
        ("up, 10,000 files", trees.many, there / "many"),
    ):
        argv = [
            sys.executable,
            "-c",
            CLIENT,
            json.dumps(facts),
            way[:4].strip(" ,"),
            str(source),
            str(target),
        ]
        with _Watch() as watch:
            done = process(argv, timeout=300)
        name = f"peak memory, {way}, {rtt:g} ms"
        for end, size in (("here", done.peak_bytes), ("host", watch.peak)):
            report.results.append(Result(name=f"{name}, {end}", samples=[size / MB], unit="MB"))
            report.bars.append(Bar(name=f"{name}, {end}", value=size / MB, limit=PEAK_MB, unit="MB"))
    trees.fresh(there, back)


class _Watch:
    """The most that the agent's ``files`` processes held together, looked at 50 times a second."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _Watch:  # noqa: PYI034
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            total = 0
            for one in psutil.process_iter(["cmdline"]):
                words = one.info["cmdline"] or []
                if "files" in words and any("/.gpunb/agent/" in word for word in words[:5]):
                    with contextlib.suppress(psutil.Error):
                        facts = one.memory_full_info()
                        total += facts.uss
            self.peak = max(self.peak, total)

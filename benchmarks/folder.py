"""A project of 5,000 files kept the same around a cell, against rsync both ways.

Both run the same cell on the same host through the same line (a session of the provider `local`; far, through
a proxy with a delay). Ours is what a bound folder does around each cell; the other is what a script does by
hand: ``rsync`` there, the cell, ``rsync`` back, each with an ssh of its own. Mutagen is in no registry that
this can install from.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import Bar, Options, Report, Result
from benchmarks._measure import interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpunb.remote import AgentClient
    from gpunb.services.project import Project
    from gpunb.ssh import Endpoint

ROUNDS = 7
FILES, FOLDERS = 5_000, 100
LIMIT = 0.5
NEAR_S = 0.15
"""Seconds before a cell when nothing changed; far, a round trip more."""


def run(options: Options) -> Report:
    """Measure at each round trip."""
    report = Report()
    report.notes.append("mutagen: no binary of it is in npm or PyPI; against rsync both ways")
    with tempfile.TemporaryDirectory(prefix="gpbf", dir="/tmp") as short:
        work = Path(short)
        _tree(work / "proj")
        with _session(work / "home") as session:
            for rtt in options.rtt_ms or (0.0, 50.0):
                print(f"at {rtt:g} ms", file=sys.stderr)  # it takes a while
                with _line(session.port, rtt) as port:
                    _Case(replace(session, port=port), work / "proj", rtt, report).run(options.rounds(ROUNDS))
    return report


def _tree(root: Path) -> None:
    luck = random.Random(1)
    for number in range(FILES):
        path = root / f"d{number % FOLDERS:02}" / f"file-{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(luck.randbytes(luck.randint(100, 4000)))
    (root / "helpers.py").write_text("VALUE = 0\n")
    os.sync()


@contextlib.contextmanager
def _session(home: Path) -> Iterator[Any]:
    """A session of the provider `local`, ended afterwards."""
    os.environ["GPUNB_HOME"] = str(home)
    from gpunb.cli.main import run as gpunb
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.access import host_access

    if gpunb(["rent", "--name", "bench", "--for", "1h", "--yes"]):
        msg = "the local session did not come up"
        raise RuntimeError(msg)
    try:
        with Workspace() as context:
            yield context.session("bench")
    finally:
        host_access.close_all()
        gpunb(["down", "bench", "--yes"])


@contextlib.contextmanager
def _line(port: int, rtt_ms: float) -> Iterator[int]:
    """The port of a line to `port` with this round trip."""
    if not rtt_ms:
        yield port
        return
    argv = [sys.executable, "-m", "tests.support.machines.proxy", "--to", f"127.0.0.1:{port}"]
    proxy = subprocess.Popen(
        [*argv, "--rtt", str(rtt_ms / 1000)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert proxy.stdout is not None
        yield int(proxy.stdout.readline())
    finally:
        proxy.communicate(timeout=10)


class _Case:
    """All figures at one round trip."""

    def __init__(self, session: Any, root: Path, rtt: float, report: Report) -> None:
        from gpunb.services.project import Project
        from gpunb.services.workspace import Workspace
        from gpunb.sessions.access import host_access

        self.rtt, self.report, self.count = rtt, report, 0
        host_access.close_all()
        self.endpoint: Endpoint = host_access.endpoint(session)
        self.context = Workspace()
        self.client: AgentClient = self.context.agent(session)
        # rsync's folder is a copy of its own, here and there
        self.roots = {"gpunb": root, "rsync": root.with_name("hand")}
        shutil.copytree(root, self.roots["rsync"], dirs_exist_ok=True)
        self.project: Project = Project(self.context, session, root)
        self.places = {"gpunb": self.project.place, "rsync": "hand"}
        self.project.send()
        self._rsync(f"{self.roots['rsync']}/", f"{self.endpoint.host}:hand/")

    def run(self, rounds: int) -> None:
        """Both ways in turn, then what a cell waits for when nothing changed."""
        for name, work in (
            ("edit here, the cell sees it", self.edit),
            ("the cell writes, the file is here", self.write),
        ):
            found = interleave({one: _bind(work, one) for one in self.roots}, rounds)
            where = f"{name}, {self.rtt:g} ms"
            results = {
                one: Result(name=f"{where}, {one}", samples=took, unit="s") for one, took in found.items()
            }
            self.report.results += results.values()
            ratio = results["gpunb"].median / results["rsync"].median
            self.report.bars.append(
                Bar(name=f"{where} / rsync both ways", value=ratio, limit=LIMIT, unit="x")
            )
        time.sleep(0.1)
        self.project.send()
        still = [_seconds(self.project.send) for _ in range(rounds)]
        name = f"before a cell, nothing changed, {self.rtt:g} ms"
        result = Result(name=name, samples=still, unit="s")
        self.report.results.append(result)
        limit = NEAR_S + self.rtt / 1000
        self.report.bars.append(Bar(name=name, value=result.median, limit=limit, unit="s"))
        self.context.close()

    def edit(self, engine: str) -> float:
        """Change a file here; the cell prints what it says."""
        self.count += 1
        (self.roots[engine] / "helpers.py").write_text(f"VALUE = {self.count}\n")
        return self.around(engine, "print(open('helpers.py').read().split()[-1])", f"{self.count}\n")

    def write(self, engine: str) -> float:
        """Write a file there; it is read here."""
        self.count += 1
        took = self.around(
            engine, f"print(open('log.txt', 'w').write('{self.count}'))", f"{len(str(self.count))}\n"
        )
        found = (self.roots[engine] / "log.txt").read_text()
        assert found == str(self.count), found
        return took

    def around(self, engine: str, code: str, says: str) -> float:
        """Seconds of a cell with the folder kept the same before and after it."""
        begin = time.perf_counter()
        if engine == "gpunb":
            changed = self.project.send().changed
            self.cell(engine, code, changed, says)
            self.project.bring_back()
        else:
            root, there = self.roots[engine], f"{self.endpoint.host}:hand/"
            self._rsync(f"{root}/", there)
            self.cell(engine, code, ["helpers.py"], says)
            self._rsync(there, f"{root}/")
        return time.perf_counter() - begin

    def cell(self, engine: str, code: str, changed: list[str], says: str) -> None:
        """Run the cell in the folder there, and check what it printed."""
        from gpunb.output import TextSink, show

        place = self.places[engine]
        said = io.StringIO()
        show(
            self.client.run_cell(code, place={"folder": place, "top": place, "changed": changed}),
            TextSink(said),
        )
        assert said.getvalue() == says, (engine, said.getvalue(), says)

    def _rsync(self, *ends: str) -> None:
        from benchmarks.sync import _ssh

        subprocess.run(["rsync", "-a", "--update", "-e", _ssh(self.endpoint), *ends], check=True)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _bind(work: Callable[[str], float], engine: str) -> Callable[[], float]:
    return lambda: work(engine)

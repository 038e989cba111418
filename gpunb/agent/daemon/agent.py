"""The agent's state on the host: its runs, kernels, jobs and lease."""

from __future__ import annotations

import asyncio
import os
import re
import time
from typing import TYPE_CHECKING, Any

from ..files.project import Projects
from ..shared import folders, frames, processes
from .cells import Cells
from .jobs import Job, Jobs
from .runs import Run
from .spares import PREFIX
from .telemetry import Telemetry
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .connection import Client

KEEP_DAYS = float(os.environ.get("GPUNB_JOURNAL_DAYS", "7"))
KEEP_BYTES = int(os.environ.get("GPUNB_JOURNAL_TOTAL", "8589934592"))
SMALL = 64 << 10  # bytes of a journal that is not worth cutting
RUN_ID = re.compile(r"^[a-z0-9]{8,32}$")


class OpError(Exception):
    """A request that failed: a code for programs, a sentence for people."""

    def __init__(self, *, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Agent:
    """The agent: its cells, jobs and lease."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.runs: dict[str, Run] = {}
        self.clients: set[Client] = set()
        self.cells = Cells(self.runs, self.tell)
        self.kernels = {"main": self.cells}
        self.jobs = Jobs(self.runs, self.tell)
        self.watchdog = Watchdog(self)
        self.telemetry = Telemetry(self.tell)
        self.projects = Projects()
        self.ending = asyncio.Event()

    async def restore(self) -> None:
        """Restore what an earlier agent process left: runs on disk, a live kernel."""
        unfinished = []
        for name in sorted(os.listdir(folders.runs())):
            if name.startswith(PREFIX):
                continue
            about = folders.read_json(os.path.join(folders.runs(), name, "about.json")) or {}
            run = (Job if about.get("kind") == "job" else Run).load(name, writing=True)
            if run is None:
                continue
            self.runs[run.id] = run
            if run.over:
                run.shut()
            elif isinstance(run, Job):
                self.jobs.adopt(run)
            else:
                unfinished.append(run)
        self.jobs.later(self.jobs.place())
        if unfinished:
            await self._readopt(unfinished)

    async def _readopt(self, unfinished: list[Run]) -> None:
        unfinished.sort(key=lambda run: run.about.get("created") or 0)
        for name in sorted({str(run.about.get("kernel") or "main") for run in unfinished}):
            theirs = [run for run in unfinished if (run.about.get("kernel") or "main") == name]
            known = folders.read_json(os.path.join(folders.base(), "kernels", name, "process.json"))
            if known and processes.alive(known["pid"], known["started"]):
                self.kernel(name).readopt(theirs)
            else:
                for run in theirs:
                    run.end("died", None, "the host's agent and kernel were ended")

    @property
    def busy(self) -> bool:
        """Whether a run executes, which counts as activity for the lease."""
        return self.jobs.busy or any(cells.active for cells in self.kernels.values())

    def kernel(self, name: Any) -> Cells:
        """Return the cells of the kernel of that name; by default of the session's own."""
        name = name or "main"
        if name not in self.kernels:
            if not isinstance(name, str) or not RUN_ID.match(name):
                text = "kernel: %r is not 8 to 32 lower-case letters and digits" % (name,)
                raise OpError(code="bad-kernel", text=text)
            self.kernels[name] = Cells(self.runs, self.tell, name, self.cells.spares)
        return self.kernels[name]

    def tell(self, head: dict[str, Any]) -> None:
        """Send a note to every client."""
        frame = frames.encode(head)
        for client in self.clients:
            client.post(frame)

    def run(self, args: dict[str, Any]) -> Run:
        """Return the run that a request names."""
        name = str(args.get("run"))
        run: Run | None = self.runs.get(name)
        if run is None:
            found = (cells.comms.find(name) for cells in self.kernels.values())
            run = next((part for part in found if part is not None), None)
        if run is None:
            raise OpError(code="no-run", text="there is no run %r on this host" % (args.get("run"),))
        return run

    def new_about(self, args: dict[str, Any], kind: str) -> dict[str, Any] | None:
        """Create a new run's description; None if the run exists already (a request sent twice)."""
        run_id = args.get("run")
        if not isinstance(run_id, str) or not RUN_ID.match(run_id):
            raise OpError(
                code="bad-run", text="run: %r is not 8 to 32 lower-case letters and digits" % (run_id,)
            )
        if run_id in self.runs:
            return None
        self.watchdog.touch()
        if self.watchdog.over:
            raise OpError(code="lease-over", text="the lease of this host is over: " + self.watchdog.over)
        return {"id": run_id, "kind": kind, "name": str(args.get("name") or "")[:200], "created": time.time()}

    def sweep(self) -> None:
        """Trim the journals of runs that ended long ago, or exceed the size limit together."""
        ended = [run for run in self.runs.values() if run.over and run.size > SMALL]
        total = sum(run.size for run in self.runs.values())
        for run in sorted(ended, key=lambda run: -(run.age("ended") or 0.0)):
            old = (run.age("ended") or 0.0) > KEEP_DAYS * 86400
            if not old and total <= KEEP_BYTES:
                break
            total -= run.size
            why = (
                "it ended more than %g days ago" % KEEP_DAYS if old else "the host's journals were too large"
            )
            run.cut(why)

    async def end_kernels(self, why: str) -> None:
        """Shut all kernels down."""
        await asyncio.gather(*(cells.stop(why) for cells in list(self.kernels.values())))

    async def stop_work(self, why: str) -> None:
        """End all kernels and jobs."""
        await self.end_kernels(why)
        for run in list(self.runs.values()):
            if isinstance(run, Job) and not run.over:
                await self.jobs.cancel(run)

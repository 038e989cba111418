"""Jobs: scripts and commands, each with a keeper process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from . import places, processes
from .journal import Journal
from .runs import Run

if TYPE_CHECKING:
    from collections.abc import Coroutine

POLL = 0.05  # seconds between looks at a job that runs


class Jobs:
    """Starts jobs, watches their journals, ends them."""

    def __init__(self, runs: dict[str, Run]) -> None:
        self.runs = runs
        self.tasks: set[asyncio.Future[Any]] = set()

    def later(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run beside what runs now; a reference is kept until it ends."""
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return any(run.kind == "job" and not run.over for run in self.runs.values())

    def submit(self, about: dict[str, Any]) -> Run:
        """A new job; returns at once."""
        run = Run.create(about, make_journal=False)
        self.runs[run.id] = run
        package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        log = open(os.path.join(run.folder, "keeper.log"), "ab")
        try:
            keeper = subprocess.Popen(
                [sys.executable, package, "keep", run.folder],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            log.close()
        self.later(self.watch(run, keeper))
        return run

    async def watch(self, run: Run, keeper: subprocess.Popen[bytes] | None = None) -> None:
        """Follow a job's journal until its end record; a keeper that vanished ends it here."""
        gone = 0
        while not run.over:
            await asyncio.sleep(POLL)
            run.refresh()
            if keeper is not None:
                alive = keeper.poll() is None
            else:
                known = places.read_json(os.path.join(run.folder, "process.json")) or {}
                alive = processes.alive(known.get("keeper"), known.get("keeper_started"))
            gone = 0 if alive else gone + 1
            if gone > 2 and not run.over:
                self._write_off(run)
        if keeper is not None:
            keeper.wait()

    def _write_off(self, run: Run) -> None:
        known = places.read_json(os.path.join(run.folder, "process.json")) or {}
        processes.end_tree(known.get("pid"), "GPUNB_RUN=" + run.id, grace=0.5)
        journal = run.journal = Journal(run.path, run.id)
        run.last, run.size = journal.last, journal.size
        run.end("died", None, "its keeper process was killed")

    async def cancel(self, run: Run, reason: str = "cancelled") -> None:
        """End the whole process tree of a job: TERM, then KILL."""
        known = places.read_json(os.path.join(run.folder, "process.json")) or {}
        with open(os.path.join(run.folder, reason), "w"):
            pass
        loop = asyncio.get_running_loop()
        spare = (known.get("keeper"),)
        if known.get("pid"):
            await loop.run_in_executor(
                None, processes.end_tree, known["pid"], "GPUNB_RUN=" + run.id, 5.0, spare
            )
        for _ in range(100):
            run.refresh()
            if run.over:
                return
            await asyncio.sleep(0.05)

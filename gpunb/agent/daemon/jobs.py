"""Jobs: scripts and commands, each with a keeper process; those that need GPUs wait in a queue.

A job that asks for GPUs is given free ones, strictly in the order of the queue;
one that asks for none starts at once. A job's GPUs are written to disk before it
starts, so that after a kill the next agent continues with the same state.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from ..shared import folders, processes, restart_policy
from ..shared.journal import Journal
from . import gpus, lending
from .runs import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

POLL = 0.05  # seconds between checks of a running job
RETRY = 5.0  # seconds until a start that failed on a full disk is retried
GRACE = 10.0  # seconds between TERM and KILL of a job, as containers have


class Job(Run):
    """A run whose journal is written by its keeper process.

    Attributes
    ----------
    wants
        How many GPUs it asked for.
    gpus
        Which it was given.
    attempt
        How often its command was started, from 1.
    """

    def __init__(self, about: dict[str, Any]) -> None:
        super().__init__(about)
        self.wants = int(about.get("gpus") or 0)
        self.policy = str(about.get("restart") or "never")
        self.gpus: list[str] = []
        self.attempt = 1
        self.secrets: dict[str, str] = {}

    @property
    def is_short_of_secrets(self) -> bool:
        """Whether the job has secrets that this process does not know."""
        return bool(self.about.get("secrets")) and not self.secrets

    @property
    def was_placed(self) -> bool:
        """Whether the job left the queue, also under an earlier agent."""
        return any(os.path.exists(os.path.join(self.folder, name)) for name in ("placed.json", "journal"))

    @property
    def process(self) -> dict[str, Any]:
        """What the keeper process has recorded: its own process id and the command's."""
        known = folders.read_json(os.path.join(self.folder, "process.json"))
        return known if isinstance(known, dict) else {}

    @property
    def command(self) -> int | None:
        """The command's process id, if it is that process still and not another that got its number."""
        known = self.process
        return known.get("pid") if processes.alive(known.get("pid"), known.get("started")) else None

    def _note(self, number: int, head: dict[str, Any], size: int) -> None:
        super()._note(number, head, size)
        self.attempt = int(head.get("attempt", self.attempt))
        if head.get("queued"):
            self.started, self.state = None, "queued"

    def info(self) -> dict[str, Any]:
        """The info of a run, with GPUs and attempts."""
        result = super().info()
        result.update(gpus=self.gpus, wants=self.wants, attempt=self.attempt, restart=self.policy)
        if self.state == "queued" and self.wants and not self.gpus:
            result["why"] = "waits for %d GPU%s" % (self.wants, "s" if self.wants > 1 else "")
        return result


class Jobs:
    """Starts jobs, watches their journals, ends them.

    Parameters
    ----------
    tell
        Called with a note's head when a job has ended.
    """

    def __init__(self, runs: dict[str, Run], tell: Callable[[dict[str, Any]], None]) -> None:
        self.runs = runs
        self.tell = tell
        self.tasks: set[asyncio.Future[Any]] = set()
        self.queue: list[Job] = []
        self.closing = False
        self._devices: list[str] = []
        self._placing = asyncio.Lock()

    def later(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine as a task; a reference is kept until it ends."""
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return any(run.kind == "job" and not run.over for run in self.runs.values())

    async def devices(self) -> list[str]:
        """Return the host's GPUs; queried until there is an answer.

        Raises
        ------
        gpus.SmiError
        """
        if not self._devices:
            self._devices = await gpus.devices()
        return self._devices

    def submit(self, about: dict[str, Any], secrets: dict[str, str] | None = None) -> Job:
        """Start or queue a new job; returns at once. `secrets` are in its process's environment."""
        run: Job = Job.create(about, make_journal=False)  # type: ignore[assignment]
        run.secrets = dict(secrets or {})
        self.runs[run.id] = run
        if run.wants:
            self.queue.append(run)
            self.later(self.place())
        else:
            self._start(run, [])
        return run

    def adopt(self, run: Job) -> None:
        """Take over an unfinished job found on disk: it runs, waits, or was lost with its host."""
        placed = folders.read_json(os.path.join(run.folder, "placed.json")) or {}
        run.gpus = [str(name) for name in placed.get("gpus", [])]
        if run.was_placed or not run.wants:
            self.later(self.watch(run))
        else:
            self.queue.append(run)
            self.queue.sort(key=lambda one: one.about.get("created") or 0)

    async def place(self) -> None:
        """Give free GPUs to waiting jobs, in the order of the queue."""
        async with self._placing:
            while self.queue and not self.closing:
                run = self.queue[0]
                if run.over:
                    self.queue.pop(0)
                    continue
                if run.is_short_of_secrets:
                    self._refuse(run, lending.GONE)
                    continue
                refused = ""
                try:
                    all_of_them = await self.devices()
                except (gpus.SmiError, OSError) as err:
                    all_of_them, refused = [], "the host's GPUs can't be counted: %s" % err
                if run.wants > len(all_of_them):
                    text = "asks for %d GPUs, and this host has %d" % (run.wants, len(all_of_them))
                    self._refuse(run, refused or text)
                    continue
                held = {
                    name
                    for one in self.runs.values()
                    if isinstance(one, Job) and not one.over
                    for name in one.gpus
                }
                free = [name for name in all_of_them if name not in held]
                if run not in self.queue[:1]:  # cancelled meanwhile
                    continue
                if len(free) < run.wants:
                    return
                self.queue.pop(0)
                try:
                    self._start(run, free[: run.wants])
                except OSError:  # a full disk: its GPUs must be recorded before the start
                    run.gpus = []
                    self.queue.insert(0, run)
                    await asyncio.sleep(RETRY)

    def _refuse(self, run: Job, why: str) -> None:
        if run in self.queue:
            self.queue.remove(run)
            self._close(run, "error", None, why)
            self._ended(run)

    def _start(self, run: Job, given: list[str]) -> None:
        run.gpus = given
        folders.write_json(os.path.join(run.folder, "placed.json"), {"gpus": given})
        self.later(self.watch(run, self._keeper(run)))

    def _keeper(self, run: Job) -> subprocess.Popen[bytes]:
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        log = open(os.path.join(run.folder, "keeper.log"), "ab")
        try:
            keeper = subprocess.Popen(
                [sys.executable, package, "keep", run.folder],
                stdin=subprocess.PIPE if run.secrets else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            log.close()
        if keeper.stdin is not None:  # less than a pipe holds
            with contextlib.suppress(OSError), keeper.stdin as line:
                line.write(json.dumps(run.secrets).encode("utf-8"))
        return keeper

    async def watch(self, run: Job, keeper: subprocess.Popen[bytes] | None = None) -> None:
        """Follow a job's journal until its end record, and handle a lost keeper."""
        gone = 0
        while not self._done(run):
            await asyncio.sleep(POLL)
            run.refresh()
            if keeper is not None:
                alive = keeper.poll() is None
            else:
                known = run.process
                alive = processes.alive(known.get("keeper"), known.get("keeper_started"))
            gone = 0 if alive else gone + 1
            if gone > 2 and not self._done(run):
                gone = 0
                keeper = await self._lost(run)
        if keeper is not None and not self.closing:
            keeper.wait()
        if run.over:
            self._ended(run)

    def _done(self, run: Job) -> bool:
        return run.over or self.closing

    async def _lost(self, run: Job) -> subprocess.Popen[bytes] | None:
        """Handle a lost keeper: start another one if the job's policy says so, else end the job."""
        never_began = not run.process  # the agent was killed as it started it
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, processes.end_tree, run.command, "GPUNB_RUN=" + run.id, 0.5)
        run.refresh()
        if self._done(run):
            return None
        cancelled = os.path.exists(os.path.join(run.folder, "cancelled"))
        if run.is_short_of_secrets and not cancelled:
            self._close(run, "died", None, lending.GONE)
            return None
        if never_began or (restart_policy.again(run.policy, run.attempt, lost=True) and not cancelled):
            return self._keeper(run)
        state, why = ("cancelled", "cancelled") if cancelled else ("died", "its keeper process was killed")
        self._close(run, state, None, why)
        return None

    def _close(self, run: Job, state: str, code: int | None, why: str) -> None:
        """Write the end of a job that has no keeper."""
        journal = run.journal = Journal(run.path, run.id)
        run.last, run.size = journal.last, journal.size
        if not run.last:
            head = {"k": "start", "kind": "job", "name": run.about.get("name", ""), "queued": True}
            run.append(head)
        run.end(state, code, why)

    def _ended(self, run: Job) -> None:
        about = {name: run.info()[name] for name in ("run", "kind", "name", "state", "exit", "why")}
        self.tell(dict(about, t="note", k="run-ended", ts=time.time()))
        if self.queue:
            self.later(self.place())

    async def cancel(self, run: Job, reason: str = "cancelled") -> None:
        """End the whole process tree of a job: TERM, then KILL; a waiting job leaves the queue."""
        if run in self.queue:
            self.queue.remove(run)
            self._close(run, "cancelled", 130, "had not started")
            self._ended(run)
            return
        with contextlib.suppress(OSError), open(os.path.join(run.folder, reason), "w"):
            pass
        loop = asyncio.get_running_loop()
        for _ in range(20):  # again: the keeper may just have started the command once more
            spare = (run.process.get("keeper"),)
            mark = "GPUNB_RUN=" + run.id
            await loop.run_in_executor(None, processes.end_tree, run.command, mark, GRACE, spare)
            for _ in range(10):
                run.refresh()
                if run.over:
                    return
                await asyncio.sleep(POLL)

    async def close(self) -> None:
        """End all jobs before the host stops: those with a restart policy go on after its next start."""
        self.closing = True
        jobs = [run for run in self.runs.values() if isinstance(run, Job) and not run.over]
        keepers = []
        for run in jobs:
            if run.policy == "never":
                await self.cancel(run)
            elif run not in self.queue:
                known = run.process
                if processes.alive(known.get("keeper"), known.get("keeper_started")):
                    keepers.append((known["keeper"], known["keeper_started"]))
        processes.send([pid for pid, _ in keepers], signal.SIGTERM)
        for _ in range(160):
            if not any(processes.alive(pid, started) for pid, started in keepers):
                return
            await asyncio.sleep(POLL)

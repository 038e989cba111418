"""The session's kernel and the queue of cells before it."""

import asyncio
import collections
import json
import time

from .kernel import Kernel
from .runs import Run, describe_code

# IOPub messages that belong in a run's journal beside streams
KEPT = frozenset(
    [
        "display_data",
        "update_display_data",
        "execute_result",
        "clear_output",
        "error",
        "comm_open",
        "comm_msg",
        "comm_close",
    ]
)


class Cells:
    """Runs cells one after the other in the main kernel.

    Cells wait here and not in the kernel, since a kernel throws its queue
    away when a cell fails, and the next cell may be another notebook's.
    """

    def __init__(self, runs, note):
        self.runs = runs
        self.note = note
        self.kernel = None
        self.queue = collections.deque()
        self.current = None
        self.hidden = {}
        self.restarted = ""
        self._starting = None
        self._idle = None

    @property
    def busy(self):
        """Whether a cell runs or waits."""
        return self.current is not None or bool(self.queue)

    async def ensure(self):
        """A living kernel; several callers share one start."""
        if self.kernel is not None and self.kernel.alive:
            return
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        try:
            await asyncio.shield(self._starting)
        finally:
            if self._starting is not None and self._starting.done():
                self._starting = None

    async def _start(self):
        kernel = Kernel("main", self._on_iopub, self._on_input, self._on_died)
        self.kernel = kernel
        await kernel.start()

    def readopt(self, unfinished):
        """After the agent's own end: the cells that were under way when it died.

        The living kernel's messages have waited in it; the cell that it was
        busy with goes on, what waited before it is queued again.
        """
        running = [run for run in unfinished if run.last > 1 or run.about.get("sent")]
        waiting = [run for run in unfinished if run not in running]
        for run in running:
            run.begin()
            self.current = run
        self.queue.extend(waiting)

    def submit(self, about, code, store, timeout):
        """A new cell; returns at once."""
        about.update(code=code, store=store, timeout=timeout, name=about.get("name") or describe_code(code))
        run = Run.create(about)
        self.runs[run.id] = run
        self.queue.append(run)
        asyncio.ensure_future(self._next())
        return run

    async def _next(self):
        if self.current is not None or not self.queue:
            return
        run = self.current = self.queue.popleft()
        try:
            await self.ensure()
            if run.over:  # cancelled while the kernel started
                return
            await self._execute(run)
        except Exception as err:  # noqa: BLE001 - whatever went wrong ends the run, not the agent
            run.end("died", why=str(err) or type(err).__name__)
        finally:
            if self.current is run:
                self.current = None
            if self.queue:
                asyncio.ensure_future(self._next())

    async def _execute(self, run):
        if self.restarted:
            text, self.restarted = self.restarted, ""
            run.append({"k": "note", "text": text})
        self._idle = asyncio.Event()
        about = run.about
        content = {"code": about["code"], "silent": False, "store_history": bool(about.get("store", True))}
        content.update(user_expressions={}, allow_stdin=True, stop_on_error=True)
        run.begin()
        idle = self._idle
        reply = self.kernel.request("execute_request", content, message_id=run.id)
        timer = None
        if about.get("timeout"):
            timer = asyncio.get_running_loop().call_later(about["timeout"], self._time_over, run)
        try:
            answer = await reply
            await asyncio.wait_for(idle.wait(), 30)
        except (asyncio.CancelledError, asyncio.TimeoutError):
            if not run.over:
                raise RuntimeError("the kernel stopped answering") from None
            return
        finally:
            if timer is not None:
                timer.cancel()
        self._finish(run, answer)

    def _finish(self, run, answer):
        status = answer.get("status")
        more = {"count": answer.get("execution_count")}
        if run.about.get("over"):
            run.end("timeout", why="its %g s were over" % run.about["timeout"], **more)
        elif status == "ok":
            run.end("ok", 0, **more)
        elif answer.get("ename") == "KeyboardInterrupt":
            run.end("cancelled", 130, "interrupted", **more)
        else:
            run.end("error", 1, "%s: %s" % (answer.get("ename", "aborted"), answer.get("evalue", "")), **more)

    def _time_over(self, run):
        if self.current is run and not run.over:
            run.about["over"] = True
            self.kernel.interrupt()

    def interrupt(self, run):
        """SIGINT if the run is under way, else take it out of the queue."""
        if run is self.current and self.kernel is not None and self.kernel.alive:
            self.kernel.interrupt()
        elif run in self.queue:
            self.queue.remove(run)
            run.end("cancelled", 130, "it had not started")

    async def restart(self):
        """End the kernel with its variables; the next cell starts a new one."""
        run, self.current = self.current, None
        kernel, self.kernel = self.kernel, None
        if run is not None:
            run.end("cancelled", 130, "the kernel was restarted")
        if kernel is not None:
            await kernel.kill()
        await self.ensure()
        await self._next()

    async def stop(self, why):
        """End the kernel and every cell, for good."""
        for run in [*self.queue, *([self.current] if self.current else [])]:
            run.end("cancelled", 130, why)
        self.queue.clear()
        if self.kernel is not None:
            await self.kernel.kill()

    async def hidden_request(self, kind, content, timeout):
        """A request that is nobody's run: completion, or a helper's silent code."""
        await self.ensure()
        reply = self.kernel.request(kind, content)
        try:
            return await asyncio.wait_for(asyncio.shield(reply), timeout)
        except asyncio.CancelledError:
            raise RuntimeError("the kernel ended before it answered") from None

    def _on_iopub(self, kind, parent, parts):
        run = self.runs.get(parent)
        if run is None or run.journal is None:
            return
        if kind == "stream":
            content = json.loads(parts[0].decode("utf-8", "replace"))
            run.stream(content["name"], content["text"])
        elif kind in KEPT:
            run.append({"k": "msg", "type": kind}, parts)
        elif kind == "status" and run is self.current:
            state = json.loads(parts[0].decode())["execution_state"]
            if state == "idle" and self._idle is not None:
                self._idle.set()
            if state == "idle" and run.about.get("adopted"):
                # this agent did not ask, so no reply comes to it
                run.end("ok" if not run.about.get("failed") else "error", None, "")
                self.current = None
                asyncio.ensure_future(self._next())
        if kind == "error":
            run.about["failed"] = True

    def _on_input(self, parent, content):
        run = self.runs.get(parent)
        if run is not None:
            run.about["asked"] = run.about.get("asked", 0) + 1
            run.append(
                {
                    "k": "input",
                    "prompt": str(content.get("prompt", "")),
                    "password": bool(content.get("password")),
                }
            )

    def answer(self, run, text, number):
        """Answer input record `number`; once only, whoever is first."""
        if number in run.about.setdefault("answers", []):
            return False
        run.about["answers"].append(number)
        run.append({"k": "answered", "to": number})
        self.kernel.answer(text)
        return True

    def _on_died(self, why):
        run, self.current = self.current, None
        self.kernel = None
        self.restarted = "the kernel ended (%s); this is a new one, its variables are empty" % why
        if run is not None:
            run.end("died", None, why)
        self.note({"t": "note", "k": "kernel-died", "why": why, "ts": time.time()})
        asyncio.ensure_future(self._next())

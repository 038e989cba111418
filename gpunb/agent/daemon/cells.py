"""A kernel and the queue of cells that wait for it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

from ..shared import folders
from ..shared.comm_state import TYPES
from . import lending
from .comms import Comms
from .kernel_client import Kernel
from .runs import Run, describe_code
from .spares import SOON, Spares

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

# IOPub messages that are journaled besides streams
KEPT = frozenset(
    [
        "display_data",
        "update_display_data",
        "execute_result",
        "clear_output",
        "error",
    ]
)
# payloads of a reply for the frontend: `name?`, and `%load`
PAYLOADS = {"page": "page", "set_next_input": "next_input"}
# messages of threads after their cell has ended
KEPT_LATE = KEPT | {"stream"}
NEWS = 0.02  # seconds from a cell's end to the note for clients that do not follow it
OPEN = 32  # journals of ended cells that stay open


class Cells:
    """Runs cells one after the other in one kernel: "main", or one that a whole notebook has for itself.

    Cells are queued here and not in the kernel, since a kernel drops its queue
    when a cell fails, and the next cell may be another notebook's.
    """

    def __init__(
        self,
        runs: dict[str, Run],
        note: Callable[[dict[str, Any]], None],
        name: str = "main",
        spares: Spares | None = None,
    ) -> None:
        self.name = name
        self.kept = KEPT if name == "main" else KEPT | {"execute_input"}
        self.leave = False  # the notebook is closed: end the kernel when its cells have ended
        self.runs = runs
        self.note = note
        self.kernel: Kernel | None = None
        self.folder = os.path.join(folders.base(), "kernels", name)
        self.comms = Comms(os.path.join(self.folder, "comms"), "comms" if name == "main" else name[:20])
        self.queue: collections.deque[Run] = collections.deque()
        self.spares = Spares(folders.runs()) if spares is None else spares
        self._open: collections.deque[Run] = collections.deque()
        self._news: list[Run] = []  # ended cells that other clients are not notified of yet
        self.current: Run | None = None
        self.restarted = ""
        self.failed: set[str] = set()
        self.overdue: set[str] = set()
        self.answers: set[tuple[str, int]] = set()
        self.secrets: dict[str, dict[str, str]] = {}  # of cells that wait or run
        self.tasks: set[asyncio.Future[Any]] = set()
        self._starting: asyncio.Future[bool] | None = None
        self._ending: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()
        self._begun = True  # the kernel has begun the current cell
        self._interrupt = False  # when it begins

    def later(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine as a task; a reference is kept until it ends."""
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    @property
    def busy(self) -> bool:
        """Whether a cell runs or waits."""
        return self.current is not None or bool(self.queue)

    @property
    def active(self) -> bool:
        """Whether a cell executes: not if the running cell waits for an answer."""
        return self.busy and (self.current is None or self.current.active)

    async def ensure(self) -> Kernel:
        """Return a live kernel; several callers share one start."""
        if self._ending is not None:
            await asyncio.shield(self._ending)
        kernel = self.kernel
        starting = self._starting
        if kernel is None or (not kernel.alive and (starting is None or starting.done())):
            kernel = self.kernel = Kernel(self.name, self._on_iopub, self._on_input, self._on_died)
            kernel.on_turn, kernel.on_lost = self._flush, self._on_lost
            starting = self._starting = asyncio.ensure_future(self._start(kernel))
        if starting is not None:
            await asyncio.shield(starting)
        return kernel

    async def _start(self, kernel: Kernel) -> bool:
        new = await kernel.start()
        if new:
            self.comms.begin("its kernel is gone")
            if not self.restarted and os.path.exists(self._used()):
                self.restarted = "this is a new kernel, and its variables are empty: the one before is gone"
            with contextlib.suppress(OSError):
                os.unlink(self._used())
        return new

    def _used(self) -> str:
        """The path of a file that marks a used kernel; it outlives the kernel and a stopped machine."""
        return os.path.join(self.folder, "used")

    async def warm(self) -> None:
        """Start the kernel ahead of its use; a failure is reported by the first cell."""
        self._make_spares()
        with contextlib.suppress(Exception):
            await self.ensure()

    def readopt(self, unfinished: list[Run]) -> None:
        """Take over the cells that were running or queued when the last agent died.

        The live kernel has kept its messages; its running cell goes on, and the
        cells that waited for it are queued again.
        """
        self.queue.extend(run for run in unfinished if run.state == "queued")
        begun = [run for run in unfinished if run.state == "running"]
        for run in begun[:-1]:  # one cell runs at a time; an older one can't be running
            run.end("died", None, "the host's agent was ended")
        self.current = begun[-1] if begun else None
        self.later(self._see_out(self.current) if self.current else self._next())

    async def _see_out(self, run: Run) -> None:
        """Wait for a cell that an earlier agent handed to the kernel.

        Its reply went to that agent. A kernel answers in order, so an answer
        to a request sent now means that the cell has ended.
        """
        kernel = await self.ensure()
        try:
            await kernel.request("kernel_info_request", {})
        except asyncio.CancelledError:
            return  # the kernel died, and the run with it
        await asyncio.sleep(0.2)  # output comes on another socket
        if run.about.get("secrets"):
            await lending.take_back(kernel)
        failed = run.id in self.failed
        self.failed.discard(run.id)
        run.end("error" if failed else "ok", 1 if failed else 0)
        self.current = None
        await self._next()

    def _shut_later(self, run: Run) -> None:
        """Limit the open journals: a process may have about a thousand files open."""
        self._open.append(run)
        while len(self._open) > OPEN:
            oldest = self._open.popleft()
            if oldest.over and oldest not in self._open:
                oldest.shut()

    def _tell_ends(self) -> None:
        news, self._news = self._news, []
        for run in news:
            about = {name: run.info()[name] for name in ("run", "kind", "name", "state", "exit", "why")}
            self.note(dict(about, t="note", k="run-ended", ts=time.time()))

    def _make_spares(self) -> None:
        asyncio.get_running_loop().run_in_executor(None, self.spares.fill)

    def submit(
        self,
        about: dict[str, Any],
        code: str,
        store: bool,
        timeout: float | None,
        secrets: dict[str, str] | None = None,
    ) -> Run:
        """Queue a new cell; returns at once. `secrets` are in its environment while it runs."""
        about.update(code=code, store=store, timeout=timeout, name=about.get("name") or describe_code(code))
        run = Run.create(about, spares=self.spares)
        self.runs[run.id] = run
        if secrets:
            self.secrets[run.id] = secrets
        self.queue.append(run)
        self.later(self._next())
        return run

    async def _next(self) -> None:
        if self.current is not None or not self.queue:
            return
        run = self.current = self.queue.popleft()
        try:
            kernel = await self.ensure()
            if run.over:  # cancelled while the kernel started
                return
            await self._execute(kernel, run)
        except Exception as err:  # noqa: BLE001 - whatever went wrong ends the run, not the agent
            run.end("died", why=str(err) or type(err).__name__)
        finally:
            self.secrets.pop(run.id, None)
            if self.current is run:
                self.current = None
            self._shut_later(run)
            loop = asyncio.get_running_loop()
            loop.call_later(SOON, self._make_spares)
            if run.over:
                self._news.append(run)
                if len(self._news) == 1:
                    loop.call_later(NEWS, self._tell_ends)
            if self.queue:
                self.later(self._next())
            elif self.leave:
                self.later(self.stop("nobody uses its kernel any more"))

    async def _execute(self, kernel: Kernel, run: Run) -> None:
        if self.restarted:
            text, self.restarted = self.restarted, ""
            run.append({"k": "note", "text": text})
        with contextlib.suppress(OSError), open(self._used(), "ab"):
            pass
        self._idle = asyncio.Event()
        about = run.about
        content = {"code": about["code"], "silent": False, "store_history": bool(about.get("store", True))}
        content.update(user_expressions=about.get("expressions") or {}, stop_on_error=False)
        content["allow_stdin"] = bool(about.get("stdin", True))
        content["gpunb_place"] = about.get("place") or {}
        lent = self.secrets.pop(run.id, None)
        if about.get("secrets"):
            if lent is None:
                raise RuntimeError(lending.GONE)
            await lending.lend(kernel, lent)
        self._begun = self._interrupt = False
        run.begin()
        idle = self._idle
        reply = kernel.request("execute_request", content, message_id=run.id)
        timer = None
        if about.get("timeout"):
            timer = asyncio.get_running_loop().call_later(about["timeout"], self._time_over, run)
        try:
            answer = await reply
            await asyncio.wait_for(idle.wait(), 30)
        except (asyncio.CancelledError, asyncio.TimeoutError):
            if not run.over:
                msg = "the kernel stopped answering"
                raise RuntimeError(msg) from None
            return
        finally:
            if timer is not None:
                timer.cancel()
        if about.get("secrets"):
            await lending.take_back(kernel)
        self._finish(run, answer)

    def _finish(self, run: Run, answer: dict[str, Any]) -> None:
        status = answer.get("status")
        self.failed.discard(run.id)
        if self.name != "main":
            run.append({"k": "msg", "type": "execute_reply"}, [json.dumps(answer).encode("utf-8")])
        for order in answer.get("payload") or []:
            kind = PAYLOADS.get(order.get("source")) if self.name == "main" else None
            if kind is not None:
                run.append({"k": "msg", "type": kind}, [json.dumps(order).encode("utf-8")])
        more: dict[str, Any] = {"count": answer.get("execution_count")}
        more.update({name: answer[name] for name in ("ename", "evalue") if name in answer})
        if run.id in self.overdue:
            self.overdue.discard(run.id)
            run.end("timeout", why="its %g s were over" % run.about["timeout"], **more)
        elif status == "ok":
            run.end("ok", 0, **more)
        elif answer.get("ename") == "KeyboardInterrupt":
            run.end("cancelled", 130, "interrupted", **more)
        else:
            run.end("error", 1, "%s: %s" % (answer.get("ename", "aborted"), answer.get("evalue", "")), **more)

    def _time_over(self, run: Run) -> None:
        if self.current is run and not run.over:
            self.overdue.add(run.id)
            self.interrupt(run)

    def interrupt(self, run: Run) -> None:
        """Send SIGINT to a running cell, or remove it from the queue."""
        if run.state == "queued":  # also while the kernel starts for it
            if run in self.queue:
                self.queue.remove(run)
            run.end("cancelled", 130, "it had not started")
        elif run is self.current and self.kernel is not None:
            run.waiting = None
            self._interrupt = not self._begun
            self.kernel.interrupt()

    async def restart(self) -> None:
        """End the kernel with its variables; the next cell starts a new one."""
        run, self.current = self.current, None
        if run is not None:
            run.end("cancelled", 130, "the kernel was restarted")
        if self.kernel is None and folders.read_json(os.path.join(self.folder, "process.json")):
            await self.ensure()  # an earlier agent's kernel, to be ended like ours
        await self._end_kernel()
        with contextlib.suppress(OSError):  # a requested restart needs no note about a new kernel
            os.unlink(self._used())
        await self.ensure()
        await self._next()

    async def stop(self, why: str) -> None:
        """End the kernel and every cell; a later cell gets a new kernel, with a note about that."""
        for run in [*self.queue, *([self.current] if self.current else [])]:
            run.end("cancelled", 130, why)
        self.queue.clear()
        if self.kernel is not None:
            self.restarted = "the kernel was ended (%s); this is a new one, its variables are empty" % why
        await self._end_kernel()

    async def _end_kernel(self) -> None:
        """End the kernel's process; `ensure` waits for that before it starts another."""
        kernel, self.kernel = self.kernel, None
        self.comms.end("the kernel was ended")
        if kernel is not None:
            self._ending = asyncio.ensure_future(kernel.end())
            await asyncio.shield(self._ending)
            self._idle.set()  # its cell has nothing to wait for

    async def hidden_request(self, kind: str, content: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send a kernel request that belongs to no run: completion, or a helper's silent code."""
        kernel = await self.ensure()
        reply = kernel.request(kind, content)
        try:
            return await asyncio.wait_for(asyncio.shield(reply), timeout)
        except asyncio.CancelledError:
            msg = "the kernel ended before it answered"
            raise RuntimeError(msg) from None

    async def send_comm(self, head: dict[str, Any]) -> bool:
        """Send a frontend's comm message to the kernel, ahead of queued cells; return whether it is done."""
        kernel = self.kernel
        if kernel is None or not kernel.alive:
            msg = "the kernel is gone, and its widgets with it"
            raise RuntimeError(msg)
        return await self.comms.send(kernel, head, head["parts"], self.busy)

    def _on_iopub(self, kind: str, parent: str, parts: Sequence[bytes]) -> None:
        if self.kernel is None:
            return
        run = self.runs.get(parent)
        if kind in TYPES:
            part, number = self.comms.hear(kind, parts, self.kernel.position)
            if (
                run is not None
                and run.journal is not None
                and not run.over
                and run.hear(self.kernel.position)
            ):
                run.append({"k": "comm", "part": part, "n": number})
            return
        if parent.startswith("comm-") and (kind in self.kept or kind in ("stream", "status")):
            self.comms.hear_answer(kind, parent, parts, self.kernel.position)
            return
        if run is None or run.kind != "cell" or (run.journal is None and kind not in KEPT_LATE):
            return
        if kind != "status" and not run.hear(self.kernel.position):
            return  # an earlier agent has journaled it
        if run.journal is None:
            run.reopen()
            self._shut_later(run)
        self._now_begins(kind, run)
        if kind == "stream":
            content = json.loads(parts[0].decode("utf-8", "replace"))
            run.stream(content["name"], content["text"])
        elif kind in self.kept:
            run.append({"k": "msg", "type": kind}, parts)
        elif kind == "status" and run is self.current:
            state = json.loads(parts[0].decode())["execution_state"]
            if state == "idle":
                self._idle.set()
        if kind == "error":
            self.failed.add(run.id)

    def _now_begins(self, kind: str, run: Run) -> None:
        if kind == "execute_input" and run is self.current:
            self._begun = True
            if self._interrupt and self.kernel is not None:  # the kernel did not have the cell yet
                self.kernel.interrupt()

    def _flush(self) -> None:
        for run in self.runs.values():
            run.flush()

    def _on_lost(self, size: int) -> None:
        if self.current is not None:
            self.current.append({"k": "lost", "bytes": size, "why": "the host's disk was full"})

    def _on_input(self, parent: str, content: dict[str, Any]) -> None:
        run = self.runs.get(parent)
        if run is not None:
            run.append(
                {
                    "k": "input",
                    "prompt": str(content.get("prompt", "")),
                    "password": bool(content.get("password")),
                }
            )

    def answer(self, run: Run, text: str, number: int) -> bool:
        """Answer input record `number`; only the first answer counts."""
        if (run.id, number) in self.answers:
            return False
        self.answers.add((run.id, number))
        run.append({"k": "answered", "to": number})
        if self.kernel is not None:
            self.kernel.answer(text)
        return True

    def _on_died(self, why: str) -> None:
        run, self.current = self.current, None
        words = self.kernel.last_words if self.kernel is not None else {}
        self.kernel = None
        self.comms.end(why)
        self.restarted = "the kernel ended (%s); this is a new one, its variables are empty" % why
        if run is not None:
            for name, text in words.items():
                run.stream(name, text.decode("utf-8", "replace"))
            first = next((line.strip() for line in _text(words).splitlines() if line.strip()), "")
            run.end("died", None, "%s; its last words: %s" % (why, first[:300]) if first else why)
        self.note({"t": "note", "k": "kernel-died", "kernel": self.name, "why": why, "ts": time.time()})
        self.later(self._next())


def _text(words: dict[str, bytes]) -> str:
    """The last output of a kernel, stderr first."""
    return b"\n".join([words.get("stderr", b""), words.get("stdout", b"")]).decode("utf-8", "replace")

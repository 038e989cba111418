"""The agent's process: one a host and user, answering on a private Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from typing import IO, TYPE_CHECKING, Any

from ..shared import folders, frames, processes
from ..shared.comm_state import TYPES as COMM_TYPES
from ..shared.journal import Reader
from ..shared.restart_policy import parse as parse_policy
from . import gpus, lending
from .cells import Cells
from .jobs import Job, Jobs
from .runs import PATIENCE, Follower, Run
from .spares import PREFIX
from .telemetry import Telemetry
from .watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

KEEP_DAYS = float(os.environ.get("GPUNB_JOURNAL_DAYS", "7"))
KEEP_BYTES = int(os.environ.get("GPUNB_JOURNAL_TOTAL", "8589934592"))
SMALL = 64 << 10  # bytes of a journal that is not worth cutting
RUN_ID = re.compile(r"^[a-z0-9]{8,32}$")


class OpError(Exception):
    """A request that can't be done: a code for programs, a sentence for people."""

    def __init__(self, *, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Agent:
    """All that the host does for us: cells, jobs, the lease."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.runs: dict[str, Run] = {}
        self.clients: set[Client] = set()
        self.cells = Cells(self.runs, self.tell)
        self.kernels = {"main": self.cells}
        self.jobs = Jobs(self.runs, self.tell)
        self.watchdog = Watchdog(self)
        self.telemetry = Telemetry(self.tell)
        self.ending = asyncio.Event()

    async def restore(self) -> None:
        """Take up what an earlier agent process left: runs on disk, a kernel that lives."""
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
        """Whether a run executes: the activity that a lease looks at."""
        return self.jobs.busy or any(cells.active for cells in self.kernels.values())

    def kernel(self, name: Any) -> Cells:
        """The cells of the kernel of that name; the session's own without a name."""
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
        """The run that a request names."""
        name = str(args.get("run"))
        run: Run | None = self.runs.get(name)
        if run is None:
            found = (cells.comms.find(name) for cells in self.kernels.values())
            run = next((part for part in found if part is not None), None)
        if run is None:
            raise OpError(code="no-run", text="there is no run %r on this host" % (args.get("run"),))
        return run

    def new_about(self, args: dict[str, Any], kind: str) -> dict[str, Any] | None:
        """A new run's description; None if the run is there already (a request sent twice)."""
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

    async def op_hello(self, args: dict[str, Any]) -> dict[str, Any]:
        """Who is this: versions, places, what goes on."""
        if args.get("proto") != frames.VERSION:
            raise OpError(code="version", text="this agent speaks protocol %d" % frames.VERSION)
        return {
            "proto": frames.VERSION,
            "agent": self.version,
            "pid": os.getpid(),
            "python": sys.executable,
            "python_version": "%d.%d.%d" % sys.version_info[:3],
            "home": os.path.expanduser("~"),
            "hostname": socket.gethostname(),
            "time": time.time(),
            "busy": self.busy,
        }

    async def op_unknown(self, args: dict[str, Any]) -> dict[str, Any]:
        """What an older agent says to a newer client."""
        raise OpError(code="unknown", text="this agent does not know %r" % (args.get("op"),))

    async def op_ping(self, args: dict[str, Any]) -> dict[str, Any]:
        """Nothing, quickly."""
        return {"time": time.time()}

    async def op_cell(self, args: dict[str, Any]) -> dict[str, Any]:
        """Run code in the kernel."""
        code = args.get("code")
        if not isinstance(code, str):
            raise OpError(code="bad-code", text="code: not a string")
        about = self.new_about(args, "cell")
        if about is not None:
            about["stdin"] = bool(args.get("stdin", True))
            if args.get("kernel"):
                about["kernel"] = args["kernel"]
                about["expressions"] = args.get("expressions") or {}
            if isinstance(args.get("place"), dict):
                about["place"] = args["place"]
            store = args.get("store", True)
            given = self._secrets(args, about)
            self.kernel(about.get("kernel")).submit(about, code, store, args.get("timeout"), given)
        return self.run(args).info()

    async def op_job(self, args: dict[str, Any]) -> dict[str, Any]:
        """Run a command with a keeper."""
        argv, shell = args.get("argv"), args.get("shell")
        if not (shell and isinstance(shell, str)) and not (
            argv and isinstance(argv, list) and all(isinstance(one, str) for one in argv)
        ):
            raise OpError(code="bad-job", text="argv: a list of strings, or shell: a string, is needed")
        wanted, policy = self._job_limits(args)
        about = self.new_about(args, "job")
        if about is not None:
            about.update(argv=argv, shell=shell, cwd=args.get("cwd"), env=args.get("env") or {})
            about.update(gpus=wanted, restart=policy)
            about["name"] = about["name"] or (shell or " ".join(argv or []))[:80]
            self.jobs.submit(about, self._secrets(args, about))
        return self.run(args).info()

    @staticmethod
    def _secrets(args: dict[str, Any], about: dict[str, Any]) -> dict[str, str]:
        """A run's secrets; only their names go to the disk."""
        try:
            found = lending.checked(args.get("secrets"))
        except ValueError as err:
            raise OpError(code="bad-secrets", text=str(err)) from None
        if found:
            about["secrets"] = sorted(found)
        return found

    def _job_limits(self, args: dict[str, Any]) -> tuple[int, str]:
        """How many GPUs a job asks for, and its restart policy."""
        wanted, policy = args.get("gpus") or 0, args.get("restart") or "never"
        if not isinstance(wanted, int) or wanted < 0:
            raise OpError(code="bad-job", text="gpus: %r is not a number from 0" % (wanted,))
        try:
            parse_policy(policy)
        except (TypeError, ValueError) as err:
            raise OpError(code="bad-job", text=str(err)) from None
        return wanted, policy

    async def op_source(self, args: dict[str, Any]) -> dict[str, Any]:
        """What a run executes: a cell's code, a job's command; never its environment."""
        about = self.run(args).about
        return {name: about.get(name) for name in ("kind", "name", "created", "code", "argv", "shell", "cwd")}

    async def op_before(self, args: dict[str, Any]) -> dict[str, Any]:
        """The number of a run's last record older than ``age`` seconds; 0 if none is."""
        run = self.run(args)
        if not os.path.exists(run.path):
            return {"n": 0}
        limit, found = time.time() - float(args.get("age", 0)), 0
        reader = Reader(run.path)
        try:
            for number, head, _, _ in reader.frames():
                if head.get("ts", 0) >= limit:
                    break
                found = number
        finally:
            reader.close()
        return {"n": found}

    async def op_look(self, args: dict[str, Any]) -> dict[str, Any]:
        """Somebody looks at the host's telemetry: a sample a second for so many seconds."""
        self.telemetry.look(min(float(args.get("seconds", 30)), 600.0))
        return {"sample": self.telemetry.latest}

    async def op_gpus(self, args: dict[str, Any]) -> dict[str, Any]:
        """How many GPUs answer; why none does, where there is a tool to ask and it fails."""
        try:
            return {"count": len(await gpus.query("index", 8.0)), "trouble": ""}
        except (gpus.SmiError, OSError) as err:
            return {"count": 0, "trouble": str(err)}

    async def op_telemetry(self, args: dict[str, Any]) -> dict[str, Any]:
        """The host's past: samples between two times, thinned to as many points as are wanted."""
        since, until = float(args.get("since") or 0), float(args.get("until") or time.time())
        points = min(max(int(args.get("points", 120)), 1), 2000)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, self.telemetry.history, since, until, points)
        return {"samples": found, "time": time.time()}

    async def op_runs(self, args: dict[str, Any]) -> dict[str, Any]:
        """All runs, oldest first; ``ended_within`` leaves out those that ended more seconds ago than that."""
        within = args.get("ended_within")
        found = [run for run in self.runs.values() if within is None or (run.age("ended") or 0.0) < within]
        found.sort(key=lambda run: run.about.get("created") or 0)
        return {"runs": [run.info() for run in found[-int(args.get("limit", 1000)) :]]}

    async def op_info(self, args: dict[str, Any]) -> dict[str, Any]:
        """One run."""
        return self.run(args).info()

    async def op_interrupt(self, args: dict[str, Any]) -> dict[str, Any]:
        """SIGINT to a cell; TERM, then KILL, to a job's tree."""
        run = self.run(args)
        if run.over:
            return run.info()
        if run.kind == "cell":
            self.kernel(run.about.get("kernel")).interrupt(run)
        elif isinstance(run, Job):
            await self.jobs.cancel(run)
        return run.info()

    async def op_answer(self, args: dict[str, Any]) -> dict[str, Any]:
        """What the user typed for an input record."""
        run = self.run(args)
        cells = self.kernel(run.about.get("kernel"))
        if run.over or cells.kernel is None:
            raise OpError(code="over", text="run %s is over" % run.id)
        return {"taken": cells.answer(run, str(args.get("text", "")), int(args["number"]))}

    async def op_restart(self, args: dict[str, Any]) -> dict[str, Any]:
        """A new kernel."""
        await self.kernel(args.get("kernel")).restart()
        return {}

    async def op_end_kernel(self, args: dict[str, Any]) -> dict[str, Any]:
        """End a notebook's own kernel: now, or (`later`) when its cells have ended."""
        name = str(args.get("kernel"))
        cells = self.kernels.get(name)
        if name == "main" or cells is None:
            return {}
        cells.leave = True
        if not (args.get("later") and cells.busy):
            await cells.stop("its kernel was ended")
            if self.kernels.get(name) is cells:
                del self.kernels[name]
        return {}

    async def op_kernel(self, args: dict[str, Any]) -> dict[str, Any]:
        """Complete, inspect, history, or a helper's silent code."""
        allowed = (
            "complete_request",
            "inspect_request",
            "history_request",
            "is_complete_request",
            "kernel_info_request",
            "comm_info_request",
        )
        kind, content = args.get("type"), args.get("content")
        if kind not in (*allowed, "execute_request") or not isinstance(content, dict):
            raise OpError(code="bad-request", text="type: %r is not one of %s" % (kind, ", ".join(allowed)))
        cells = self.kernel(args.get("kernel"))
        if args.get("quick") and cells.busy:  # somebody waits at a keyboard
            raise OpError(code="busy", text="the kernel is busy")
        if kind == "execute_request":
            content.update(silent=True, store_history=False, allow_stdin=False, stop_on_error=False)
        try:
            return {"reply": await cells.hidden_request(kind, content, float(args.get("wait", 10)))}
        except asyncio.TimeoutError:
            raise OpError(code="busy", text="the kernel is busy and did not answer in time") from None

    async def op_comm(self, args: dict[str, Any]) -> dict[str, Any]:
        """A front's comm_open, comm_msg or comm_close for the kernel; answered when it is done with it."""
        front, number = args.get("from"), args.get("seq")
        if args.get("type") not in COMM_TYPES or len(args["parts"]) < 2:
            raise OpError(code="bad-comm", text="type: %r is no comm message" % (args.get("type"),))
        if not isinstance(front, str) or not RUN_ID.match(front) or not isinstance(number, int) or number < 1:
            raise OpError(code="bad-comm", text="from, seq: %r and %r name no message" % (front, number))
        return {"done": await self.kernel(args.get("kernel")).send_comm(args)}

    async def op_comms(self, args: dict[str, Any]) -> dict[str, Any]:
        """The newest part of the kernel's comm messages, "" if there are none."""
        part = self.kernel(args.get("kernel")).comms.part
        return {"part": part.id if part is not None else ""}

    async def op_lease(self, args: dict[str, Any]) -> dict[str, Any]:
        """Set the lease, or tell how it stands."""
        if "deadline" in args or "idle_s" in args:
            self.watchdog.set(args)
        return self.watchdog.info()

    async def op_touch(self, args: dict[str, Any]) -> dict[str, Any]:
        """We are at work on the user's side, a transfer or a command: idle time starts anew."""
        self.watchdog.touch()
        return {}

    async def op_shutdown(self, args: dict[str, Any]) -> dict[str, Any]:
        """End cells, jobs, kernel and this process."""
        await self._end_kernels("the session was ended")
        await self.jobs.close()
        self.ending.set()
        return {}

    def sweep(self) -> None:
        """Cut the journals of runs that ended long ago, or are too many bytes together."""
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

    async def op_settle(self, args: dict[str, Any]) -> dict[str, Any]:
        """Shut the kernels down, so that what they wrote is in their files; jobs go on."""
        await self._end_kernels("the session ends")
        return {}

    async def _end_kernels(self, why: str) -> None:
        await asyncio.gather(*(cells.stop(why) for cells in list(self.kernels.values())))

    async def stop_work(self, why: str) -> None:
        """End everything that runs here."""
        await self._end_kernels(why)
        for run in list(self.runs.values()):
            if isinstance(run, Job) and not run.over:
                await self.jobs.cancel(run)


class Client:
    """One connection: its requests, and the runs it follows."""

    def __init__(self, agent: Agent, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.agent = agent
        self.reader = reader
        self.writer = writer
        self.held = b""
        self.followers: dict[str, Follower] = {}
        self.tasks: set[asyncio.Future[Any]] = set()

    def post(self, frame: bytes) -> None:
        """Queue a frame; small ones only."""
        self.writer.write(self.take_held() + frame)

    def hold(self, frame: bytes) -> None:
        """Queue a frame that nobody waits for: it leaves with the next one, or soon."""
        self.held += frame
        asyncio.get_running_loop().call_later(PATIENCE, self.release)

    def release(self) -> None:
        """Send what is held."""
        if self.held and not self.writer.is_closing():
            self.writer.write(self.take_held())

    def take_held(self) -> bytes:
        """What is held, which is nothing then."""
        held, self.held = self.held, b""
        return held

    async def send(self, data: bytes) -> None:
        """Send whole frames, waiting while the client is slow."""
        self.writer.write(self.take_held() + data)
        await self.writer.drain()

    async def serve(self) -> None:
        """Answer until the line closes."""
        decoder = frames.Decoder(64 << 20)
        try:
            while True:
                data = await self.reader.read(1 << 18)
                if not data:
                    return
                for _, head, payload in decoder.feed(data):
                    head["parts"] = frames.parts_of(head, payload)
                    self.spawn(self.handle(head))
        except (frames.FrameError, ConnectionError, OSError):
            return
        finally:
            for task in self.tasks:
                task.cancel()
            self.writer.close()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Run beside the reading."""
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.done)
        return task

    def done(self, task: asyncio.Future[Any]) -> None:
        """A task that failed closes the line, so that the other end asks again."""
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log_error(error)
            self.writer.close()

    async def handle(self, head: dict[str, Any]) -> None:
        """One request, one answer."""
        number, op = head.get("id"), head.get("op")
        if op == "ack":
            follower = self.followers.get(str(head.get("run")))
            if follower is not None:
                follower.ack(int(head.get("n", 0)))
            return
        try:
            if op == "detach":
                answer = self.detach(head)
            else:
                handler = getattr(self.agent, "op_%s" % op, self.agent.op_unknown)
                answer = await handler(head)
            frame = frames.encode(dict(answer, t="res", id=number))
            if head.get("window"):  # the client follows the run from here on
                self.hold(frame)
                self.attach(head)
            else:
                self.post(frame)
        except OpError as err:
            self.post(frames.encode({"t": "err", "id": number, "code": err.code, "msg": str(err)}))
        except RuntimeError as err:
            self.post(frames.encode({"t": "err", "id": number, "code": "failed", "msg": str(err)}))
        except Exception as err:  # noqa: BLE001 - a bad request must not end the agent
            text = "%s: %s" % (type(err).__name__, err)
            self.post(frames.encode({"t": "err", "id": number, "code": "failed", "msg": text}))

    def attach(self, head: dict[str, Any]) -> None:
        """Follow a run from after a record number."""
        run = self.agent.run(head)
        self.detach(head)
        window = min(max(int(head["window"]), 1 << 16), 64 << 20)
        late = bool(head.get("late"))
        follower = Follower(run, int(head.get("after", 0)), window, self.send, late=late)
        follower.task = self.spawn(follower.follow())
        self.followers[run.id] = follower

    def detach(self, head: dict[str, Any]) -> dict[str, Any]:
        """Stop following a run."""
        follower = self.followers.pop(str(head.get("run")), None)
        if follower is not None and follower.task is not None:
            follower.task.cancel()
        return {}


class Door:
    """The socket on which the agent answers, made anew where it has gone.

    systemd takes ``/run/user/UID`` away after the last logout, and tidy-up jobs what is old in ``/tmp``,
    while the agent and its work live on.
    """

    LOOK = 2.0  # seconds between looks

    def __init__(
        self, connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> None:
        self.connected = connected
        self.path = ""
        self._server: asyncio.AbstractServer | None = None
        self._inode = 0

    async def open(self) -> None:
        """Listen, and say in `folders.agent_file` where."""
        self.path = folders.agent_socket()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._server = await asyncio.start_unix_server(self.connected, self.path, limit=1 << 20)
        os.chmod(self.path, 0o600)
        self._inode = os.stat(self.path).st_ino
        mine = {"pid": os.getpid(), "started": processes.start_time(os.getpid()), "socket": self.path}
        with contextlib.suppress(OSError):  # a full disk: found by its usual name, then
            folders.write_json(folders.agent_file(), mine)

    async def watch(self) -> None:
        """Look now and then whether it is there, for ever."""
        lost = False
        while True:
            await asyncio.sleep(self.LOOK)
            try:
                there = os.stat(self.path).st_ino == self._inode
            except OSError:
                there = False
            if not there:
                self.close()
                try:
                    await self.open()
                except OSError as err:  # no place for it now
                    if not lost:
                        log_error(err)
                    lost = True
                else:
                    lost = False

    def close(self) -> None:
        """Listen no more; who is connected stays."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def remove(self) -> None:
        """Leave nothing behind."""
        for path in (self.path, folders.agent_file()):
            with contextlib.suppress(OSError):
                os.unlink(path)


async def serve(version: str, lock: IO[str]) -> None:
    """Answer until told to end."""
    agent = Agent(version)
    await agent.restore()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(agent, reader, writer)
        agent.clients.add(client)
        try:
            await client.serve()
        finally:
            agent.clients.discard(client)

    door = Door(connected)
    await door.open()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, agent.ending.set)
    agent.cells.later(agent.cells.warm())
    watches = (agent.watchdog.watch(), agent.telemetry.watch(), door.watch())
    watching = [asyncio.ensure_future(watch) for watch in watches]
    await agent.ending.wait()
    await asyncio.sleep(0.1)  # the last answer leaves
    for watch in watching:
        watch.cancel()
    door.close()
    for client in list(agent.clients):
        client.writer.close()
    await asyncio.sleep(0.05)  # their readers see the end
    door.remove()
    with contextlib.suppress(OSError):  # a transfer may still use it
        os.rmdir(folders.sockets())
    lock.close()


def main(argv: list[str]) -> int:
    """Become the agent of this host and user, unless there is one."""
    if os.fork():  # nobody's child: what started us may be ended with all its children
        os._exit(0)
    os.setsid()
    lock = folders.take(os.path.join(folders.base(), "agent.lock"))
    if lock is None:
        return 0
    os.chdir(os.path.expanduser("~"))
    log = os.path.join(folders.base(), "agent.log")
    if os.path.exists(log) and os.path.getsize(log) > 1 << 20:
        os.replace(log, log + ".1")
    try:
        asyncio.run(serve(argv[0], lock))
    except Exception as err:
        log_error(err)
        raise
    return 0


def log_error(err: BaseException) -> None:
    """One line in the agent's log."""
    with open(os.path.join(folders.base(), "agent.log"), "a") as file:
        file.write(json.dumps({"ts": time.time(), "error": "%s: %s" % (type(err).__name__, err)}) + "\n")

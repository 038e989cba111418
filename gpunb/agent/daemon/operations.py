"""The agent's operations: one function each, in a table by its name in requests."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from ..check import machine
from ..shared import folders, frames
from ..shared.comm_state import TYPES as COMM_TYPES
from ..shared.journal import Reader
from ..shared.restart_policy import parse as parse_policy
from . import lending
from .agent import RUN_ID, OpError
from .jobs import Job

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .agent import Agent


async def hello(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Identify the agent: versions, paths, current activity."""
    if args.get("proto") != frames.VERSION:
        raise OpError(code="version", text="this agent speaks protocol %d" % frames.VERSION)
    return {
        "proto": frames.VERSION,
        "agent": agent.version,
        "pid": os.getpid(),
        "python": sys.executable,
        "python_version": "%d.%d.%d" % sys.version_info[:3],
        "home": os.path.expanduser("~"),
        "folder": folders.base(),
        "hostname": socket.gethostname(),
        "time": time.time(),
        "busy": agent.busy,
    }


async def unknown(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Refuse an operation that a newer client knows and this agent does not."""
    raise OpError(code="unknown", text="this agent does not know %r" % (args.get("op"),))


async def ping(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Answer at once, to measure the round trip."""
    return {"time": time.time()}


async def cell(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Run code in the kernel."""
    code = args.get("code")
    if not isinstance(code, str):
        raise OpError(code="bad-code", text="code: not a string")
    about = agent.new_about(args, "cell")
    if about is not None:
        about["stdin"] = bool(args.get("stdin", True))
        if args.get("kernel"):
            about["kernel"] = args["kernel"]
            about["expressions"] = args.get("expressions") or {}
        if isinstance(args.get("place"), dict):
            about["place"] = args["place"]
        store = args.get("store", True)
        given = _secrets(args, about)
        agent.kernel(about.get("kernel")).submit(about, code, store, args.get("timeout"), given)
    return agent.run(args).info()


async def job(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Run a command as a job."""
    argv, shell = args.get("argv"), args.get("shell")
    if not (shell and isinstance(shell, str)) and not (
        argv and isinstance(argv, list) and all(isinstance(one, str) for one in argv)
    ):
        raise OpError(code="bad-job", text="argv: a list of strings, or shell: a string, is needed")
    wanted, policy = _job_limits(args)
    about = agent.new_about(args, "job")
    if about is not None:
        about.update(argv=argv, shell=shell, cwd=args.get("cwd"), env=args.get("env") or {})
        about.update(gpus=wanted, restart=policy)
        about["name"] = about["name"] or (shell or " ".join(argv or []))[:80]
        agent.jobs.submit(about, _secrets(args, about))
    return agent.run(args).info()


def _secrets(args: dict[str, Any], about: dict[str, Any]) -> dict[str, str]:
    """Read a run's secrets; only their names are written to disk."""
    try:
        result = lending.checked(args.get("secrets"))
    except ValueError as err:
        raise OpError(code="bad-secrets", text=str(err)) from None
    if result:
        about["secrets"] = sorted(result)
    return result


def _job_limits(args: dict[str, Any]) -> tuple[int, str]:
    """Read the number of GPUs and the restart policy of a job."""
    wanted, policy = args.get("gpus") or 0, args.get("restart") or "never"
    if not isinstance(wanted, int) or wanted < 0:
        raise OpError(code="bad-job", text="gpus: %r is not a number from 0" % (wanted,))
    try:
        parse_policy(policy)
    except (TypeError, ValueError) as err:
        raise OpError(code="bad-job", text=str(err)) from None
    return wanted, policy


async def source(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Return a run's source: a cell's code, a job's command; never its environment."""
    about = agent.run(args).about
    return {name: about.get(name) for name in ("kind", "name", "created", "code", "argv", "shell", "cwd")}


async def before(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Return the number of a run's last record older than ``age`` seconds; 0 if there is none."""
    run = agent.run(args)
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


async def look(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Sample the host's telemetry once a second for so many seconds."""
    agent.telemetry.look(min(float(args.get("seconds", 30)), 600.0))
    return {"sample": agent.telemetry.latest}


async def examine(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Check what the host is: see `gpunb_agent.check.machine`."""
    return await machine.examine(with_gpus=bool(args.get("gpus")), with_disk=bool(args.get("disk")))


async def telemetry(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Return telemetry samples between two times, thinned to at most ``points``."""
    since, until = float(args.get("since") or 0), float(args.get("until") or time.time())
    points = min(max(int(args.get("points", 120)), 1), 2000)
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(None, agent.telemetry.history, since, until, points)
    return {"samples": found, "time": time.time()}


async def runs(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """List the runs, oldest first; without those that ended over ``ended_within`` seconds ago."""
    within = args.get("ended_within")
    found = [run for run in agent.runs.values() if within is None or (run.age("ended") or 0.0) < within]
    found.sort(key=lambda run: run.about.get("created") or 0)
    return {"runs": [run.info() for run in found[-int(args.get("limit", 1000)) :]]}


async def info(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Return one run."""
    return agent.run(args).info()


async def interrupt(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Send SIGINT to a cell; TERM, then KILL, to a job's tree."""
    run = agent.run(args)
    if run.over:
        return run.info()
    if run.kind == "cell":
        agent.kernel(run.about.get("kernel")).interrupt(run)
    elif isinstance(run, Job):
        await agent.jobs.cancel(run)
    return run.info()


async def answer(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Pass the user's answer to an input record."""
    run = agent.run(args)
    cells = agent.kernel(run.about.get("kernel"))
    if run.over or cells.kernel is None:
        raise OpError(code="over", text="run %s is over" % run.id)
    return {"taken": cells.answer(run, str(args.get("text", "")), int(args["number"]))}


async def restart(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Restart a kernel."""
    await agent.kernel(args.get("kernel")).restart()
    return {}


async def end_kernel(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """End a notebook's own kernel: now, or (`later`) when its cells have ended."""
    name = str(args.get("kernel"))
    cells = agent.kernels.get(name)
    if name == "main" or cells is None:
        return {}
    cells.leave = True
    if not (args.get("later") and cells.busy):
        await cells.stop("its kernel was ended")
        if agent.kernels.get(name) is cells:
            del agent.kernels[name]
    return {}


async def kernel(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Send a kernel request: complete, inspect, history, or a helper's silent code."""
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
    cells = agent.kernel(args.get("kernel"))
    if args.get("quick") and cells.busy:  # an interactive request, which must not wait
        raise OpError(code="busy", text="the kernel is busy")
    if kind == "execute_request":
        content.update(silent=True, store_history=False, allow_stdin=False, stop_on_error=False)
    try:
        return {"reply": await cells.hidden_request(kind, content, float(args.get("wait", 10)))}
    except asyncio.TimeoutError:
        raise OpError(code="busy", text="the kernel is busy and did not answer in time") from None


async def comm(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Send a frontend's comm_open, comm_msg or comm_close to the kernel; answers when it is handled."""
    front, number = args.get("from"), args.get("seq")
    if args.get("type") not in COMM_TYPES or len(args["parts"]) < 2:
        raise OpError(code="bad-comm", text="type: %r is no comm message" % (args.get("type"),))
    if not isinstance(front, str) or not RUN_ID.match(front) or not isinstance(number, int) or number < 1:
        raise OpError(code="bad-comm", text="from, seq: %r and %r name no message" % (front, number))
    return {"done": await agent.kernel(args.get("kernel")).send_comm(args)}


async def comms(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Return the newest part of the kernel's comm messages, "" if there are none."""
    part = agent.kernel(args.get("kernel")).comms.part
    return {"part": part.id if part is not None else ""}


async def lease(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Set the lease, or return its state."""
    if "deadline" in args or "idle_s" in args:
        agent.watchdog.set(args)
    return agent.watchdog.info()


async def touch(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Reset the idle time, as the user's side is active with a transfer or a command."""
    agent.watchdog.touch()
    return {}


async def shutdown(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """End cells, jobs, kernel and this process."""
    await agent.end_kernels("the session was ended")
    await agent.jobs.close()
    agent.ending.set()
    return {}


def _in_project(do: str) -> Callable[[Agent, dict[str, Any]], Awaitable[dict[str, Any]]]:
    """An operation on a project's folder; files are read and written in a thread."""

    async def work(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, getattr(agent.projects, do), args)

    return work


async def settle(agent: Agent, args: dict[str, Any]) -> dict[str, Any]:
    """Shut the kernels down, so that their files are complete; jobs go on."""
    await agent.end_kernels("the session ends")
    return {}


OPERATIONS: dict[str, Callable[[Agent, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
    "hello": hello,
    "ping": ping,
    "cell": cell,
    "job": job,
    "source": source,
    "before": before,
    "look": look,
    "examine": examine,
    "telemetry": telemetry,
    "runs": runs,
    "info": info,
    "interrupt": interrupt,
    "answer": answer,
    "restart": restart,
    "end_kernel": end_kernel,
    "kernel": kernel,
    "comm": comm,
    "comms": comms,
    "lease": lease,
    "touch": touch,
    "shutdown": shutdown,
    "settle": settle,
    "folder_changes": _in_project("changes"),
    "folder_read": _in_project("read"),
    "folder_write": _in_project("write"),
}

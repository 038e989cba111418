"""The client of a host's agent: requests, and runs followed over a connection that reconnects."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import frames
from gpunb.errors import GpunbError, ProtocolError, Unreachable
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.remote.answers import checked, odd
from gpunb.remote.line import DOWN, PATIENCE, AgentConnection, Call
from gpunb.remote.records import HostInfo, Record, RunInfo, cleaned
from gpunb.remote.run import WINDOW, Followers, RunHandle
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gpunb.ssh.connection import Connection
    from gpunb.ssh.endpoint import Endpoint

__all__ = ["AgentClient", "new_run_id"]

ID_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
WAY_S = 10.0  # seconds for the way to the host and back, beyond those that its kernel is given


class AgentClient(AgentConnection):
    """One host's agent. Safe to use from several threads; a context manager.

    Parameters
    ----------
    endpoint
        Where and with which key; see `gpunb.ssh`.
    trust
        "own", "datacenter" or "stranger": what the host's answers may do here.
    on_line
        Called with a sentence when the connection breaks and when it is back.
    """

    info: HostInfo

    def __init__(self, endpoint: Endpoint, **more: Any) -> None:
        super().__init__(endpoint, **more)
        self._runs: dict[str, Followers] = {}

    @classmethod
    def connect(
        cls,
        endpoint: Endpoint,
        *,
        python: str | None = None,
        trust: str = "stranger",
        progress: Progress = SILENT,
        patience: float = PATIENCE,
        name: str = "",
        connection: Connection | None = None,
    ) -> AgentClient:
        """Install the agent if needed and connect to it; `name` is what the user calls the host.

        An open `connection` to the host is used, and becomes the client's.

        Raises
        ------
        Unreachable, HostKeyChanged, AuthRefused, BootstrapFailed
        """
        client = cls(endpoint, python=python, trust=trust, patience=patience)
        client.name = name or client.name
        rest = client._open(progress, connection)
        client._start_reading(rest)
        try:
            client.info = client._hello()
        except BaseException:
            client.close()
            raise
        return client

    # -- requests

    def request(self, op: str, *, timeout: float | None = 60.0, **args: Any) -> dict[str, Any]:
        """Send a request and wait for the answer, also across a reconnect.

        Raises
        ------
        RunNotFound, RunError
            The agent refused; the message has its reason.
        Unreachable
            No answer within `timeout` seconds, or the connection is closed for good.
        """
        call = self._post(op, args)
        if not call.done.wait(timeout):
            msg = f"{self.name} did not answer {op!r} within {timeout:.0f} s"
            raise Unreachable(
                msg, hint=typed("ps") + " shows the session; " + typed("doctor") + " checks the way there"
            )
        if call.error is not None:
            raise call.error
        return checked(op, call.answer, self.name)

    def begin(self, op: str, parts: Sequence[Any] = (), **args: Any) -> Call:
        """Send a request without waiting: ``done`` is set when ``answer`` or ``error`` is."""
        return self._post(op, args, parts=parts)

    def _hello(self) -> HostInfo:
        raw = self.request("hello", proto=frames.VERSION)
        names = ("agent", "python", "python_version", "home", "hostname")
        words = {name: raw.get(name) for name in names}
        # an agent of an earlier gpunb, which still runs there, knows one folder only
        words["folder"] = raw.get("folder", f"{words['home']}/.gpunb")
        pid = raw.get("pid", 0)
        fine = type(pid) is int and all(
            isinstance(word, str) and word.isprintable() for word in words.values()
        )
        if not fine:
            msg = f"the agent on {self.name} introduced itself as {one_line(raw, 300)}"
            raise ProtocolError(msg, hint=DOWN)
        return HostInfo(pid=pid, **{name: str(one)[:4096] for name, one in words.items()})

    def round_trip(self) -> float:
        """Measure the round trip to the agent in seconds: the better of two."""
        taken = []
        for _ in range(2):
            begin = time.perf_counter()
            self.request("ping", timeout=20.0)
            taken.append(time.perf_counter() - begin)
        return min(taken)

    # -- runs

    def run_cell(
        self,
        code: str,
        *,
        name: str = "",
        run_id: str | None = None,
        timeout: float | None = None,
        kernel: str = "",
        stdin: bool = True,
        secrets: Mapping[str, str] | None = None,
        place: Mapping[str, Any] | None = None,
        late: bool = False,
        **more: Any,
    ) -> RunHandle:
        """Run `code` in the host's kernel, after the cells that wait there already.

        Parameters
        ----------
        timeout
            Seconds after which the agent interrupts the cell, connected or not.
        kernel
            Another kernel than the session's own: a notebook's. For that one, `more` may hold
            ``store`` and ``expressions``, as in an execute request.
        stdin
            Whether a user can answer an ``input()``. If not, it fails in the cell, as in a local
            kernel (StdinNotImplementedError).
        secrets
            Environment variables for this cell's time; kept in memory, there and here.
        place
            The position of the code in the notebook: its cell's number (``count``), and the lines
            of the cell ``above`` it.
        late
            Follow the output of its threads and children after its end; see `gpunb.output.late`.
        """
        args = {"code": code, "name": name, "timeout": timeout, "kernel": kernel, "stdin": stdin, **more}
        if place:
            args["place"] = dict(place)
        if late:
            args["late"] = True
        return self._start("cell", args, run_id, secrets)

    def run_job(
        self,
        argv: Sequence[str] | None = None,
        *,
        shell: str | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        name: str = "",
        run_id: str | None = None,
        gpus: int = 0,
        restart: str = "never",
        secrets: Mapping[str, str] | None = None,
    ) -> RunHandle:
        """Run a command (`argv`) or a shell line as a job, with a keeper process of its own on the host.

        Parameters
        ----------
        gpus
            How many GPUs it gets for itself; it waits in the host's queue until they are free.
        restart
            "never", "on-lost[:N]" or "on-failure[:N]"; see `gpunb.agent.shared.restart_policy`.
        secrets
            Environment variables of this job's process alone; kept in memory, there and here.
        """
        args: dict[str, Any] = {"cwd": cwd, "env": dict(env or {}), "name": name, "shell": shell}
        args.update(gpus=gpus, restart=restart)
        return self._start("job", {**args, "argv": list(argv) if argv else None}, run_id, secrets)

    def _start(
        self, op: str, args: dict[str, Any], run_id: str | None, secrets: Mapping[str, str] | None
    ) -> RunHandle:
        run_id = run_id or new_run_id()
        handle = RunHandle(self, run_id)
        handle.stays = bool(args.get("late"))
        if self.on_start is not None:  # before secrets are added
            self.on_start(run_id, args)
        if secrets:
            args["secrets"] = dict(secrets)
            handle.hide = list(secrets.values())
        with self._lock:
            self._runs[run_id] = Followers(handle)
        self._post(op, {**args, "run": run_id, "after": 0, "window": handle.window}, handle.fail)
        return handle

    def attach(self, run_id: str, *, after: int = 0, wake: Callable[[], None] | None = None) -> RunHandle:
        """Follow a run from the record after number `after`.

        Parameters
        ----------
        wake
            Called in the reader thread when a record has come: quickly.

        Raises
        ------
        RunNotFound
            The host has no such run.
        """
        handle = RunHandle(self, run_id, after)
        handle.wake = wake
        with self._lock:
            others = self._runs.get(run_id)
        if others is not None:  # the host has one follower for this process, which must stop first
            self.request("detach", run=run_id)
        info = self.run_info(run_id)
        handle.history = info.last
        with self._lock:
            if run_id in self._runs:
                self._runs[run_id].add(handle)
            else:
                self._runs[run_id] = Followers(handle)
        self._follow(run_id)
        return handle

    def _follow(self, run_id: str) -> None:
        with self._lock:
            followers = self._runs.get(run_id)
        if followers is not None and followers.waiting:
            args = {"run": run_id, "after": followers.seen, "window": WINDOW}
            if any(handle.stays for handle in followers.handles):
                args["late"] = True
            self._post("info", args, followers.fail)

    def forget(self, handle: RunHandle) -> None:
        """Stop following a run, which goes on."""
        with self._lock:
            followers = self._runs.get(handle.id)
            if followers is None or handle not in followers.handles:
                return
            followers.remove(handle)
            if followers.handles:
                return
            del self._runs[handle.id]
        if self._closed is None and (handle.stays or not handle.over):
            self._post("detach", {"run": handle.id})

    def ack(self, run_id: str, number: int) -> None:
        """Acknowledge records up to `number`, or up to the slowest follower in this process."""
        followers = self._runs.get(run_id)
        if followers is not None:
            number = min(number, followers.taken)
        self._send(frames.encode({"t": "req", "id": 0, "op": "ack", "run": run_id, "n": number}))

    def runs(self, *, ended_within: float | None = None) -> list[RunInfo]:
        """List the host's runs, oldest first, without those that ended over `ended_within` seconds ago."""
        found = self.request("runs", ended_within=ended_within).get("runs")
        if found is None:
            raise odd(self.name, "'runs' without a list of them")
        return [self._info(raw) for raw in found]

    def _info(self, raw: Mapping[str, Any]) -> RunInfo:
        return RunInfo.parse(raw, f"the agent on {self.name}")

    def run_info(self, run_id: str) -> RunInfo:
        """Return one run; raises `RunNotFound`."""
        return self._info(self.request("info", run=run_id))

    def interrupt(self, run_id: str) -> None:
        """Send SIGINT to a cell, or end a job's process tree, without waiting for its end."""
        self._post("interrupt", {"run": run_id})

    def cancel(self, run_id: str) -> RunInfo:
        """End a run: a cell is interrupted, a job's whole tree gets TERM, then KILL."""
        return self._info(self.request("interrupt", run=run_id))

    def answer(self, run_id: str, number: int, text: str) -> bool:
        """Answer the input record `number`; False if it was answered already."""
        return bool(self.request("answer", run=run_id, number=number, text=text).get("taken"))

    # -- the kernel, the lease, the end

    def kernel_request(
        self, kind: str, content: Mapping[str, Any], *, timeout: float = 10.0, quick: bool = False
    ) -> dict[str, Any]:
        """Send a Jupyter request that belongs to no run, such as ``complete_request``.

        The kernel has `timeout` seconds for it. With `quick`, one that is busy refuses at once (`RunError`),
        and the way there and back is part of that time.
        """
        patience = timeout if quick else timeout + WAY_S
        answer = self.request(
            "kernel", type=kind, content=dict(content), quick=quick, wait=timeout, timeout=patience
        )
        reply = answer.get("reply")
        if reply is None:
            raise odd(self.name, f"{kind!r} without a reply")
        return dict(reply)

    def prepare_completion(self, kernel: str | None = None) -> None:
        """Let an idle kernel get ready for its first completion, without waiting for it."""
        code = "__import__('gpunb_agent.kernel.first_completion', fromlist=['x']).prepare()"
        named = {} if kernel is None else {"kernel": kernel}
        self._post("kernel", {"type": "execute_request", "content": {"code": code}, "quick": True, **named})

    def restart_kernel(self) -> None:
        """Restart the host's kernel; variables are lost, runs and files stay."""
        self.request("restart", timeout=120)

    def set_lease(
        self,
        deadline: float | None,
        idle_s: float | None,
        *,
        count_ssh: bool = False,
        quiet_s: float = 0.0,
        grace_s: float = 0.0,
        timeout: float = 60.0,
    ) -> dict[str, Any]:
        """Set the lease on the host; return its state there.

        Parameters
        ----------
        deadline
            Unix seconds by this side's clock, None for none. It travels as seconds from now: the
            host counts them by a monotonic clock.
        idle_s, grace_s
            Seconds without activity, None for never; and for how many more the host waits before
            it acts on that.
        count_ssh
            Whether a terminal login counts as activity.
        quiet_s
            Seconds since the last activity that is known here; 0 starts the idle time anew.
        """
        now = time.time()
        left = None if deadline is None else deadline - now
        return self.request(
            "lease",
            timeout=timeout,
            left_s=left,
            deadline=deadline,
            now=now,
            idle_s=idle_s,
            grace_s=grace_s,
            quiet_s=quiet_s,
            count_ssh=count_ssh,
        )

    def touch(self) -> None:
        """Report a transfer in progress to the host: its idle time starts anew."""
        self.request("touch")

    def lease(self) -> dict[str, Any]:
        """Return the state of the lease on the host."""
        return self.request("lease")

    def shutdown(self) -> None:
        """End cells, jobs, kernel and agent on the host."""
        self.request("shutdown", timeout=30)
        self.close()

    # -- what is received

    def _record(self, number: int, head: dict[str, Any], payload: memoryview) -> None:
        followers = self._runs.get(str(head.get("run")))
        if followers is not None and "dropped" in head:
            followers.take(Record(number, "cut", {**head, "bytes": head["dropped"]}, ()))
        elif followers is not None:
            kind, parts = str(head.get("k")), frames.parts_of(head, payload)
            known = head if kind == "stream" or self.trust == "own" else cleaned(head)
            followers.take(Record(number, kind, known, parts))

    def _resume(self) -> None:
        """Repeat open requests, and follow every run from the record after the last one seen."""
        with self._lock:
            runs = list(self._runs)
        super()._resume()
        for run_id in runs:
            self._follow(run_id)

    def _end(self, error: GpunbError) -> bool:
        if not super()._end(error):
            return False
        with self._lock:
            followed = list(self._runs.values())
        for followers in followed:
            followers.fail(error)
        return True


def new_run_id() -> str:
    """Return a new run id: ten letters and digits that are hard to confuse."""
    return "".join(secrets.choice(ID_LETTERS) for _ in range(10))

"""The agent as seen from here: requests, runs, and a line that mends itself.

One SSH connection and one channel. A reader thread takes frames off the
channel; when the line breaks it reconnects with a back-off, sends again what
was not answered (the agent does nothing twice), and follows every run from
the record after the last one seen.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpunb.agent import protocol
from gpunb.errors import (
    GpunbError,
    HostError,
    HostKeyChanged,
    ProtocolError,
    RunError,
    RunNotFound,
    Unreachable,
)
from gpunb.progress import SILENT, Progress
from gpunb.remote.bootstrap import open_line
from gpunb.remote.records import HostInfo, Record, RunInfo
from gpunb.remote.run import WINDOW, Followers, RunHandle
from gpunb.remote.safetext import one_line
from gpunb.ssh.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from paramiko import Channel
    from typing_extensions import Self

    from gpunb.ssh.endpoint import Endpoint

__all__ = ["AgentClient"]

LOG = logging.getLogger("gpunb.remote")
PATIENCE = 600.0  # seconds a broken line is tried again before waiting callers are told
READ = 1 << 20
STALL = 30.0  # seconds that a host may take nothing of what it is sent
KEEP = 32 << 20  # bytes of one record from a host that is not one's own; more of it is not kept here
BACKOFF = (0.1, 5.0)
DOWN = "gpunb down ends the session"
ID_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


class _Call:
    def __init__(self, frame: bytes, on_error: Callable[[GpunbError], None] | None = None) -> None:
        self.frame = frame
        self.on_error = on_error
        self.done = threading.Event()
        self.answer: dict[str, Any] = {}
        self.error: GpunbError | None = None

    def fail(self, error: GpunbError) -> None:
        self.error = error
        self.done.set()
        if self.on_error is not None:
            self.on_error(error)


class AgentClient:
    """One host's agent. Safe to use from several threads; a context manager.

    Parameters
    ----------
    endpoint
        Where and with which key; see `gpunb.ssh`.
    trust
        "own", "datacenter" or "stranger": what the host's answers may do here.
    on_line
        Called with a sentence when the line breaks and when it is back.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        python: str | None = None,
        trust: str = "stranger",
        on_line: Callable[[str], None] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.endpoint = endpoint
        self.trust = trust
        self.name = endpoint.alias  # what the user calls the host
        self.on_line = on_line
        self.on_note: Callable[[Mapping[str, Any]], None] | None = None
        self._listeners: list[Callable[[Mapping[str, Any]], None]] = []
        self.patience = patience
        self._python = python
        self._ids = itertools.count(1)
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._calls: dict[int, _Call] = {}
        self._runs: dict[str, Followers] = {}
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._closed: GpunbError | None = None
        self._up = threading.Event()
        self._stalls = 0
        self.info: HostInfo

    @classmethod
    def connect(
        cls,
        endpoint: Endpoint,
        *,
        python: str | None = None,
        trust: str = "stranger",
        progress: Progress = SILENT,
        patience: float = PATIENCE,
    ) -> AgentClient:
        """Bootstrap the agent if need be, and open the line.

        Raises
        ------
        Unreachable, HostKeyChanged, AuthRefused, BootstrapFailed
        """
        client = cls(endpoint, python=python, trust=trust, patience=patience)
        rest = client._open(progress)
        reader = threading.Thread(
            target=client._read, args=(rest,), name=f"gpunb-{endpoint.alias}", daemon=True
        )
        reader.start()
        try:
            client.info = client._hello()
        except BaseException:
            client.close()
            raise
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connection(self) -> Connection:
        """The SSH connection in use now, for further channels."""
        if not self._up.wait(self.patience) or self._connection is None:
            raise self._closed or self._unreachable()
        return self._connection

    @property
    def alive(self) -> bool:
        """Whether the line is open or being mended."""
        return self._closed is None

    @property
    def connected(self) -> bool:
        """Whether the line is open now, not broken and being mended."""
        return self._up.is_set()

    def close(self) -> None:
        """Close the line; what runs on the host goes on."""
        self._end(Unreachable(f"the line to {self.endpoint.alias} was closed here"))

    # -- requests

    def request(self, op: str, *, timeout: float | None = 60.0, **args: Any) -> dict[str, Any]:
        """Ask the agent and wait for the answer, over a broken line too.

        Raises
        ------
        RunNotFound, RunError
            The agent refused; its words are in the message.
        Unreachable
            No answer within `timeout` seconds, or the line is closed for good.
        """
        call = self._post(op, args)
        if not call.done.wait(timeout):
            msg = f"{self.endpoint.alias} did not answer {op!r} within {timeout:.0f} s"
            raise Unreachable(msg, hint="gpunb ps shows the session; gpunb doctor checks the way there")
        if call.error is not None:
            raise call.error
        return call.answer

    def begin(self, op: str, parts: Sequence[Any] = (), **args: Any) -> _Call:
        """Ask without waiting: ``done`` is set when ``answer`` or ``error`` is there."""
        return self._post(op, args, parts=parts)

    def _post(
        self,
        op: str,
        args: Mapping[str, Any],
        on_error: Callable[[GpunbError], None] | None = None,
        parts: Sequence[Any] = (),
    ) -> _Call:
        number = next(self._ids)
        call = _Call(protocol.encode({**args, "t": "req", "id": number, "op": op}, parts), on_error)
        with self._lock:
            if self._closed is not None:
                raise self._closed
            self._calls[number] = call
        self._send(call.frame)
        return call

    def _send(self, frame: bytes) -> None:
        channel = self._channel
        if channel is None or not self._up.is_set():
            return  # sent when the line is back
        try:
            with self._writing:
                channel.sendall(frame)
        except TimeoutError:
            # a host that takes nothing, or half of a frame: this line is of no more use
            self._stalls += 1
            LOG.warning("%s takes no more requests, closing the line", self.endpoint.alias)
            if self._stalls > 1:  # and nothing was answered in between
                msg = f"{self.endpoint.alias} takes no more requests"
                self._end(Unreachable(msg, bill="the instance may still run and be billed"))
            else:
                self._drop()
        except (OSError, EOFError):  # paramiko says EOFError where the socket had ended
            LOG.debug("sending failed; the reader will notice", exc_info=True)

    def _hello(self) -> HostInfo:
        raw = self.request("hello", proto=protocol.VERSION)
        names = ("agent", "python", "python_version", "home", "hostname")
        if not all(isinstance(raw.get(name), str) for name in names):
            msg = f"the agent introduced itself as {one_line(raw, 300)}"
            raise ProtocolError(msg)
        pid = raw.get("pid", 0)
        words = {name: raw[name][:4096] for name in names}
        if type(pid) is not int or not all(word.isprintable() for word in words.values()):
            msg = f"the agent introduced itself as {str(raw)[:300]}"
            raise ProtocolError(msg)
        return HostInfo(pid=pid, **words)

    def round_trip(self) -> float:
        """Seconds to the agent and back: the better of two."""
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
        secrets: Mapping[str, str] | None = None,
        **more: Any,
    ) -> RunHandle:
        """Run `code` in the host's kernel, after what waits there already.

        Parameters
        ----------
        timeout
            Seconds after which the agent interrupts the cell, whoever is connected.
        kernel
            Another kernel than the session's own: a notebook's. For that one, `more` may hold
            ``store``, ``stdin`` and ``expressions``, as in an execute request.
        secrets
            Environment variables for this cell's time; kept in memory, there and here.
        """
        args = {"code": code, "name": name, "timeout": timeout, "kernel": kernel, **more}
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
        """Run a command (`argv`) or a shell line as a job, with a keeper of its own on the host.

        Parameters
        ----------
        gpus
            How many GPUs it gets for itself; it waits in the host's queue until they are free.
        restart
            "never", "on-lost[:N]" or "on-failure[:N]"; see `gpunb.agent.policy`.
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
            Called in the reader's thread when something has come: quickly.

        Raises
        ------
        RunNotFound
            The host has no such run.
        """
        handle = RunHandle(self, run_id, after)
        handle.wake = wake
        with self._lock:
            others = self._runs.get(run_id)
        if others is not None:  # the host has one follower for all here, which must be silent first
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
            self._post("info", {"run": run_id, "after": followers.seen, "window": WINDOW}, followers.fail)

    def forget(self, handle: RunHandle) -> None:
        """Stop following; the run goes on."""
        with self._lock:
            followers = self._runs.get(handle.id)
            if followers is None or handle not in followers.handles:
                return
            followers.remove(handle)
            if followers.handles:
                return
            del self._runs[handle.id]
        if self._closed is None and not handle.over:
            self._post("detach", {"run": handle.id})

    def ack(self, run_id: str, number: int) -> None:
        """Tell the agent that records up to `number` have been taken, if nobody else here is further back."""
        followers = self._runs.get(run_id)
        if followers is not None:
            number = min(number, followers.taken)
        self._send(protocol.encode({"t": "req", "id": 0, "op": "ack", "run": run_id, "n": number}))

    def runs(self) -> list[RunInfo]:
        """All runs that the host knows, oldest first."""
        found = self.request("runs").get("runs")
        if not isinstance(found, list):
            msg = "the agent's list of runs is not a list"
            raise ProtocolError(msg)
        return [RunInfo.parse(raw) for raw in found]

    def run_info(self, run_id: str) -> RunInfo:
        """One run, or `RunNotFound`."""
        return RunInfo.parse(self.request("info", run=run_id))

    def interrupt(self, run_id: str) -> None:
        """SIGINT to a cell; ends a job's process tree. Does not wait: the run's records tell."""
        self._post("interrupt", {"run": run_id})

    def cancel(self, run_id: str) -> RunInfo:
        """End a run: a cell is interrupted, a job's whole tree gets TERM, then KILL."""
        return RunInfo.parse(self.request("interrupt", run=run_id))

    def answer(self, run_id: str, number: int, text: str) -> bool:
        """Answer the input record `number`; False if somebody was quicker."""
        return bool(self.request("answer", run=run_id, number=number, text=text).get("taken"))

    # -- the kernel, the lease, the end

    def kernel_request(
        self, kind: str, content: Mapping[str, Any], *, timeout: float = 10.0, quick: bool = False
    ) -> dict[str, Any]:
        """A Jupyter request that is nobody's run: ``complete_request``, ``inspect_request`` and kin.

        With `quick`, a kernel that is busy refuses at once (`RunError`).
        """
        answer = self.request("kernel", type=kind, content=dict(content), quick=quick, timeout=timeout)
        reply = answer.get("reply")
        if not isinstance(reply, dict):
            msg = f"the agent's answer to {kind!r} has no reply"
            raise ProtocolError(msg)
        return reply

    def restart_kernel(self) -> None:
        """A new kernel on the host; variables are gone, runs and files stay."""
        self.request("restart", timeout=120)

    def set_lease(
        self, deadline: float | None, idle_s: float | None, *, count_ssh: bool = False
    ) -> dict[str, Any]:
        """Arm the lease on the host: Unix seconds, seconds; None is no limit.

        With `count_ssh` somebody who is logged in at a terminal keeps it from being idle.
        """
        return self.request("lease", deadline=deadline, idle_s=idle_s, count_ssh=count_ssh, now=time.time())

    def touch(self) -> None:
        """Tell the host that a transfer moves: its idle time starts anew."""
        self.request("touch")

    def lease(self) -> dict[str, Any]:
        """How the lease stands on the host."""
        return self.request("lease")

    def shutdown(self) -> None:
        """End cells, jobs, kernel and agent on the host."""
        self.request("shutdown", timeout=30)
        self.close()

    # -- the line

    def _open(self, progress: Progress = SILENT) -> bytes:
        connection = Connection.open(self.endpoint)
        try:
            channel, rest = open_line(connection, python=self._python, progress=progress)
        except BaseException:
            connection.close()
            raise
        channel.settimeout(STALL)  # for what is sent; the connection itself notices a silent host
        with self._lock:
            self._connection, self._channel = connection, channel
            self._up.set()
        return rest

    def _read(self, rest: bytes) -> None:
        while True:
            error = self._read_until_broken(rest)
            if not self.alive:
                return
            self._up.clear()
            self._drop()
            if isinstance(error, ProtocolError):
                self._end(error)
                return
            self._tell(f"the line to {self.endpoint.alias} broke; what runs there goes on, reconnecting")
            found = self._reconnect()
            if found is None:
                return
            rest = found
            self._resume()
            self._tell(f"the line to {self.endpoint.alias} is back")

    def _read_until_broken(self, rest: bytes) -> Exception | None:
        decoder = protocol.Decoder(keep=protocol.MAX_BODY if self.trust == "own" else KEEP)
        channel = self._channel
        try:
            data = rest
            while channel is not None:
                for number, head, payload in decoder.feed(data):
                    self._take(number, head, payload)
                data = _receive(channel)
                if not data:
                    return None
        except protocol.FrameError as err:
            return ProtocolError(f"the host's agent sent {one_line(err, 200)}", hint=DOWN)
        except (OSError, EOFError, GpunbError) as err:
            return err
        except Exception as err:  # a stranger's bytes must not end this thread without a word
            LOG.warning("reading from %s", self.endpoint.alias, exc_info=True)
            msg = f"the host's agent sent what makes no sense ({type(err).__name__})"
            return ProtocolError(msg, hint=DOWN)
        return None

    def _take(self, number: int, head: dict[str, Any], payload: memoryview) -> None:
        kind = head.get("t")
        if kind == "rec":
            followers = self._runs.get(str(head.get("run")))
            if followers is not None and "dropped" in head:
                followers.take(Record(number, "cut", {**head, "bytes": head["dropped"]}, ()))
            elif followers is not None:
                followers.take(Record(number, str(head.get("k")), head, protocol.parts_of(head, payload)))
        elif kind in ("res", "err"):
            ident = head.get("id")
            self._stalls = 0
            with self._lock:
                call = self._calls.pop(ident, None) if type(ident) is int else None
            if call is None:
                return
            if kind == "err":
                call.fail(_refusal(head))
            else:
                call.answer = head
                call.done.set()
        elif kind == "note":
            for listener in [*self._listeners, *([self.on_note] if self.on_note is not None else [])]:
                listener(head)

    def listen(self, listener: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
        """Call `listener` with each note's head, in the reader's thread: quickly. Returns what ends that.

        Notes are not journaled: those of the time when the line was broken are not told again.
        """
        with self._lock:
            self._listeners = [*self._listeners, listener]

        def end() -> None:
            with self._lock:
                self._listeners = [one for one in self._listeners if one is not listener]

        return end

    def _reconnect(self) -> bytes | None:
        wait = BACKOFF[0]
        until = time.monotonic() + self.patience
        while self._closed is None:
            try:
                return self._open()
            except HostKeyChanged as err:
                self._end(err)
                return None
            except HostError as err:
                LOG.info("reconnecting to %s: %s", self.endpoint.alias, err)
                if time.monotonic() > until:
                    self._end(err)
                    return None
            time.sleep(wait)
            wait = min(wait * 2, BACKOFF[1])
        return None

    def _resume(self) -> None:
        with self._lock:
            calls = [self._calls[number] for number in sorted(self._calls)]
            runs = list(self._runs)
        for call in calls:
            self._send(call.frame)
        for run_id in runs:
            self._follow(run_id)

    def _tell(self, sentence: str) -> None:
        LOG.info("%s", sentence)
        if self.on_line is not None:
            self.on_line(sentence)

    def _drop(self) -> None:
        with self._lock:
            connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.close()

    def _end(self, error: GpunbError) -> None:
        with self._lock:
            if self._closed is not None:
                return
            self._closed = error
            calls, self._calls = list(self._calls.values()), {}
            followed = list(self._runs.values())
        self._up.clear()
        self._drop()
        for call in calls:
            call.fail(error)
        for followers in followed:
            followers.fail(error)

    def _unreachable(self) -> Unreachable:
        return Unreachable(f"there is no line to {self.endpoint.alias}")


def _receive(channel: Channel) -> bytes:
    while True:
        with suppress(TimeoutError):
            return channel.recv(READ)


def _refusal(head: Mapping[str, Any]) -> GpunbError:
    text, code = one_line(head.get("msg", ""), 2000), head.get("code")
    if code == "no-run":
        return RunNotFound(text, hint="gpunb runs lists what there is")
    if code == "lease-over":
        return RunError(text, hint="gpunb extend gives it more time")
    return RunError(text)


def new_run_id() -> str:
    """A fresh run id: ten letters and digits that are hard to confuse."""
    return "".join(secrets.choice(ID_LETTERS) for _ in range(10))

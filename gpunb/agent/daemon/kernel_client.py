"""The client of one kernel on this host: starts it, talks to it over Unix sockets, reconnects to it.

The connection file, process id and start time are on disk, so a new agent
process can reconnect to a live kernel where the old one left it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import uuid
from typing import TYPE_CHECKING, Any

from ..kernel.app import poke_address
from ..kernel.iopub_log import Inlet, clear
from ..shared import folders, processes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import zmq
    from jupyter_client.session import Session

IDS = b"<IDS|MSG>"
TURN = 0.02  # seconds of reading before other tasks run
GRACE = 5.0  # seconds for a kernel to end by itself, as in Jupyter's frontends
LAST_GRACE = 3.0  # and after SIGTERM, to one that did not hear the request
LAST_WORDS = 1 << 16  # bytes that are read of each stream of an ended kernel
START_TIMEOUT = 180.0  # seconds; a slow disk takes long to load a large image's Python


class Kernel:
    """A kernel and the agent's end of its five channels.

    Parameters
    ----------
    name
        "main" for the session's kernel.
    on_iopub
        Called with (type, parent message id, parts) for each IOPub message;
        parts are content, metadata and buffers as bytes.
    on_input
        Called with (parent message id, content) when the kernel asks.
    on_died
        Called with the reason when the process is gone.

    Attributes
    ----------
    position
        The position in the IOPub log of the message that `on_iopub` is called for.
    on_turn
        Called when a file of the IOPub log has been read and is about to be
        deleted: text that is still buffered must be written now.
    on_lost
        Called with the bytes that the kernel found no room for on the disk.
    last_words
        The unsent output of an ended kernel, by stream name: stdout, stderr.
    """

    def __init__(
        self,
        name: str,
        on_iopub: Callable[[str, str, list[bytes]], None],
        on_input: Callable[[str, dict[str, Any]], None],
        on_died: Callable[[str], None],
    ) -> None:
        self.name = name
        self.on_iopub = on_iopub
        self.on_input = on_input
        self.on_died = on_died
        self.folder = os.path.join(folders.base(), "kernels", name)
        self.process: subprocess.Popen[bytes] | None = None
        self.pid: int | None = None
        self.started: int | None = None
        self._session: Session
        self._context: zmq.Context[Any] | None = None
        self._sockets: dict[str, zmq.Socket[Any]] = {}
        self._tasks: list[asyncio.Future[Any]] = []
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._prefix = ""
        self._inlet: Inlet | None = None
        self._poke: socket.socket | None = None
        self.position: list[int] = []
        self.on_turn: Callable[[], None] = lambda: None
        self.on_lost: Callable[[int], None] = lambda _: None
        self.last_words: dict[str, bytes] = {}
        self._pipes: dict[str, int] = {}

    @property
    def alive(self) -> bool:
        """Whether the kernel's process runs."""
        return self.pid is not None and processes.alive(self.pid, self.started)

    async def start(self) -> bool:
        """Start the kernel, or reconnect to the running one; returns True if it is new."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        known = folders.read_json(os.path.join(self.folder, "process.json"))
        if known and processes.alive(known["pid"], known["started"]):
            self.pid, self.started = known["pid"], known["started"]
            await self._open()
            self._hold_pipes()
            return False
        self._prefix = self._write_connection()
        clear(self.folder)
        log = open(os.path.join(self.folder, "log"), "ab")
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        env = dict(os.environ, GPUNB_KERNEL=self._prefix, PYTHONUNBUFFERED="1")
        try:
            self.process = subprocess.Popen(
                [sys.executable, package, "kernel", self._connection_file()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=os.path.expanduser("~"),
                env=env,
                start_new_session=True,
            )
        finally:
            log.close()
        self.pid = self.process.pid
        self.started = processes.start_time(self.pid)
        folders.write_json(
            os.path.join(self.folder, "process.json"), {"pid": self.pid, "started": self.started}
        )
        await self._open()
        await self._wait_ready()
        self._hold_pipes()
        return True

    def _hold_pipes(self) -> None:
        """Open the pipes behind the kernel's stdout and stderr, so that their data outlives the kernel."""
        known = folders.read_json(os.path.join(self.folder, "pipes.json"))
        for name, number in (known if isinstance(known, dict) else {}).items():
            with contextlib.suppress(OSError):  # no /proc: macOS
                path = "/proc/%s/fd/%s" % (self.pid, number)
                self._pipes[name] = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))

    def _hear_last_words(self) -> None:
        """Read the output that a dead kernel left in its pipes or had not sent yet."""
        for name in ("stdout", "stderr"):
            words = b""
            unsent = os.path.join(self.folder, "unsent-" + name)
            with contextlib.suppress(OSError), open(unsent, "rb") as file:
                words = file.read(LAST_WORDS)
            with contextlib.suppress(OSError, KeyError):
                words += os.read(self._pipes[name], LAST_WORDS)
            if words.strip():
                self.last_words[name] = words
                with open(os.path.join(self.folder, "log"), "ab") as log:
                    log.write(words)

    def _connection_file(self) -> str:
        return os.path.join(self.folder, "connection.json")

    def _write_connection(self) -> str:
        """Write a new connection file; return the prefix of its sockets, unique on this machine."""
        tag = uuid.uuid4().hex[:8]
        info = {"transport": "ipc", "ip": os.path.join(folders.sockets(), "k" + tag), "key": uuid.uuid4().hex}
        info.update(signature_scheme="hmac-sha256", kernel_name="python3")
        names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
        ports = {name: at + 1 for at, name in enumerate(names)}
        folders.write_json(self._connection_file(), {**info, **ports})
        return info["ip"]

    async def _open(self) -> None:
        """Read IOPub's files, and connect the other channels once the kernel has bound them.

        Not before: a socket without a peer retries later, each at its own
        interval, and a kernel that asks for input before the stdin socket is
        connected gets no answer.
        """
        import zmq
        from jupyter_client.session import Session

        info = folders.read_json(self._connection_file())
        self._prefix = info["ip"]
        self._session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])
        context = self._context = zmq.Context()
        context.linger = 0
        self._listen(poke_address(info["ip"]))
        self._tasks = [asyncio.ensure_future(self._watch())]
        for channel in ("stdin", "control", "shell"):
            path = "%s-%d" % (info["ip"], info[channel + "_port"])
            await self._while_starting(functools.partial(os.path.exists, path))
            sock = context.socket(zmq.DEALER)
            sock.identity = b"gpunb-agent"
            sock.sndhwm = sock.rcvhwm = 0
            sock.connect("ipc://" + path)
            self._sockets[channel] = sock
            asyncio.get_running_loop().add_reader(sock.fileno(), self._read, channel)

    def _listen(self, address: str) -> None:
        """Listen for the kernel's notification of new messages."""
        self._inlet = Inlet(self.folder)
        self._bind(address)

    def _bind(self, address: str) -> None:
        if os.path.exists(address):  # an earlier agent's socket
            os.unlink(address)
        poke = self._poke = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        poke.setblocking(False)
        poke.bind(address)
        os.chmod(address, 0o600)
        asyncio.get_running_loop().add_reader(poke, self._poked)

    def _bind_again(self) -> None:
        """Recreate the notification socket if its folder was removed."""
        address = poke_address(self._prefix)
        if self._poke is None or os.path.exists(address):
            return
        try:
            if os.path.dirname(address) != folders.sockets():
                return  # not notified any more: read every 0.2 s
            old, self._poke = self._poke, None
            asyncio.get_running_loop().remove_reader(old)
            old.close()
            self._bind(address)
        except OSError:
            return

    def _poked(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._poke is not None:
                self._poke.recv(16)
        self._drain()

    def _drain(self, turn: float = TURN) -> None:
        """Process new IOPub messages, for a limited time at once."""
        inlet = self._inlet
        if inlet is None:
            return
        until = time.monotonic() + turn
        for self.position, parts in inlet.read():
            self._said(parts)
            if time.monotonic() > until:
                asyncio.get_running_loop().call_soon(self._drain)
                return
        if inlet.turned:
            self.on_turn()
            inlet.drop_read()

    def _said(self, parts: list[bytes]) -> None:
        if parts[0] == b"lost":
            self._guard(self.on_lost, int(parts[1]))
            return
        found = _parse(parts)
        if found is not None:
            header, parent, more = found
            self._guard(self.on_iopub, header["msg_type"], parent.get("msg_id", ""), more)

    def _read(self, channel: str) -> None:
        """Read all messages of a channel: its descriptor signals only once."""
        import zmq

        while channel in self._sockets:
            try:
                found = _parse(self._sockets[channel].recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            if found is None:
                continue
            _, parent, (content, *_) = found
            parent_id = parent.get("msg_id", "")
            if channel == "stdin":
                self._guard(self.on_input, parent_id, _content(content))
            else:
                waiting = self._replies.pop(parent_id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(_content(content))

    def _guard(self, handler: Callable[..., None], *args: Any) -> None:
        """Call `handler` and log its exceptions, so that one bad message does not end the reading."""
        try:
            handler(*args)
        except Exception:  # noqa: BLE001 - whatever it is, it is in the log
            with open(os.path.join(self.folder, "log"), "a") as log:
                traceback.print_exc(file=log)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            self._drain()  # a notification may have been lost
            self._bind_again()
            code = self.process.poll() if self.process is not None else None
            if code is None and self.alive:
                continue
            if code is None and self.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):  # its last threads are still ending
                    code = self.process.wait(2.0)
            why = "its process is gone"
            if code is not None and code < 0:
                why = "it was ended by %s" % _signal_name(-code)
                if code == -signal.SIGKILL:
                    why += "; most likely the host ran out of memory"
            elif code is not None:
                why = "it exited with code %d" % code
            self._drain(3600.0)  # its last messages
            self._hear_last_words()
            self._close()
            self.on_died(why)
            return

    async def _wait_ready(self) -> None:
        """Wait until the kernel answers; RuntimeError if it dies first."""
        waiting = self.request("kernel_info_request", {})
        await self._while_starting(waiting.done)

    async def _while_starting(self, check: Callable[[], bool]) -> None:
        """Wait until `check` is true; RuntimeError if the kernel dies first, or takes minutes."""
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT
        while not check():
            if not self.alive or asyncio.get_running_loop().time() > deadline:
                raise RuntimeError("the kernel did not start: " + self._log_tail())
            await asyncio.sleep(0.005)

    def _log_tail(self) -> str:
        try:
            with open(os.path.join(self.folder, "log"), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 1500))
                return file.read().decode("utf-8", "replace").strip() or "it wrote no log"
        except OSError as err:
            return str(err)

    def request(
        self, kind: str, content: dict[str, Any], channel: str = "shell", message_id: str | None = None
    ) -> asyncio.Future[dict[str, Any]]:
        """Send a request; return a future of the reply's content."""
        message = self._session.msg(kind, content=content)
        if message_id:
            message["header"]["msg_id"] = message["msg_id"] = message_id
        waiting = asyncio.get_running_loop().create_future()
        self._replies[message["header"]["msg_id"]] = waiting
        self._send(channel, message)
        return waiting

    def post(
        self,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any],
        buffers: list[Any],
        message_id: str,
    ) -> None:
        """Send a comm message, which has no reply."""
        message = self._session.msg(kind, content=content, metadata=metadata)
        message["header"]["msg_id"] = message["msg_id"] = message_id
        self._send("shell", message, buffers)

    def answer(self, text: str) -> None:
        """Send the answer to an input request."""
        self._send("stdin", self._session.msg("input_reply", content={"value": text, "status": "ok"}))

    def _send(self, channel: str, message: dict[str, Any], buffers: Sequence[Any] = ()) -> None:
        sock = self._sockets.get(channel)
        if sock is None:
            msg = "the kernel is not running"
            raise RuntimeError(msg)
        sock.send_multipart([*self._session.serialize(message), *buffers])  # never blocks: no high-water mark
        asyncio.get_running_loop().call_soon(self._read, channel)  # sending may consume the signal

    def interrupt(self) -> None:
        """Send SIGINT to the kernel and the processes it started in its group."""
        if self.alive and self.pid is not None:
            try:
                os.killpg(self.pid, signal.SIGINT)
            except OSError:
                os.kill(self.pid, signal.SIGINT)

    async def end(self, grace: float = GRACE) -> None:
        """Shut the kernel down as Jupyter does, so that it flushes its files and runs atexit; then `kill`.

        A cell that runs is interrupted. `on_died` is not called.
        """
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        if self.alive and "control" in self._sockets:
            self.interrupt()
            self.request("shutdown_request", {"restart": False}, channel="control")
            until = time.monotonic() + grace
            while time.monotonic() < until and self.alive:
                await asyncio.sleep(0.02)
        await self.kill()

    async def kill(self) -> None:
        """End the kernel and all it started, at once; `on_died` is not called."""
        self._close()
        if self.pid is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(
                None, processes.end_tree, self.pid, "GPUNB_KERNEL=" + self._prefix, LAST_GRACE
            )
            if self.process is not None:
                self.process.wait()
        self.pid = self.started = self.process = None
        folders.write_json(os.path.join(self.folder, "process.json"), None)

    def _close(self) -> None:
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._tasks = []
        if self._poke is not None:
            asyncio.get_running_loop().remove_reader(self._poke)
            self._poke.close()
            self._poke = None
        if self._inlet is not None:
            self._inlet.close()
            self._inlet = None
        for pipe in self._pipes.values():
            os.close(pipe)
        self._pipes = {}
        for sock in self._sockets.values():
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close(0)
        self._sockets = {}
        if self._context is not None:
            self._context.term()
            self._context = None
            for left in glob.glob(self._prefix + "-*"):
                os.unlink(left)
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.cancel()
        self._replies = {}


def _content(raw: bytes) -> dict[str, Any]:
    """Parse a message's content; bytes that are not UTF-8 are replaced, so that its reply is not lost."""
    result: dict[str, Any] = json.loads(raw.decode("utf-8", "replace"))
    return result


def _parse(parts: list[bytes]) -> tuple[dict[str, Any], dict[str, Any], list[bytes]] | None:
    """Parse header, parent header, and content, metadata, buffers; None if it is no Jupyter message."""
    try:
        at = parts.index(IDS)
        header, parent = json.loads(parts[at + 2].decode()), json.loads(parts[at + 3].decode())
        return header, parent, [parts[at + 5], parts[at + 4], *parts[at + 6 :]]
    except (ValueError, IndexError):
        return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number

"""The connection to a host's agent: sends and receives frames, and reconnects when it breaks.

One SSH connection and one channel. A reader thread reads frames from the
channel; when it breaks, the thread reconnects with a back-off and repeats
unanswered requests (the agent does nothing twice).
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import frames
from gpunb.errors import (
    GpunbError,
    HostError,
    HostKeyChanged,
    HostSilent,
    Incompatible,
    ProtocolError,
    RunError,
    RunNotFound,
    Unreachable,
)
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.remote.answers import tame
from gpunb.remote.bootstrap import open_line
from gpunb.remote.records import cleaned
from gpunb.ssh.channel import BILLED
from gpunb.ssh.connection import Connection
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

    from gpunb.ssh.channel import Channel
    from gpunb.ssh.endpoint import Endpoint

__all__ = ["KEEP", "AgentConnection", "Call", "safely"]

LOG = logging.getLogger("gpunb.remote")
PATIENCE = 600.0  # seconds of reconnecting before waiting callers get an error
READ = 1 << 20
STALL = 30.0  # seconds that a send may stall
KEEP = 32 << 20  # bytes of one record from a host that is not "own"; the rest is dropped
BACKOFF = (0.1, 5.0)
DOWN = typed("down") + " ends the session"


class Call:
    """A request in progress; `done` is set when `answer` or `error` is."""

    def __init__(self, frame: bytes, on_error: Callable[[GpunbError], None] | None = None) -> None:
        self.frame = frame
        self.on_error = on_error
        self.done = threading.Event()
        self.answer: dict[str, Any] = {}
        self.error: GpunbError | None = None

    def fail(self, error: GpunbError) -> None:
        """Set the error: no answer will come."""
        self.error = error
        self.done.set()
        if self.on_error is not None:
            safely(self.on_error, error)


class AgentConnection:
    """Requests to one host's agent, from any thread, over a connection that reconnects by itself."""

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
        self.name = endpoint.alias  # the user's name for the host
        self.on_line = on_line
        self.still: Callable[[], Endpoint] | None = None  # where the host is; raises if it is not ours
        self.on_note: Callable[[Mapping[str, Any]], None] | None = None
        self.on_start: Callable[[str, Mapping[str, Any]], None] | None = None
        self._listeners: list[Callable[[Mapping[str, Any]], None]] = []
        self.patience = patience
        self._python = python
        self._ids = itertools.count(1)
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._calls: dict[int, Call] = {}
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._closed: GpunbError | None = None
        self._changed = threading.Condition(self._lock)
        """Of `_closed` and `_connection`."""
        self._stalls = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connection(self) -> Connection:
        """The SSH connection in use, for further channels; waits while it reconnects."""
        with self._lock:
            self._changed.wait_for(lambda: self._closed or self._connection, self.patience)
            if self._closed is not None:
                raise self._closed
            if self._connection is None:
                msg = f"there is no connection to {self.name}"
                raise Unreachable(msg, bill=BILLED)
            return self._connection

    @property
    def alive(self) -> bool:
        """Whether the connection is open or reconnecting."""
        return self._closed is None

    @property
    def connected(self) -> bool:
        """Whether the connection is open now, and not reconnecting."""
        return self._connection is not None

    def renew(self) -> None:
        """Close the connection, and open another where the host is now; what was asked is asked again."""
        self._drop()

    def close(self) -> None:
        """Close the connection; runs on the host go on."""
        self._end(Unreachable(f"the connection to {self.name} was closed here"))

    # -- requests

    def _start_reading(self, rest: bytes) -> None:
        name = f"gpunb-{self.endpoint.alias}"
        threading.Thread(target=self._read, args=(rest,), name=name, daemon=True).start()

    def _post(
        self,
        op: str,
        args: Mapping[str, Any],
        on_error: Callable[[GpunbError], None] | None = None,
        parts: Sequence[Any] = (),
    ) -> Call:
        number = next(self._ids)
        call = Call(frames.encode({**args, "t": "req", "id": number, "op": op}, parts), on_error)
        with self._lock:
            if self._closed is not None:
                raise self._closed
            self._calls[number] = call
        self._send(call.frame)
        return call

    def _send(self, frame: bytes) -> None:
        channel = self._channel
        if channel is None:
            return  # sent after the reconnect
        try:
            with self._writing:
                channel.sendall(frame)
        except HostSilent:
            # the host received nothing, or half of a frame: this connection is unusable
            self._stalls += 1
            LOG.warning("%s takes no more requests, closing the line", self.endpoint.alias)
            if self._stalls > 1:  # and nothing was answered in between
                msg = f"{self.name} takes no more requests"
                self._end(Unreachable(msg, bill=BILLED))
            else:
                self._drop(channel)
        except Unreachable:  # half of a frame may have been sent: no other can follow it
            LOG.debug("sending failed", exc_info=True)
            self._drop(channel)

    def listen(self, listener: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
        """Call `listener` with each note's head, in the reader thread: quickly. Returns the unsubscriber.

        Notes are not journaled: those sent during a broken connection are lost.
        """
        with self._lock:
            self._listeners = [*self._listeners, listener]

        def end() -> None:
            with self._lock:
                self._listeners = [mapping for mapping in self._listeners if mapping is not listener]

        return end

    # -- frames

    def _open(self, progress: Progress = SILENT, first: Connection | None = None) -> bytes:
        """Open the channel to the agent, over the connection `first` if it still lives."""
        connection, channel, rest = self._agent_over(first, progress)
        channel.settimeout(STALL)  # for sending; the connection itself detects a silent host
        with self._lock:
            closed = self._closed
            if closed is None:
                self._connection, self._channel = connection, channel
                self._changed.notify_all()
        if closed is not None:
            connection.close()
            raise closed
        return rest

    def _agent_over(self, first: Connection | None, progress: Progress) -> tuple[Connection, Channel, bytes]:
        connection = first if first is not None and first.alive() else Connection.open(self.endpoint)
        try:
            return (connection, *open_line(connection, python=self._python, progress=progress))
        except Unreachable:
            connection.close()
            if connection is not first:
                raise
        except BaseException:
            connection.close()
            raise
        return self._agent_over(None, progress)  # a machine that still boots may drop its first login

    def _read(self, rest: bytes) -> None:
        """Read and reconnect until the connection is given up; then fail all open requests."""
        why: GpunbError = Unreachable(f"the connection to {self.name} ended", bill=BILLED)
        try:
            self._read_on(rest)
        except GpunbError as err:
            why = err
        except Exception as err:
            LOG.warning("reading from %s", self.endpoint.alias, exc_info=True)
            msg = f"the connection to {self.name} ended: {type(err).__name__}: {err}"
            why = Unreachable(msg, bill=BILLED)
        finally:
            self._end(why)

    def _read_on(self, rest: bytes) -> None:
        while True:
            error = self._read_until_broken(rest)
            if not self.alive:
                return
            self._drop()
            if isinstance(error, ProtocolError):
                raise error
            self._tell(f"the connection to {self.name} broke; what runs there goes on, reconnecting")
            rest = self._reconnect()
            self._resume()
            self._tell(f"the connection to {self.name} is back")

    def _read_until_broken(self, rest: bytes) -> Exception | None:
        decoder = frames.Decoder(keep=frames.MAX_BODY if self.trust == "own" else KEEP)
        channel = self._channel
        try:
            data = rest
            while channel is not None:
                for number, head, payload in decoder.feed(data):
                    self._take(number, head, payload)
                data = _receive(channel)
                if not data:
                    return None
        except frames.FrameError as err:
            return ProtocolError(f"the host's agent sent {one_line(err, 200)}", hint=DOWN)
        except GpunbError as err:
            return err
        except Exception as err:  # a stranger's bytes must not end this thread without an error
            LOG.warning("reading from %s", self.endpoint.alias, exc_info=True)
            msg = f"the host's agent sent an invalid message ({type(err).__name__})"
            return ProtocolError(msg, hint=DOWN)
        return None

    def _record(self, number: int, head: dict[str, Any], payload: memoryview) -> None:
        """Handle a record of a run."""
        raise NotImplementedError

    def _take(self, number: int, head: dict[str, Any], payload: memoryview) -> None:
        kind = head.get("t")
        if kind == "rec":
            self._record(number, head, payload)
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
                call.answer = {**head, "parts": frames.parts_of(head, payload)} if "b" in head else head
                call.done.set()
        elif kind == "note":
            head = {**cleaned(head)}
            for listener in [*self._listeners, *([self.on_note] if self.on_note is not None else [])]:
                safely(listener, tame(head))

    def _reconnect(self) -> bytes:
        """Reconnect; return the first bytes received.

        Raises
        ------
        HostError
            No connection within the patience, or it is impossible, or closed meanwhile.
        """
        wait = BACKOFF[0]
        until = time.monotonic() + self.patience
        while True:
            if self.still is not None:
                self.endpoint = self.still()
            try:
                return self._open()
            except (HostKeyChanged, Incompatible):
                raise
            except Exception as err:
                if isinstance(err, GpunbError) and not isinstance(err, HostError):
                    raise
                LOG.info("reconnecting to %s: %s", self.endpoint.alias, err)
                if self._closed is not None or time.monotonic() > until:
                    raise
            with self._lock:
                self._changed.wait_for(lambda: self._closed, wait)
            wait = min(wait * 2, BACKOFF[1])

    def _resume(self) -> None:
        """Send again the requests that were not answered."""
        with self._lock:
            calls = [self._calls[number] for number in sorted(self._calls)]
        for call in calls:
            self._send(call.frame)

    def _tell(self, sentence: str) -> None:
        LOG.info("%s", sentence)
        if self.on_line is not None:
            safely(self.on_line, sentence)

    def _drop(self, channel: Channel | None = None) -> None:
        """Close the connection, which the reader notices; with `channel`, only if that is the current one."""
        with self._lock:
            if channel is not None and self._channel is not channel:
                return
            connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.close()

    def _end(self, error: GpunbError) -> bool:
        """Give up the connection for good; False if it was given up before."""
        with self._lock:
            if self._closed is not None:
                return False
            self._closed = error
            calls, self._calls = list(self._calls.values()), {}
            self._changed.notify_all()
        self._drop()
        for call in calls:
            call.fail(error)
        return True


def safely(call: Callable[..., object], *args: object) -> None:
    """Call a callback from the reader thread and log its exceptions, so that the thread goes on."""
    try:
        call(*args)
    except Exception:
        LOG.warning("a front end failed", exc_info=True)


def _receive(channel: Channel) -> bytes:
    while True:
        with suppress(HostSilent):
            return channel.recv(READ)


def _refusal(head: Mapping[str, Any]) -> GpunbError:
    text, code = one_line(head.get("msg", ""), 2000), head.get("code")
    if code == "no-run":
        return RunNotFound(text, hint=typed("runs") + " lists what there is")
    if code == "lease-over":
        return RunError(text, hint=typed("extend") + " gives it more time")
    return RunError(text)

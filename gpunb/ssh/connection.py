"""One SSH connection: opened with checks, monitored, and shared by many channels."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpunb.errors import AuthRefused, GpunbError, HostError, HostSilent, Unreachable
from gpunb.progress import SILENT
from gpunb.ssh.channel import BILLED, Channel, reason
from gpunb.ssh.handshake import handshake
from gpunb.ssh.tcp_socket import Busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    import paramiko
    from typing_extensions import Self

    from gpunb.progress import Progress
    from gpunb.ssh.endpoint import Endpoint
    from gpunb.ssh.forward import _Reverse
    from gpunb.ssh.tcp_socket import Wire

__all__ = ["Completed", "Connection", "Forbidden", "open_patiently", "probe", "wait_reachable"]

# Received data is buffered here, not in the network: with OpenSSH's own 2 MiB a
# pull at 50 ms stops at 35 MB/s, with 32 MiB it ran at 316 MB/s.
WINDOW = 32 * 2**20
# sshd sends packets as large as we allow; 128 KiB instead of 32 KiB costs a
# fifth less time in Python.
PACKET = 2**17
_SLICE = 2**17

# Bots use up the few unauthenticated logins of an sshd (MaxStartups); a slot is soon free again.
_BUSY = (0.4, 0.8, 1.6, 3.2)

_PROHIBITED = 1  # RFC 4254, 5.1: administratively prohibited
_FORWARD_S = 20.0

_PULSE_S = 15.0  # a connection this quiet is probed
_DEAD_S = 30.0  # ... and given up without an answer for this long


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished remote command: its exit code (-1: killed by a signal) and output."""

    code: int
    out: bytes
    err: bytes


class Connection:
    """An open, authenticated SSH connection to one host.

    Use `open`; the constructor takes what `open` has made. Safe to use from
    several threads. A context manager: leaving it closes everything.
    """

    def __init__(
        self, endpoint: Endpoint, wire: Wire, transport: paramiko.Transport, *, key: str = ""
    ) -> None:
        self.endpoint = endpoint
        self._key = key
        self.transport = transport
        self.opened_s = 0.0  # that key exchange and login took: how slow the way and the host are
        self.requests = threading.Lock()
        """Held around a global request: paramiko keeps one answer at a time."""
        self.reverses: dict[int, _Reverse] = {}
        """Reverse forwards by their port: paramiko knows one handler only."""
        self._wire = wire
        self._closing = threading.Event()
        self._closers: list[Callable[[], None]] = []
        threading.Thread(target=self._watch, name=f"gpunb-pulse-{endpoint.alias}", daemon=True).start()

    @classmethod
    def open(
        cls, endpoint: Endpoint, *, timeout: float = 20.0, key: str = "", progress: Progress = SILENT
    ) -> Connection:
        """Connect, check the host key, and log in.

        The host key is pinned at the first contact that lets us in: a machine
        that still boots may show the image's key before it has its own.

        Parameters
        ----------
        timeout
            Seconds for all of it: name, TCP, key exchange, login.
        key
            The text of a private ed25519 key to use instead of the endpoint's.
        progress
            Told of the steps (`gpunb.progress.step`).

        Raises
        ------
        Unreachable
            No SSH server could be talked to; the message names the cause.
        Incompatible
            Its SSH server speaks outdated algorithms only.
        HostKeyChanged
            Another key than the pinned one; nothing was sent.
        AuthRefused
            The host does not take the session's key.
        """
        until = time.monotonic() + timeout
        pauses, busy = list(_BUSY), None
        while True:
            left = until - (began := time.monotonic())
            try:
                wire, transport = handshake(
                    endpoint, timeout=left, window=WINDOW, packet=PACKET, key=key, progress=progress
                )
            except Busy as err:
                # refused clients must not all retry at the same moment
                spread = random.uniform(0.7, 1.3)  # noqa: S311 - no secret
                busy, wait = err, pauses.pop(0) * spread if pauses else timeout
                if time.monotonic() + wait >= until:
                    raise
                time.sleep(wait)
            except Unreachable as err:
                raise busy or err from err
            else:
                opened = cls(endpoint, wire, transport, key=key)
                opened.opened_s = time.monotonic() - began
                return opened

    def channel(
        self, command: str, *, timeout: float = 20.0, window: int = WINDOW, more: bool = True
    ) -> Channel:
        """Start `command` through the user's shell on the host, without a terminal.

        The caller closes the channel, and must read both its output streams:
        they share one window, of `window` bytes that may wait here unread.

        Parameters
        ----------
        more
            Open a connection for this channel alone if the host lets no further one on this
            connection (its sshd's ``MaxSessions``).

        Raises
        ------
        Unreachable
            The connection is broken, or the host did not answer in time.
        HostError
            The host refuses to open another channel or to run the command.
        """
        # bytes: names on the host need not be UTF-8
        line = command.encode("utf-8", "surrogateescape")
        return self._begin(lambda raw: raw.exec_command(line), "start a command", timeout, window, more=more)

    def subsystem(self, name: str, *, timeout: float = 20.0, more: bool = True) -> Channel:
        """Open a channel to the host's subsystem `name` (``"sftp"``); as `channel`."""
        return self._begin(
            lambda raw: raw.invoke_subsystem(name), f"start {name}", timeout, WINDOW, more=more
        )

    def towards(self, host: str, port: int, origin: tuple[str, int]) -> Channel:
        """Open a channel to `host`:`port` as seen from the host, for a client at `origin`.

        Raises
        ------
        Unreachable
            The connection is broken.
        HostError
            Nothing listens there.
        Forbidden
            The host's sshd forwards nothing, or not to there.
        """
        began = time.monotonic()
        try:
            raw = self.transport.open_channel("direct-tcpip", (host, port), origin, timeout=_FORWARD_S)
        except Exception as err:
            if getattr(err, "code", 0) == _PROHIBITED:
                msg = f"{self.endpoint} forwards nothing to {host}:{port}: its SSH server forbids it"
                raise Forbidden(
                    msg, hint="AllowTcpForwarding yes in the host's sshd_config allows it"
                ) from err
            raise self._broken(err, f"connect to {host}:{port}", began + _FORWARD_S) from err
        return Channel(raw, self.endpoint, alive=self._still_up)

    def _begin(
        self,
        start: Callable[[paramiko.Channel], object],
        doing: str,
        timeout: float,
        window: int,
        *,
        more: bool,
    ) -> Channel:
        from gpunb.ssh.receive_buffer import Pieces

        raw, until = None, time.monotonic() + timeout
        try:
            raw = self.transport.open_session(window_size=window, max_packet_size=PACKET, timeout=timeout)
            raw.in_buffer = Pieces()
            with _answered_within(raw, timeout):
                start(raw)
        except Exception as err:
            if raw is not None:
                _shut(raw)
            elif more and self.alive() and _refused(err):
                return self._apart(start, doing, timeout, window)
            raise self._broken(err, doing, until) from err
        return Channel(raw, self.endpoint, alive=self._still_up)

    def _apart(
        self, start: Callable[[paramiko.Channel], object], doing: str, timeout: float, window: int
    ) -> Channel:
        """Open a channel as `_begin`, over a connection of its own: this one may be at its session limit."""
        other = Connection.open(self.endpoint, timeout=timeout, key=self._key)
        try:
            channel = other._begin(start, doing, timeout, window, more=False)  # noqa: SLF001 - its own kind
        except BaseException:
            other.close()
            raise

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._closers.remove(other.close)
            other.close()

        self.on_close(other.close)  # wakes the threads that wait in the channel, too
        channel.owned = end
        return channel

    def run(
        self,
        command: str,
        *,
        input: bytes | None = None,  # noqa: A002 - subprocess's word
        timeout: float | None = None,
        most: int = 2**25,
    ) -> Completed:
        """Run `command` to its end and return its exit code and output.

        Standard input, output and errors move at the same time, whatever
        their size; without `input` the command reads an empty one.

        Parameters
        ----------
        timeout
            Seconds until the command is given up; the channel is closed then
            and what it had printed is dropped.
        most
            Bytes of output, and of errors, that are taken at most.

        Raises
        ------
        HostError
            No end within `timeout`, or more output than `most`; the command
            may still run on the host.
        Unreachable
            The connection broke; the command may have run or not.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        channel = self.channel(command, timeout=20.0 if timeout is None else min(20.0, timeout))
        out, err = bytearray(), bytearray()
        threads = [
            threading.Thread(target=_drain, args=(channel, channel.recv, out, most), daemon=True),
            threading.Thread(target=_drain, args=(channel, channel.recv_stderr, err, most), daemon=True),
            threading.Thread(target=_feed, args=(channel, input or b""), daemon=True),
        ]
        channel.doing = f"while {_short(command)} ran; it may have run or not"
        try:
            for thread in threads:
                thread.start()
            for thread in threads[:2]:
                thread.join(_left(deadline))
            drained = not any(t.is_alive() for t in threads[:2])
            if len(out) > most or len(err) > most:
                msg = f"{_short(command)} printed more than {most} bytes on {self.endpoint}"
                msg += "; it may still run there"
                raise HostError(msg)
            code = channel.exit_code(_left(deadline)) if drained else None
            if code is None:
                msg = f"{_short(command)} did not end within {timeout:g} s on {self.endpoint}"
                msg += "; it may still run there"
                raise HostError(msg)
        finally:
            channel.close()
        return Completed(code, bytes(out), bytes(err))

    def alive(self) -> bool:
        """Whether the connection is up as far as is known, without asking the host."""
        return self.transport.is_active() and self.transport.is_authenticated()

    @property
    def reached(self) -> Endpoint:
        """The endpoint with the numeric address that answered, so that other programs need no lookup."""
        return replace(self.endpoint, host=self._wire.address or self.endpoint.host)

    @property
    def server(self) -> str:
        """The SSH server's identification, such as ``SSH-2.0-OpenSSH_9.6``."""
        return str(self.transport.remote_version)

    def traffic(self) -> tuple[int, int]:
        """Bytes sent and received so far by all channels together."""
        return self._wire.sent, self._wire.received

    def on_close(self, closer: Callable[[], None]) -> None:
        """Call `closer` when this connection is closed (forwards register here)."""
        self._closers.append(closer)

    def close(self) -> None:
        """Close every forward and channel, and the connection. Does nothing twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        for closer in list(self._closers):
            with contextlib.suppress(OSError, GpunbError):
                closer()
        self.transport.close()
        if self.transport is not threading.current_thread():
            self.transport.join(2.0)
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _still_up(self) -> bool:
        """Return `alive`, after waiting briefly for the thread of a connection that has just broken."""
        self.transport.join(0.2)
        return self.alive()

    def _broken(self, err: BaseException, doing: str, until: float) -> HostError:
        if not self.alive():
            msg = f"the connection to {self.endpoint} is broken: {reason(err)}"
            return Unreachable(msg, bill=BILLED)
        if time.monotonic() >= until:
            msg = f"{self.endpoint} did not answer in time when it was asked to {doing}"
            return HostSilent(msg, bill=BILLED)
        msg = f"{self.endpoint} refused to {doing}: {_refusal(err)}"
        return HostError(msg)

    def _watch(self) -> None:
        """Probe a quiet host, and break the connection when it does not answer.

        TCP alone can't tell: with a cloud's SSH proxy or a frozen sshd in
        between, the peer that answers TCP is not the host.
        """
        asked: float | None = None
        while not self._closing.wait(2.0 if asked else 5.0):
            if not self.transport.is_active():
                return
            now = time.monotonic()
            if asked is not None and self._wire.heard < asked:
                if now - asked > _DEAD_S:
                    logging.getLogger(__name__).warning("%s is silent, closing", self.endpoint.alias)
                    self._wire.abort()
                    return
                continue
            asked = None
            if now - self._wire.heard > _PULSE_S:
                asked = now
                threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        with self.requests, contextlib.suppress(Exception):  # `_watch` sees whether an answer came
            self.transport.global_request("keepalive@openssh.com", wait=True)


class Forbidden(HostError):
    """The host's SSH server forbids the request."""


def probe(endpoint: Endpoint, *, timeout: float = 10.0) -> float:
    """Measure a fresh login in seconds. Distinguishes a dead host from a stale connection.

    Raises
    ------
    Unreachable, HostKeyChanged, AuthRefused
        As `Connection.open`.
    """
    start = time.monotonic()
    Connection.open(endpoint, timeout=timeout).close()
    return time.monotonic() - start


def wait_reachable(
    endpoint: Endpoint,
    *,
    timeout: float,
    progress: Progress = SILENT,
    give_up: Callable[[], None] | None = None,
) -> None:
    """Retry logging in until it works; parameters and errors as `open_patiently`."""
    open_patiently(endpoint, timeout=timeout, progress=progress, give_up=give_up).close()


def open_patiently(
    endpoint: Endpoint,
    *,
    timeout: float,
    progress: Progress = SILENT,
    give_up: Callable[[], None] | None = None,
) -> Connection:
    """Connect, and retry with pauses from 0.2 up to 5 s.

    A refused key is tried again too: clouds install it late in the boot.

    Parameters
    ----------
    timeout
        Seconds until the last failure is raised.
    give_up
        Called before each try; may raise (the instance is gone, Ctrl-C).

    Raises
    ------
    HostKeyChanged, Incompatible
        At once.
    Unreachable, AuthRefused
        The last try's error, when `timeout` is over.
    """
    start = time.monotonic()
    pause = 0.2
    while True:
        if give_up is not None:
            give_up()
        left = start + timeout - time.monotonic()
        try:
            return Connection.open(endpoint, timeout=max(0.5, min(15.0, left)), progress=progress)
        except (Unreachable, AuthRefused) as err:  # other errors do not go away by waiting
            spent = time.monotonic() - start
            if spent + pause >= timeout:
                msg = f"no login at {endpoint} within {timeout:g} s; the last try: {err.message}"
                raise type(err)(msg, bill="the instance may run and be billed", hint=err.hint) from err
            progress.say(f"waiting for SSH at {endpoint}: {err.message}")
            progress.advance(spent, timeout, "s")
        time.sleep(pause)
        pause = min(5.0, pause * 1.6)


def _drain(channel: Channel, receive: Callable[[int], bytes], into: bytearray, most: int) -> None:
    # read all that is buffered: paramiko moves the rest of its buffer at each read
    with contextlib.suppress(Unreachable):
        while data := receive(WINDOW):
            into += data[: most + 1 - len(into)]
            if len(into) > most:
                channel.close()  # wakes the other reader too
                return


def _feed(channel: Channel, data: bytes) -> None:
    # in slices: paramiko's sendall copies the rest at every packet
    with contextlib.suppress(Unreachable):
        for start in range(0, len(data), _SLICE):
            channel.sendall(data[start : start + _SLICE])
        channel.shutdown_write()


@contextlib.contextmanager
def _answered_within(channel: paramiko.Channel, seconds: float) -> Iterator[None]:
    """Limit the time of a request on `channel`: paramiko itself would wait for ever."""
    timer = threading.Timer(seconds, _shut, (channel,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut(channel: paramiko.Channel) -> None:
    with contextlib.suppress(Exception):  # paramiko's errors on a broken connection
        channel.close()


def _refused(err: BaseException) -> bool:
    """Whether the host's sshd refuses more channels; paramiko tells only one of several callers why."""
    return getattr(err, "code", None) is not None or str(err) == "Unable to open channel."


def _refusal(err: BaseException) -> str:
    if _refused(err):
        return "it lets no more sessions in (MaxSessions in its sshd_config)"
    return reason(err)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _short(command: str) -> str:
    line = " ".join(command.split())
    return f"`{line[:60]}...`" if len(line) > 60 else f"`{line}`"

"""A channel to the agent's ``files`` process: frames in both directions.

What comes from the host is checked for its length and kind here, and for its
meaning by `gpunb.sync.stream.host_tree` and `gpunb.sync.stream.host_files`.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import file_frames as wire
from gpunb.errors import HostError, ProtocolError
from gpunb.ssh.openssh_channel import apart as pipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.remote import AgentClient

__all__ = ["FileChannel", "HostFault", "bad"]

STALL_S = 90.0
_kept: weakref.WeakKeyDictionary[AgentClient, FileChannel] = weakref.WeakKeyDictionary()
_keeping = threading.Lock()
_WINDOW = 4 * 2**20  # of a channel; eight of them hold no more than 32 MiB, and bring 640 MB/s at 50 ms
_STEP = 2**20
_MOST = {ord("L"): 2**28, ord("S"): 2**26, ord("P"): wire.PIECE + 1, ord("J"): 2**26}
_LONG = 2**18
_HELD = 2**12


class HostFault(HostError):
    """The host's operation failed; `errno` is the host's."""

    def __init__(self, words: str, errno: int = 0) -> None:
        super().__init__(words)
        self.errno = errno


class FileChannel:
    """A ``files`` process on the host and the channel to it.

    Requests may be sent before the host's greeting has come.

    Parameters
    ----------
    root
        The folder that paths begin in; the home by default.
    apart
        Over a connection of its own, by the system's ssh. If that fails, `greet` raises.

    Attributes
    ----------
    rtt
        Seconds of a round trip, as opening the channel (two of them) took; 0 if `apart`.
    """

    def __init__(self, client: AgentClient, root: str = "", *, apart: bool = False) -> None:
        from gpunb.remote.bootstrap import agent_version, patience
        from gpunb.ssh.quoting import quote

        self._nonce = secrets.token_hex(12)
        folder = f"{client.info.folder}/agent/{agent_version()}"
        argv = [client.info.python, "-E", "-s", folder, "files", self._nonce]
        command = quote([*argv, root] if root else argv)
        connection = client.connection
        self._shared = None if apart else connection
        self._patience = patience(connection)
        self.rtt = 0.0
        if apart:
            self.channel = pipe(connection.reached, command)
        else:
            began = time.perf_counter()
            self.channel = connection.channel(command, window=_WINDOW)
            self.rtt = (time.perf_counter() - began) / 2
        self.channel.settimeout(STALL_S)
        self.channel.doing, self.channel.hint = "while files moved", "run the same sync again: it goes on"
        self._rest = memoryview(b"")
        self._held = b""
        self._greeted = False
        self.stopped = False

    def greet(self) -> None:
        """Wait for the greeting of the host's process.

        Raises
        ------
        HostError
            It does not come.
        """
        if not self._greeted:
            self._greet()

    def send(self, kind: bytes, *parts: Any) -> None:
        """Send one frame; raises `Unreachable`."""
        size = sum(map(len, parts))
        head = wire.FRAME.pack(size, kind[0])
        held, self._held = self._held, b""
        head = held + head
        if size < _LONG:
            self.channel.sendall(b"".join((head, *parts)))
            return
        self.channel.sendall(b"".join((head, *parts[:-1])))
        self.channel.sendall(memoryview(parts[-1]))

    def hold(self, kind: bytes, body: bytes) -> None:
        """Queue a frame, at the latest until the next `send` or `flush`."""
        self._held += wire.FRAME.pack(len(body), kind[0]) + body
        if len(self._held) > _HELD:
            self.flush()

    def flush(self) -> None:
        """Send the frames that `hold` queued; raises `Unreachable`."""
        held, self._held = self._held, b""
        if held:
            self.channel.sendall(held)

    def receive(self) -> tuple[int, memoryview]:
        """Return the next frame's kind and body.

        Raises
        ------
        Unreachable
            The channel broke, or was silent for 90 s.
        ProtocolError
            A frame that no honest end sends.
        """
        kind, size = self.head()
        return kind, self._take(size)

    def head(self) -> tuple[int, int]:
        """Return the next frame's kind and size; `parts` or `body` then reads its body."""
        if not self._greeted:
            self._greet()
        size, kind = wire.FRAME.unpack(self._take(wire.FRAME.size))
        if size > _MOST.get(kind, 2**20):
            words = f"a frame of kind {kind} and {size} bytes"
            raise bad(words)
        return kind, size

    def parts(self, size: int) -> Iterator[memoryview]:
        """Yield `size` bytes of a body in pieces as received; each is valid until the next one."""
        while size:
            if not self._rest:
                self._rest = self.channel.take(_STEP, reuse=True)
            part = self._rest[:size]
            self._rest = self._rest[size:]
            size -= len(part)
            yield part

    def body(self, size: int) -> memoryview:
        """Read a body in one piece."""
        return self._take(size)

    def ready(self) -> bool:
        """Whether received bytes can be read without waiting."""
        return len(self._rest) > 0 or self.channel.recv_ready()

    def expect(self, kind: bytes) -> memoryview:
        """Return the body of the next frame, which must be of this kind."""
        found, body = self.receive()
        if found != kind[0]:
            words = f"a frame of kind {found} where {kind!r} was due"
            raise bad(words)
        return body

    def call(self, op: str, **args: Any) -> dict[str, Any]:
        """Send a JSON call and return its answer; raises `HostFault` with the host's message."""
        self.post(op, **args)
        return answer(self.expect(b"J"))

    def post(self, op: str, **args: Any) -> None:
        """Send a JSON call whose answer is read later."""
        self.send(b"J", json.dumps({"op": op, **args}).encode())

    @classmethod
    def first(cls, client: AgentClient) -> FileChannel:
        """Return the channel that an earlier sync with this host left open, or a new one."""
        with _keeping:
            channel = _kept.pop(client, None)
        if channel is not None:
            if not channel.channel.over and channel.current(client):
                return channel
            channel.close()
        return cls(client)

    def current(self, client: AgentClient) -> bool:
        """Whether this channel belongs to the connection that the client uses now."""
        return self._shared is client.connection

    def keep(self, client: AgentClient) -> None:
        """Leave the channel open for the next sync; nothing may be pending on it.

        The host's end gives up after some idle minutes.
        """
        with _keeping:
            before = _kept.pop(client, None)
            _kept[client] = self
        if before is not None:
            before.close()

    def close(self) -> None:
        """Close the channel, which ends the host's process. Does nothing twice."""
        self.stopped = True
        self.channel.close()

    def _greet(self) -> None:
        from gpunb.errors import BootstrapFailed
        from gpunb.remote.bootstrap import read_line

        try:
            _, rest = read_line(self.channel, self._nonce, self._patience)
        except BootstrapFailed as err:
            if (self._shared is None or self._shared.alive()) and not self.stopped:
                raise
            raise self.channel.broke() from err
        self.channel.settimeout(STALL_S)
        self._rest = memoryview(rest)
        self._greeted = True

    def _take(self, size: int) -> memoryview:
        rest = self._rest
        if len(rest) >= size:
            self._rest = rest[size:]
            return rest[:size]
        whole = bytearray(size)
        at = len(rest)
        whole[:at] = rest
        while at < size:
            rest = self.channel.take(_STEP)
            use = min(size - at, len(rest))
            whole[at : at + use] = rest[:use]
            at += use
            self._rest = rest[use:]
        return memoryview(whole)


def answer(body: memoryview) -> dict[str, Any]:
    """Parse a JSON answer; raises `HostFault` if it is an error."""
    try:
        data = json.loads(bytes(body))
    except (ValueError, RecursionError) as err:
        words = "an answer that is not JSON"
        raise bad(words) from err
    if not isinstance(data, dict):
        words = "an answer that is not an object"
        raise bad(words)
    if "error" in data:
        code = data.get("errno")
        raise HostFault(str(data["error"])[:200], code if isinstance(code, int) else 0)
    return data


def bad(what: str) -> ProtocolError:
    """The error for an answer that violates the protocol."""
    msg = f"the host's agent sent {what}"
    return ProtocolError(
        msg, hint="the host's answers can't be trusted; nothing was written outside of the target"
    )

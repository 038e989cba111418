"""Direct transfer between two hosts: only bytes go there, the plan and every decision stay here.

The receiving host admits a key that is made for this sync and restricted to one
command (`gpunb.agent.files.host_to_host`), for the seconds until the connections are
open. A holder of the key can only send bytes to a process of ours that knows what to
expect and where to put it, as the sending host could through this machine.
"""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.agent.shared import file_frames as wire
from gpunb.errors import AuthRefused, HostError, Unreachable
from gpunb.ssh import hostkeys
from gpunb.ssh.connection import Connection
from gpunb.ssh.endpoint import ssh_options
from gpunb.ssh.keys import generate_host_key
from gpunb.ssh.openssh_channel import CIPHERS
from gpunb.sync.sftp.host_tree import encode
from gpunb.sync.stream.file_channel import FileChannel, HostFault
from gpunb.sync.stream.host_files import HostReader, HostWriter
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.ssh.endpoint import Endpoint
    from gpunb.sync.planning.plan import Item
    from gpunb.sync.stream.host_tree import HostSide

__all__ = ["DirectBroke", "Link", "NotDirect", "connect"]

FROM = 8 * 2**20  # bytes; less is sent through this machine before a direct connection is open
LINES = 6  # with the two open ones, below the ten sessions that OpenSSH allows a connection
LINES_FROM = 64 * 2**20  # bytes; below, two connections
KEY_S = 60
CONNECT_S = 3  # of the sending host's ssh, up to the receiving host's greeting
PROBE_S = 10.0
AHEAD = 4  # pending tasks of a writer
_ALIAS = "gpunb-direct"


class NotDirect(Exception):
    """No direct connection is possible; the text is the reason."""


class DirectBroke(Unreachable):
    """A direct connection broke during the transfer."""


class Link:
    """A direct connection between two hosts, and our channel to each of them."""

    def __init__(self, one: HostSide, two: HostSide) -> None:
        self._one, self._two = one, two
        self._lines: list[FileChannel] = []
        self._closed = False

    def open(self, folder: str, argv: Sequence[str], files: dict[str, str]) -> Link:
        """Connect the two; `NotDirect` with the reason, `Unreachable` if one of our channels broke."""
        token = secrets.token_hex(16)
        try:
            taker = self._line(self._two)
            taker.call("listen", folder=folder, token=token)
            giver = self._line(self._one)
            giver.call("dial", argv=[*argv, token], files=files, token=token)
            taker.call("accept")
        except Unreachable:
            self.close()
            raise
        except HostError as err:
            self.close()
            raise NotDirect(one_line(err.message, 200)) from err
        return self

    def _line(self, side: HostSide) -> FileChannel:
        line = FileChannel(side.client, side.root)
        self._lines.append(line)
        if self._closed:
            line.close()
        return line

    def pair(self, codec: int) -> tuple[HostReader, HostWriter]:
        """Create a reader and a writer that pass no content through this machine."""
        taker, giver = self._lines
        writer = _Writer(taker, codec)
        return _Reader(giver, self._one.alias, codec, writer), writer

    def close(self) -> None:
        """Close our channels, which ends the direct connection. Does nothing twice."""
        self._closed = True
        for line in list(self._lines):
            line.close()


def connect(one: HostSide, two: HostSide, size: int) -> list[Link]:
    """Open direct connections from host `one` to host `two`, as many as `size` bytes need, at least one.

    The key is removed from `two` before this returns; if this machine or its
    connection fails, the host removes it by itself.

    Raises
    ------
    NotDirect
        With the reason.
    Unreachable
        One of our connections broke.
    """
    if size < FROM:
        msg = "it is too little for a line of its own"
        raise NotDirect(msg)
    endpoint = two.client.endpoint
    private, public = generate_host_key()  # any key pair will do
    for side in (one, two):
        side.entered()
    try:
        folder = str(two.line.call("admit", key=public, seconds=KEY_S)["folder"])
    except (HostFault, KeyError) as err:
        reason = err.message if isinstance(err, HostFault) else "no folder"
        msg = f"the target's host takes no key for it: {one_line(reason, 200)}"
        raise NotDirect(msg) from err
    try:
        _check(endpoint, private)
        return _open(one, two, folder, private, LINES if size >= LINES_FROM else 2)
    except NotDirect:
        two.line.call("dismiss")
        raise


def _open(one: HostSide, two: HostSide, folder: str, private: str, count: int) -> list[Link]:
    """Open up to `count` links; the key is revoked once they are open."""
    endpoint = two.client.endpoint
    pins = hostkeys.pinned(endpoint.known_hosts, endpoint.alias)
    files = {"key": private, "known_hosts": "".join(f"{_ALIAS} {pin}\n" for pin in pins)}
    argv = _argv(endpoint)
    links = [Link(one, two) for _ in range(count)]
    stand: list[Link] = []
    reasons: list[str] = []
    pool = ThreadPoolExecutor(count)
    try:
        for future in [pool.submit(link.open, folder, argv, files) for link in links]:
            try:
                stand.append(future.result())
            except NotDirect as err:  # noqa: PERF203 - each by itself
                reasons.append(str(err))
        if stand:
            two.line.call("dismiss")
    except BaseException:
        for link in links:
            link.close()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if not stand:
        msg = f"the source's host can't reach the target's: {reasons[0]}"
        raise NotDirect(msg)
    return stand


def _argv(endpoint: Endpoint) -> list[str]:
    there = Path(wire.HERE)
    theirs = replace(endpoint, key=there / "key", known_hosts=there / "known_hosts", alias=_ALIAS, proxy="")
    first = ["ssh", "-c", CIPHERS, "-o", f"ConnectTimeout={CONNECT_S}", "-o", "LogLevel=ERROR"]
    return [*first, *ssh_options(theirs), "--", endpoint.host]


def _check(endpoint: Endpoint, private: str) -> None:
    """Test that the key allows no more than it should, before a stranger gets it."""
    word = secrets.token_hex(8)
    try:
        with Connection.open(endpoint, timeout=PROBE_S, key=private) as line:
            if not line.server.startswith("SSH-2.0-OpenSSH_"):
                msg = "the target's SSH server is not OpenSSH: it may not hold a key to one command"
                raise NotDirect(msg)
            answer = line.run(f"echo {word}", timeout=PROBE_S).out
    except AuthRefused as err:
        msg = "the target's SSH server accepts no key from ~/.ssh/authorized_keys"
        raise NotDirect(msg) from err
    except HostError as err:
        msg = f"the key could not be tried: {one_line(err.message, 200)}"
        raise NotDirect(msg) from err
    if wire.NO not in answer or word.encode() in answer:
        msg = "the target's SSH server would run other commands with a key held to one"
        raise NotDirect(msg)


class _Span:
    """The length of bytes that never pass through this machine."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = False

    def __len__(self) -> int:
        return self.size


class _Reader(HostReader):
    """Lets the host send to the other host, in the order of the requests; each must be taken."""

    SMALL, RANGE = b"g", b"r"

    def __init__(self, line: FileChannel, alias: dict[str, str], codec: int, writer: _Writer) -> None:
        super().__init__(line, alias, codec)
        self._writer = writer

    def small(self, items: Sequence[Item]) -> list[Any]:
        """Return a `_Span` for the content of each item."""
        return [_Span(item.size) for item in items]

    def pieces(self, _item: Item, start: int, end: int) -> Iterator[tuple[int, Any]]:
        """Yield the range as one `_Span`."""
        span = _Span(end - start)
        yield start, span
        if not span.taken:  # the file has failed, but its content still arrives
            self._writer.discard(start, end)


class _Writer(HostWriter):
    """Tells the host what arrives from the other host, and where to write it."""

    def small(
        self, items: Sequence[Item], contents: Sequence[Any], done: Callable[[list[tuple[int, str]]], None]
    ) -> None:
        """Write as `HostWriter.small`; waits while too much is pending."""
        super().small(items, contents, done)
        self._keep_up()

    def _bundle(self, number: bytes, heads: Sequence[bytes], contents: Sequence[Any]) -> None:  # noqa: ARG002
        self.line.send(b"w", number, *heads)  # the other host sends the content

    def piece(self, item: Item, at: int, data: Any, failed: Callable[[str], None]) -> None:
        """Announce that a range arrives next."""
        data.taken = True
        self._number += 1
        self._failures[self._number] = lambda _index, why: failed(why)
        path = encode(self.part_of(item))
        self.line.send(b"d", wire.TAKE.pack(self._number, at, at + len(data), len(path)), path)

    def discard(self, start: int, end: int) -> None:
        """Announce a range that arrives and is to be discarded."""
        self.line.send(b"d", wire.TAKE.pack(0, start, end, 0))

    def confirm(self, done: Callable[[], None]) -> None:
        """Confirm as `HostWriter.confirm`; waits while too much is pending."""
        super().confirm(done)
        self._keep_up()

    def _keep_up(self) -> None:
        while len(self._due) > AHEAD:
            self._one()

    def _taken(self, kind: int, body: memoryview) -> None:
        if kind == ord("Y"):
            return
        if kind == ord("B"):
            why = one_line(bytes(body).decode("utf-8", "replace"), 200)
            log.get(__name__).info("a direct line broke: %s", why)
            msg = f"the connection from host to host broke: {why}"
            raise DirectBroke(msg, hint="run the same sync again: it goes on")
        super()._taken(kind, body)

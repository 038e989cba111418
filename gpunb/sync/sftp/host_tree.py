"""SFTP channels to a host, and single questions over them: attributes, free space, making folders."""

from __future__ import annotations

import contextlib
import stat
import threading
from typing import TYPE_CHECKING, Any

from gpunb.errors import HostError, ProtocolError, SyncError
from gpunb.sync.sftp import protocol as wire
from gpunb.sync.sftp.protocol import Attrs, Fault, Pump, Request, Task, string

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gpunb.ssh.connection import Connection

__all__ = ["Remote", "encode"]


def encode(path: str) -> bytes:
    """Encode `path` as the host's bytes."""
    return path.encode("utf-8", "surrogateescape")


class Remote:
    """SFTP channels to one host, opened as needed. A context manager."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.stop = threading.Event()
        self._pumps: list[Pump] = []

    def __enter__(self) -> Remote:  # noqa: PYI034 - final in practice, and the name reads better
        return self

    def __exit__(self, *_: object) -> None:
        for pump in self._pumps:
            pump.close()

    @property
    def pump(self) -> Pump:
        """The first channel."""
        return self.pumps(1)[0]

    def pumps(self, count: int) -> list[Pump]:
        """Up to `count` channels; fewer if the host allows no more (``MaxSessions``)."""
        while len(self._pumps) < count:
            try:
                self._pumps.append(Pump(self.connection.subsystem("sftp", more=not self._pumps), self.stop))
            except HostError:  # noqa: PERF203 - ends the loop
                if not self._pumps or not self.connection.alive():
                    raise
                break
        return self._pumps[:count]

    # -- single requests

    def ask(self, kind: int, *parts: bytes) -> Any:
        """Send one request and return its answer; raises `Fault`."""
        answer: list[Any] = []

        def task() -> Task:
            answer.append((yield Request(kind, b"".join(parts))))

        self.pump.one(task())
        return answer[0]

    def real(self, path: str) -> str:
        """Return the absolute path of `path`, links followed where the server does so."""
        names = self.ask(wire.REALPATH, string(encode(path)))
        if not isinstance(names, list) or len(names) != 1:
            msg = "the host's SFTP server gave no real path"
            raise ProtocolError(msg)
        text: str = names[0][0].decode("utf-8", "surrogateescape")
        if not text.startswith("/") or "\0" in text:
            msg = f"the host's SFTP server says that {path!r} is {text!r}"
            raise ProtocolError(msg)
        return text

    def attrs(self, path: str, *, follow: bool = True) -> Attrs | None:
        """Return the attributes of `path`; None if nothing is there."""
        try:
            result = self.ask(wire.STAT if follow else wire.LSTAT, string(encode(path)))
        except Fault as fault:
            if fault.code == wire.NO_SUCH_FILE:
                return None
            raise
        if not isinstance(result, Attrs) or result.mode is None:
            msg = f"the host's SFTP server does not say what {path!r} is"
            raise ProtocolError(msg)
        return result

    def free_bytes(self, path: str) -> int | None:
        """Bytes free for this user in the existing folder `path`; None if the host does not tell."""
        if b"statvfs@openssh.com" in self.pump.extensions:
            with contextlib.suppress(Fault):
                body = self.ask(wire.EXTENDED, string(b"statvfs@openssh.com"), string(encode(path)))
                if isinstance(body, bytes) and len(body) >= 40:
                    numbers = [int.from_bytes(body[i : i + 8], "big") for i in range(0, 40, 8)]
                    return (numbers[1] or numbers[0]) * numbers[4]  # frsize, bavail
        from gpunb.ssh.quoting import quote

        with contextlib.suppress(HostError):
            done = self.connection.run(quote(["df", "-Pk", "--", path]), timeout=20)
            fields = done.out.decode("utf-8", "replace").strip().rpartition("\n")[2].split()
            if done.code == 0 and len(fields) >= 4 and fields[3].isdecimal() and len(fields[3]) < 20:
                return int(fields[3]) * 1024
        return None

    # -- the tree

    def make_folders(self, root: str) -> None:
        """Make `root` and its parents as needed; raises `SyncError` naming what stands in the way."""
        attrs = self.attrs(root)
        if attrs is not None and stat.S_ISDIR(attrs.mode or 0):
            return
        path = ""
        for name in root.strip("/").split("/"):
            path = f"{path}/{name}"
            attrs = self.attrs(path)
            if attrs is None:
                try:
                    self.ask(wire.MKDIR, string(encode(path)), Attrs().pack())
                except Fault as fault:
                    msg = f"the folder {path} can't be made on the host: {fault.message}"
                    raise SyncError(msg) from fault
            elif not stat.S_ISDIR(attrs.mode or 0):
                msg = f"{path} on the host is not a folder"
                raise SyncError(msg)

    def each(
        self, items: Iterable[Any], make: Callable[[Any], Task], failed: Callable[[Any, str], None]
    ) -> None:
        """Run `make(item)` for each item on the first channel; a `Fault` goes to `failed`."""
        queue = iter(items)

        def guarded(item: Any) -> Task:
            try:
                yield from make(item)
            except Fault as fault:
                failed(item, fault.message)

        def source() -> Task | None:
            for item in queue:
                return guarded(item)
            return None

        self.pump.run(source)

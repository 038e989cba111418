"""``gpu://session/path``: the files of all sessions as one fsspec filesystem.

``pd.read_parquet("gpu://trainer/out/x.parquet")`` and ``fsspec.open`` find it
by its entry point; ``fsspec.filesystem("gpu").ls("")`` lists the sessions.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import threading
import time
from typing import TYPE_CHECKING, ClassVar

from gpunb.errors import GpunbError, SessionNotFound
from gpunb.sync.fs.filesystem import HostsFileSystem, Moved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.ssh.connection import Connection

__all__ = ["GpuFileSystem"]

NOTE_S = 15.0  # seconds between two records of small reads and writes


class GpuFileSystem(HostsFileSystem):
    """An fsspec filesystem of all sessions' files, over this process's SSH connections.

    Transfers count as activity for the lease and are in the receipt. A
    session that is over raises `gpunb.errors.SessionError`, an unknown one
    `FileNotFoundError`.
    """

    protocol: ClassVar[str | tuple[str, ...]] = "gpu"

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._small = _Small()

    def connect(self, host: str) -> Connection:
        """The session's shared SSH connection."""
        from gpunb.sessions.access import host_access
        from gpunb.sessions.ledger.sessions import Ledger

        with Ledger.open() as ledger:
            try:
                session = ledger.one(host)
            except SessionNotFound as err:
                raise FileNotFoundError(errno.ENOENT, err.message, host) from err
        return host_access.connection(session)

    def hosts(self) -> list[str]:
        """Names of the live sessions."""
        from gpunb.sessions.ledger.sessions import Ledger

        with Ledger.open() as ledger:
            return [session.name for session in ledger.sessions()]

    @contextlib.contextmanager
    def moving(self, host: str, direction: str, what: str) -> Iterator[Moved]:
        """Record a transfer in the ledger, as activity."""
        from gpunb.sessions.access.activity import moving
        from gpunb.sessions.ledger.sessions import Ledger

        note = Moved()
        with Ledger.open() as ledger, moving(ledger, ledger.find(host), direction, what) as transfer:
            try:
                yield note
            finally:
                transfer.bytes, transfer.files = note.bytes, note.files

    def stranger(self, host: str) -> bool:
        """Whether the session's host has any other trust than "own"."""
        from gpunb.sessions.ledger.sessions import Ledger

        with Ledger.open() as ledger:
            return ledger.find(host).trust != "own"

    def moved(self, host: str, direction: str, size: int) -> None:
        """Record a read or write of an open file; several seconds' worth as one."""
        self._small.add(host, direction, size)


class _Small:
    """Sums of reads and writes that are too many to record each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, str], tuple[float, int, int]] = {}  # began, bytes, files
        self._noted = 0.0
        self._registered = False

    def add(self, host: str, direction: str, size: int) -> None:
        with self._lock:
            began, total, files = self._sums.get((host, direction), (time.time(), 0, 0))
            self._sums[host, direction] = began, total + size, files + 1
            if not self._registered:
                self._registered = True
                atexit.register(self.note)
            due = time.monotonic() - self._noted >= NOTE_S
        if due:
            self.note()

    def note(self) -> None:
        """Write the sums to the ledger; a session that has ended meanwhile is ignored."""
        from gpunb.sessions.ledger.sessions import Ledger
        from gpunb.sessions.model import Transfer

        with self._lock:
            sums, self._sums = self._sums, {}
            self._noted = time.monotonic()
        for (host, direction), (began, total, files) in sums.items():
            with contextlib.suppress(GpunbError), Ledger.open() as ledger:
                session = ledger.find(host)
                ledger.add_transfer(
                    Transfer(
                        session_id=session.id,
                        direction=direction,
                        bytes=total,
                        files=files,
                        started=began,
                        ended=time.time(),
                        what=f"gpu://{host}",
                    )
                )

"""Transfers between an object store and a host, streamed through this machine without its disk."""

from __future__ import annotations

import contextlib
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError, HostError, SyncError
from gpunb.sync.sftp.output_file import Output
from gpunb.sync.sftp.protocol import Attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.sync.object_store.stores import Store, Stored
    from gpunb.sync.sftp.host_files import HostFiles

__all__ = ["Relay"]

AT_ONCE = 4
PIECE = 8 * 2**20
PAUSES = (0.3, 1.0, 3.0, 8.0)


class Relay:
    """Transfers files, a few at a time; one failure does not stop the others.

    Parameters
    ----------
    moved
        Called with the number of bytes moved; negative before a retry.
    """

    def __init__(self, files: HostFiles, store: Store, moved: Callable[[int], None]) -> None:
        self._files, self._store, self._moved = files, store, moved
        self._stop = threading.Event()
        self._closed: list[HostError] = []

    def run(
        self,
        work: Callable[[Stored, str, str], None],
        jobs: Sequence[tuple[Stored, str, str]],
        done: Callable[[Stored], None],
        failed: Callable[[Stored, str], None],
    ) -> None:
        """Call ``work(item, path on the host, part or key)`` for all; raises only for a lost host."""

        def one(job: tuple[Stored, str, str]) -> None:
            if self._stop.is_set():
                return
            try:
                work(*job)
            except HostError as err:
                self._closed.append(err)
                self._stop.set()
            except GpunbError as err:
                failed(job[0], err.message)
            except OSError as err:
                failed(job[0], err.strerror or str(err).partition("\n")[0][:300])
            except Exception as err:  # noqa: BLE001 - drivers raise what their libraries do
                failed(job[0], f"{type(err).__name__}: {str(err).partition(chr(10))[0][:300]}")
            else:
                done(job[0])

        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for _ in pool.map(one, jobs):
                    pass
            except BaseException:
                self._stop.set()
                raise
        if self._closed:
            raise self._closed[0]

    def fetch(self, item: Stored, path: str, part: str) -> None:
        """Fetch from the object store to the host; resumes a partial file."""
        self._files.make_folders([path.rpartition("/")[0]])
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(self._files.attrs(path).mode or 0):
                msg = "a folder stands in its place"
                raise SyncError(msg)
        have = 0
        with contextlib.suppress(FileNotFoundError):
            have = self._files.attrs(part).size or 0
        if have > item.size:
            have = 0
        out = Output(self._files, part, fresh=not have)
        at = [have]
        self._moved(have)

        def attempt() -> None:
            for piece in self._store.read(item, at[0]):
                if self._stop.is_set():
                    msg = "stopped"
                    raise SyncError(msg)
                out.write(at[0], piece)
                at[0] += len(piece)
                self._moved(len(piece))
            if at[0] < item.size:
                msg = f"the store's connection broke after {at[0]} of {item.size} bytes"
                raise ConnectionError(0, msg)

        try:
            self._persist(attempt)
        except BaseException:
            self._moved(-at[0])
            raise
        if at[0] != item.size:
            self._files.remove(part)
            msg = f"{at[0]} bytes came instead of {item.size}"
            raise SyncError(msg)
        self._files.stamp(part, Attrs(mode=0o644, mtime=item.mtime))
        self._files.rename(part, path)

    def send(self, item: Stored, path: str, key: str) -> None:
        """Send from the host to the object store."""

        def attempt() -> None:
            sent = 0

            def pieces() -> Iterator[bytes]:
                nonlocal sent
                while sent < item.size:
                    if self._stop.is_set():
                        msg = "stopped"
                        raise SyncError(msg)
                    data = self._files.read(path, sent, min(item.size, sent + PIECE))
                    if not data:
                        msg = "it became shorter while it was read"
                        raise SyncError(msg)
                    yield data
                    sent += len(data)
                    self._moved(len(data))

            try:
                self._store.write(key, item.size, pieces())
            except BaseException:
                self._moved(-sent)
                raise
            now = self._files.attrs(path)
            grew = (now.size or 0) > item.size  # the listed part was sent
            if not grew and (now.size, now.mtime) != (item.size, item.mtime):
                msg = "it changed while it was read"
                raise SyncError(msg)

        self._persist(attempt)

    def _persist(self, attempt: Callable[[], None]) -> None:
        """Retry what may have failed by a temporary error."""
        for pause in PAUSES:
            if self._worked(attempt):
                return
            self._stop.wait(pause)
        attempt()

    def _worked(self, attempt: Callable[[], None]) -> bool:
        try:
            attempt()
        except (GpunbError, FileNotFoundError, PermissionError):
            raise
        except Exception:
            if self._stop.is_set():
                raise
            return False
        return True

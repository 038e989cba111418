"""Thread pools for blocking calls: few threads, bounded queues, and daemons that can't delay exit."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from gpunb.server.failures import Busy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pool"]

T = TypeVar("T")


class Pool:
    """Runs calls in at most `size` daemon threads; refuses when `waiting` calls wait already.

    An executor of the standard library joins its threads when the interpreter ends: one that hangs
    in a dead host would hold the server for minutes.
    """

    def __init__(self, name: str, size: int, waiting: int = 200) -> None:
        self.name = name
        self.size = size
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(waiting)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._idle = 0
        self._closed = False

    def submit(self, work: Callable[[], object]) -> bool:
        """Queue `work`; False if too many calls wait. Exceptions are its own to handle."""
        with self._lock:
            if self._closed:
                return False
            try:
                self._queue.put_nowait(lambda: _quietly(work))
            except queue.Full:
                return False
            if self._idle < self._queue.qsize() and len(self._threads) < self.size:
                thread = threading.Thread(
                    target=self._serve, name=f"gpunb-{self.name}-{len(self._threads)}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
        return True

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Run ``work(*args)`` in a thread and wait for it without blocking the loop.

        Raises
        ------
        Busy
            Too many calls wait already.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            found: Any = None
            error: BaseException | None = None
            try:
                found = work(*args)
            except BaseException as err:  # noqa: BLE001 - passed to the caller who waits
                error = err
            _tell(loop, done, found, error)

        if not self.submit(call):
            msg = f"the server is too busy ({self.name})"
            raise Busy(msg, hint="try again in a moment")
        return await done

    def close(self) -> None:
        """Accept no more calls; idle threads end."""
        with self._lock:
            self._closed = True
            threads = len(self._threads)
        with contextlib.suppress(queue.Full):
            for _ in range(threads):
                self._queue.put_nowait(None)

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            work = self._queue.get()
            with self._lock:
                self._idle -= 1
            if work is None:
                return
            work()


def _quietly(work: Callable[[], object]) -> None:
    from gpunb import log

    try:
        work()
    except Exception:  # noqa: BLE001 - a thread of the pool goes on
        log.get(__name__).exception("work in the server failed")


def _tell(
    loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], found: Any, error: BaseException | None
) -> None:
    def tell() -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(found)
        elif isinstance(error, (KeyboardInterrupt, SystemExit, StopIteration)):
            done.set_exception(RuntimeError(f"{type(error).__name__} in a thread"))
        else:
            done.set_exception(error)

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:  # the loop is closed: no caller waits any more
        return

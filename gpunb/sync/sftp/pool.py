"""A pool of SFTP channels of one host, which any thread may run tasks on.

Each operation is a task of `gpunb.sync.sftp.protocol`; many run at once on one
channel, and large ranges are split over several, because a host takes only
2 MiB a round trip on each.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

from gpunb.sync.sftp.protocol import Fault, Pump, Task
from gpunb.sync.sftp.tasks import os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.ssh.connection import Connection

__all__ = ["CHANNELS", "PIECE", "ChannelPool", "Make"]

CHANNELS = 4
PIECE = 2**20  # minimum size of a range's pieces on several channels

Make: TypeAlias = "Callable[[Pump], Task]"
"""Makes a task for the channel that it will run on."""


class ChannelPool:
    """A pool of channels over one connection, opened as needed. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._free: list[Pump] = []
        self._made = 0
        self._changed = threading.Condition()

    def close(self) -> None:
        """Close the pool's channels; the connection stays open."""
        with self._changed:
            free, self._free = self._free, []
            self._made -= len(free)
        for pump in free:
            pump.close()

    def alive(self) -> bool:
        """Whether the connection is up, as far as is known."""
        return self.connection.alive()

    def one(self, make: Make) -> Any:
        """Run one task; raises its errors, SFTP's as `OSError`."""
        with self._lent() as pump:
            try:
                pump.one(make(pump))
            except Fault as fault:
                raise os_error(fault) from fault

    def all(self, makes: Sequence[Make], *, channels: int = CHANNELS) -> None:
        """Run tasks, many at once; the first failure ends the rest and is raised."""
        queue = iter(makes)
        lock = threading.Lock()
        problems: list[BaseException] = []

        def source_for(pump: Pump) -> Callable[[], Task | None]:
            def source() -> Task | None:
                with lock:
                    make = None if problems else next(queue, None)
                return None if make is None else guarded(make(pump))

            return source

        def guarded(task: Task) -> Task:
            try:
                yield from task
            except Fault as fault:
                problems.append(os_error(fault))
            except Exception as err:  # noqa: BLE001 - raised again below
                problems.append(err)

        def work() -> None:
            try:
                with self._lent() as pump:
                    pump.run(source_for(pump))
            except BaseException as err:  # noqa: BLE001 - raised again below
                problems.append(err)

        count = max(1, min(channels, len(makes)))
        threads = [threading.Thread(target=work, daemon=True) for _ in range(count - 1)]
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
        if problems:
            raise problems[0]

    @contextlib.contextmanager
    def _lent(self) -> Iterator[Pump]:
        pump = self._borrow()
        whole = False
        try:
            yield pump
            whole = True
        except OSError:
            whole = True  # an error answer; the channel is intact
            raise
        finally:
            with self._changed:
                if whole:
                    self._free.append(pump)
                else:  # late answers would confuse the next
                    pump.close()
                    self._made -= 1
                self._changed.notify()

    def _borrow(self) -> Pump:
        with self._changed:
            while not self._free and self._made >= CHANNELS:
                self._changed.wait()
            if self._free:
                return self._free.pop()
            self._made += 1
            first = self._made == 1
        try:
            return Pump(self.connection.subsystem("sftp", more=first))
        except BaseException:
            with self._changed:
                self._made -= 1
                others = self._made > 0
                self._changed.notify()
            if not others or not self.alive():
                raise
        with self._changed:  # the host allows no more channels (MaxSessions): wait for one of ours
            while not self._free:
                if not self._changed.wait(30.0) and not self.alive():
                    break
            if self._free:
                return self._free.pop()
        return self._borrow()

"""Identification and termination of an instance's processes.

Every process of an instance carries ``GPUNB_LOCAL_INSTANCE=<id>`` in its
environment, so that it is found again after its host process crashed, however
often it detached itself. While the host lives, it is also the reaper of its
orphans, and what cleared its environment is found as a descendant.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import psutil

__all__ = ["MARK", "belonging", "end", "token"]

MARK = "GPUNB_LOCAL_INSTANCE"

_LINUX = sys.platform.startswith("linux")
_ROUNDS = 20  # a program that forks faster than it can be ended is given up and reported


def token(pid: int) -> str | None:
    """Return a mark that differs from later processes with the same `pid`; None if it is not running.

    A zombie does not run. Made of the boot and the start time since boot
    (proc(5), field 22 of ``stat``), so a clock that is set does not change it.
    """
    if pid <= 0:
        return None
    if _LINUX:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in {"Z", "X"} else f"{boot}:{fields[19]}"
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def _mark_of(process: psutil.Process) -> str | None:
    import psutil

    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None  # ended meanwhile, or another user's


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def belonging(instance_id: str, *, host_pid: int = 0) -> list[psutil.Process]:
    """List the running processes of `instance_id`, except the caller's own.

    Descendants of `host_pid` count too, unless they are marked as another
    instance's: gpunb may be used inside of an instance.
    """
    import psutil

    processes: dict[int, psutil.Process] = {}
    if host_pid:
        try:
            parent = psutil.Process(host_pid)
            for process in [parent, *parent.children(recursive=True)]:
                if _mark_of(process) in {None, instance_id}:
                    processes[process.pid] = process
        except psutil.Error:
            pass
    for process in psutil.process_iter():
        if process.pid not in processes and _mark_of(process) == instance_id:
            processes[process.pid] = process
    processes.pop(os.getpid(), None)
    return [process for process in processes.values() if _runs(process)]


def _signal(processes: Iterable[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    import psutil

    for process in processes:
        try:
            act(process)
        except psutil.Error:
            continue  # ended meanwhile, or not ours to end: the caller checks again


def _wait(processes: list[psutil.Process], seconds: float) -> None:
    limit = time.monotonic() + seconds
    pause = 0.005
    while any(_runs(process) for process in processes) and time.monotonic() < limit:
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def end(instance_id: str, *, host_pid: int = 0, grace: float = 2.0) -> list[int]:
    """End every process of `instance_id`: SIGTERM, `grace` seconds, SIGKILL.

    Returns
    -------
    list of int
        The process ids that could not be ended; empty if all is clear.
    """
    first = belonging(instance_id, host_pid=host_pid)
    _signal(first, lambda process: process.terminate())
    _wait(first, grace)
    # a process found only as a descendant can't be found again once its host is gone: keep it
    left = [process for process in first if _runs(process)]
    clear = 0
    for _ in range(_ROUNDS):
        left = [*left, *belonging(instance_id)]
        if not left:
            # one scan misses what a process that ends meanwhile has started: the next one finds it
            clear += 1
            if clear > 1:
                return []
            continue
        clear = 0
        _signal(left, lambda process: process.kill())
        _wait(left, 1.0)
        left = [process for process in left if _runs(process)]
    return sorted({process.pid for process in left})

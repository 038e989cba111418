"""Processes of this host: liveness checks, and the end of a whole process tree."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LAST = 1.0  # seconds to look again after the first KILL


def start_time(pid: int) -> int | None:
    """Return a number that tells two processes of the same pid apart, or None if there is no process."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        pass
    else:
        return None if fields[0] == b"Z" else int(fields[19])
    if os.path.isdir("/proc/self"):
        return None
    try:  # no /proc (macOS): alive is all that can be said
        os.kill(pid, 0)
    except OSError:
        return None
    return 0


def alive(pid: int | None, started: int | None) -> bool:
    """Whether the process `pid` that started at `started` (see `start_time`) still runs."""
    return pid is not None and start_time(pid) == started


def _parents() -> dict[int, int]:
    result: dict[int, int] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return result
    for name in names:
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    result[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    return result


def _marked(mark: str) -> set[int]:
    """Find the processes whose environment has `mark` ("NAME=value")."""
    needle = mark.encode()
    result = set()
    for pid in _parents():
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                if needle in file.read().split(b"\0"):
                    result.add(pid)
        except OSError:
            continue
    return result


def tree(pid: int | None, mark: str | None = None) -> set[int]:
    """Return `pid`, all its descendants, and all processes with `mark` in their environment."""
    parents = _parents()
    found = {pid} if pid else set()
    grown = True
    while grown:
        more = {child for child, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    if mark:
        found |= _marked(mark)
    return found - {os.getpid(), 0, 1}


def send(pids: Iterable[int], signum: int) -> None:
    """Send `signum` to each of `pids` that still exists."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except OSError:
            continue


def end_tree(
    pid: int | None, mark: str | None = None, grace: float = 5.0, spare: Iterable[int | None] = ()
) -> None:
    """Terminate the whole tree, wait up to `grace` seconds, then kill the rest and what is new."""
    spared = set(spare)
    send(tree(pid, mark) - spared, signal.SIGTERM)
    until = time.monotonic() + grace
    while time.monotonic() < until + LAST:
        left = {one for one in tree(pid, mark) - spared if start_time(one) is not None}
        if not left:
            return
        if time.monotonic() >= until:
            send(left, signal.SIGKILL)
        time.sleep(0.05)
    send(tree(pid, mark) - spared, signal.SIGKILL)

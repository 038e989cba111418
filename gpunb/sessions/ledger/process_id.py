"""Process marks: ids by which other processes check whether the owner of a claim is alive."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["lives", "mark", "started"]


def mark() -> str:
    """A mark of this process, unique to the caller: ``host/pid/start/random``."""
    pid = os.getpid()
    return f"{_node()}/{pid}/{started(pid)}/{os.urandom(4).hex()}"


def _node() -> str:
    """The machine's name as `platform.node` gives it; that module costs three milliseconds."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    import platform

    return platform.node()


def lives(owner: str) -> bool | None:
    """Whether the process with the mark `owner` runs; None if it is on another machine.

    The start time tells a process from a later one with the same number.
    """
    try:
        host, pid_text, start, _ = owner.rsplit("/", 3)
        pid = int(pid_text)
    except ValueError:
        return None
    if host != _node():
        return None
    now = started(pid)
    return now != "" and start in {"", now}


def started(pid: int) -> str:
    """The process's start time, in ticks or seconds; "" if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    else:
        after = stat.rpartition(")")[2].split()
        return "" if after[0] in {"Z", "X"} else after[19]
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return ""

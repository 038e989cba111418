"""Monotonic time on the host, for durations and deadlines.

The wall clock of a fresh machine may be hours off until NTP sets it. It is for display only;
durations and deadlines are counted in seconds since the boot, including suspend.
"""

from __future__ import annotations

import time

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Seconds since the boot (Linux: including suspend; clock_gettime(2), CLOCK_BOOTTIME)."""
    if _BOOTTIME is not None:
        try:
            return time.clock_gettime(_BOOTTIME)
        except OSError:  # an old kernel, or a sandbox
            pass
    return time.monotonic()


def boot() -> str:
    """The id of the boot that `now` counts from; "" if the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def uptime() -> float | None:
    """The first number of ``/proc/uptime``, which a shell can read too; None if there is no such file."""
    try:
        with open("/proc/uptime") as file:
            return float(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None

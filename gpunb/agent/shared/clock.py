"""Time on the host that nobody steps: how long something took, and when something is due.

The wall clock of a fresh machine may be hours off until NTP steps it. It is for people's eyes;
durations and deadlines are counted in seconds since the boot, sleep included.
"""

from __future__ import annotations

import time

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Seconds since the boot (Linux: with the time asleep; clock_gettime(2), CLOCK_BOOTTIME)."""
    if _BOOTTIME is not None:
        try:
            return time.clock_gettime(_BOOTTIME)
        except OSError:  # an old kernel, or a sandbox
            pass
    return time.monotonic()


def boot() -> str:
    """Which boot that is counted from; "" where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def uptime() -> float | None:
    """The first number of ``/proc/uptime``, which a shell can read too; None where there is none."""
    try:
        with open("/proc/uptime") as file:
            return float(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None

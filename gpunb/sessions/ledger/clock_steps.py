"""Correction of the ledger's times for steps of this machine's wall clock.

Leases are wall-clock times, and a wall clock is set: by NTP after a start with a wrong one (dual boot
keeps local time in the hardware's clock), by a virtual machine that wakes up, by hand. A step back of
three hours made a lease of one hour last four; a step ahead ended all at once. Linux counts the seconds
since the start, sleep included (``CLOCK_BOOTTIME``, clock_gettime(2)), and never sets that count. The
ledger remembers how far the two were apart and in which boot; at each access the difference is compared,
and where it has changed, the times of all that lives are moved by as much. What is left of a lease
stays what it was.

Across a restart nothing can be measured. Time is then what the wall clock says, and never less than
none; since it may be set right a moment later, leases of before are given a short while (`HOLD_S`), and
a step soon after a restart (`FRESH_S`) is a correction that only concerns what began in between.
"""

from __future__ import annotations

import json
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpunb.sessions.model import Lease

if TYPE_CHECKING:
    import sqlite3

__all__ = ["HOLD_S", "Mark", "compare", "move", "read", "save", "steady"]

_MAC = sys.platform == "darwin"
STEP_S = 2.0  # less is drift, which adds up until it is as much
FRESH_S = 600.0
HOLD_S = 120.0

# table -> its times, and which rows are of sessions that live
_LIVE = "session_id IN (SELECT id FROM sessions WHERE state NOT IN ('gone', 'failed') AND created >= :since)"
_OWN = "state NOT IN ('gone', 'failed') AND created >= :since"
_TIMES = (
    ("events", ("at",), _LIVE),
    ("intents", ("sent", "resolved"), _LIVE),
    ("segments", ("start", '"end"'), _LIVE),
    ("runs", ("started", "ended"), _LIVE),
    ("transfers", ("started", "ended"), _LIVE),
    ("claims", ("until",), "1"),
    ("leader", ("since", "beat"), "1"),
    ("orphans", ("first_seen", "next_try"), "gone IS NULL"),
    # last: the others look at `created`
    ("sessions", ("state_at", "ready", "last_activity", "deadline", "next_try", "created"), _OWN),
)


class Mark(NamedTuple):
    """A reading of both clocks: the boot id, wall clock less steady clock, and each of the two.

    `fresh` if the boot differs from that of an earlier mark.
    """

    boot: str
    offset: float
    wall: float
    ticks: float
    fresh: bool = False


@cache
def _boot() -> str:
    """The machine's boot id; "" if none can be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        pass
    if not _MAC:
        return ""
    import ctypes

    text, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    call = ctypes.CDLL(None).sysctlbyname
    failed = call(b"kern.bootsessionuuid", text, ctypes.byref(size), None, ctypes.c_size_t(0))
    return "" if failed else text.value.decode("ascii", "replace")


def steady() -> tuple[str, float] | None:
    """The boot id and a monotonic clock in seconds that counts sleep; None if there is none."""
    # macOS's CLOCK_MONOTONIC goes on in sleep, Linux's does not
    which = getattr(time, "CLOCK_BOOTTIME", None) or (time.CLOCK_MONOTONIC if _MAC else None)
    boot = _boot()
    return (boot, time.clock_gettime(which)) if which is not None and boot else None


def compare(
    mark: Mark | None, boot: str, ticks: float, wall: float, seen: float
) -> tuple[Mark, float, float]:
    """Compute the new mark, the step in seconds to move times by, and since which wall time.

    Parameters
    ----------
    seen
        The latest wall time that the ledger knows of: none of what lives can be later.
    """
    offset = wall - ticks
    if mark is None:
        return Mark(boot, offset, wall, ticks), 0.0, 0.0
    if mark.boot != boot:
        back = min(0.0, wall - max(seen, mark.wall))
        return Mark(boot, offset, wall, ticks, fresh=True), back if back < -STEP_S else 0.0, 0.0
    step = offset - mark.offset
    if abs(step) < STEP_S:
        return mark, 0.0, 0.0
    corrected = mark.fresh and ticks - mark.ticks < FRESH_S
    since = mark.wall if corrected else 0.0
    return Mark(boot, offset, wall, ticks), step, since


def read(db: sqlite3.Connection) -> Mark | None:
    """Read the ledger's mark."""
    row = db.execute("SELECT value FROM meta WHERE key = 'clock'").fetchone()
    try:
        return Mark(**json.loads(row[0])) if row is not None else None
    except (ValueError, TypeError):
        return None


def save(db: sqlite3.Connection, mark: Mark) -> None:
    """Store the mark in the ledger."""
    db.execute("INSERT OR REPLACE INTO meta VALUES ('clock', ?)", (json.dumps(mark._asdict()),))


def latest(db: sqlite3.Connection) -> float:
    """The latest wall time of a ledger entry on a live session or the leader."""
    values: dict[str, Any] = {"since": 0.0}
    found = db.execute(f"SELECT max(at) FROM events WHERE {_LIVE}", values).fetchone()[0] or 0.0
    beat = db.execute("SELECT max(beat) FROM leader").fetchone()[0] or 0.0
    return max(float(found), float(beat))


def move(db: sqlite3.Connection, step: float, since: float) -> None:
    """Move the times of all live sessions created after `since` by `step` seconds."""
    values = {"step": step, "since": since}
    for row in db.execute(
        f"SELECT id, deadline, idle_s, count_ssh, armed FROM sessions WHERE {_OWN}", {"since": since}
    ).fetchall():
        old, idle = row["deadline"], row["idle_s"]
        ssh = bool(row["count_ssh"])
        mark = Lease(deadline=old, idle_s=idle, count_ssh=ssh).mark
        if isinstance(old, float) and row["armed"] == mark:
            # the host has this lease already, and counts by its own clock
            moved = Lease(deadline=old + step, idle_s=idle, count_ssh=ssh).mark
            db.execute("UPDATE sessions SET armed = ? WHERE id = ?", (moved, row["id"]))
    for table, columns, rows in _TIMES:
        # zero is "at once"
        marks = ", ".join(
            f"{column} = CASE WHEN {column} > 0 THEN {column} + :step ELSE {column} END" for column in columns
        )
        db.execute(f"UPDATE {table} SET {marks} WHERE {rows}", values)

"""The watchdog of the lease on the host: ends the work when the lease is over, without a connection.

The agent can stop the work on the host. It can't stop the bill, unless the host
has a key for that; the supervisor on the user's side does. The ledger's lease is
authoritative: the user's side sends it at each contact, as seconds from now, and
the agent only counts down in between.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from ..shared import clock, folders
from . import logins, telemetry

if TYPE_CHECKING:
    from .agent import Agent

TICK = 5.0
SWEEP = 600.0  # seconds between sweeps of old journals
SAVE = 60.0  # seconds between saves of the time left, for a reboot
FIRST = 600.0  # seconds for the user's side to send the lease, if only the wall clock is known
MOVED = 30.0  # seconds of change from which a deadline is new, and warned of again


class Watchdog:
    """Deadline and idle time of this host, in seconds since the boot (`clock`).

    `over` is empty while the lease holds, else the reason.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.path = os.path.join(folders.base(), "lease.json")
        self.over = ""
        self.active = clock.now()
        self.deadline: float | None = None
        self.idle: float | None = None
        self.grace = 0.0
        self.count_ssh = False
        self.sweep_at = self.save_at = 0.0
        self.warned: set[int] = set()
        known = folders.read_json(self.path)
        if isinstance(known, dict):
            self._load(known)

    def _load(self, known: dict[str, Any]) -> None:
        """Load the lease from disk: saved in this boot, in an earlier one, or by the first boot's script."""
        now = clock.now()
        self.idle, self.count_ssh = known.get("idle_s"), bool(known.get("count_ssh"))
        self.grace = float(known.get("grace_s") or 0.0)
        left = known.get("left_s")
        if "at" in known:  # saved by an agent
            passed = now - known["at"] if known.get("boot") == clock.boot() != "" else 0.0
            self.deadline = None if left is None else now + left - max(passed, 0.0)
        elif known.get("deadline") is not None:  # by the user's clock; this host's clock may be wrong
            self.deadline = now + max(float(known["deadline"]) - time.time(), FIRST)

    def _save(self) -> None:
        now, up = clock.now(), clock.uptime()
        left = None if self.deadline is None else self.deadline - now
        lease: dict[str, Any] = {"idle_s": self.idle, "grace_s": self.grace, "count_ssh": self.count_ssh}
        lease.update(left_s=left, at=now, boot=clock.boot())
        # for shell scripts, by both clocks
        lease["deadline"] = None if left is None else time.time() + left
        lease["uptime_end"] = None if left is None or up is None else up + left
        try:
            folders.write_json(self.path, lease)
        except OSError:  # a full disk: retried soon, and the lease holds all the same
            self.save_at = now + TICK
        else:
            self.save_at = now + SAVE

    def set(self, args: dict[str, Any]) -> None:
        """Set the lease that the user's side sends.

        Parameters
        ----------
        args
            ``left_s``: seconds from now to the deadline, or None for none (an older client sends
            ``deadline`` in Unix seconds, and its clock's time as ``now``). ``idle_s``: seconds or
            None, and ``grace_s`` more before the agent acts on it: the user's side is first.
            ``quiet_s``: seconds since the last activity known to the user's side; without it the
            idle time starts anew.
        """
        now = clock.now()
        if "left_s" in args or "deadline" in args:
            left = args.get("left_s")
            if "left_s" not in args and args["deadline"] is not None:
                left = float(args["deadline"]) - float(args.get("now") or time.time())
            deadline = None if left is None else now + float(left)
            if deadline is None or self.deadline is None or abs(deadline - self.deadline) > MOVED:
                self.warned.clear()
            self.deadline = deadline
        if "idle_s" in args:
            self.idle = None if args["idle_s"] is None else float(args["idle_s"])
            self.grace = float(args.get("grace_s") or 0.0)
        if "count_ssh" in args:
            self.count_ssh = bool(args["count_ssh"])
        self.active = max(self.active, now - max(float(args.get("quiet_s") or 0.0), 0.0))
        if self.over:
            self.over = self.due(now)
        self._save()

    def info(self) -> dict[str, Any]:
        """Return the lease, JSON-able; times are Unix seconds by this host's clock."""
        now, wall = clock.now(), time.time()
        left = None if self.deadline is None else self.deadline - now
        return {
            "left_s": left,
            "deadline": None if left is None else wall + left,
            "idle_s": self.idle,
            "count_ssh": self.count_ssh,
            "over": self.over,
            "active": wall - (now - self.active),
            "quiet_s": now - self.active,
            "busy": self.busy(),
            "logins": self.logins(),
            "net": telemetry.traffic(),
        }

    def logins(self) -> bool:
        """Whether a user is logged in at a terminal, if the lease counts that."""
        return self.count_ssh and logins.any_login()

    def busy(self) -> bool:
        """Whether a run executes or, if the lease counts logins, a user is logged in."""
        return self.agent.busy or self.logins()

    def touch(self) -> None:
        """Reset the idle time, as the user's side is active, also after it was over."""
        self.active = clock.now()
        if self.over:
            self.over = self.due(self.active)

    def due(self, now: float) -> str:
        """Return the reason to end at `now` (`clock.now`), or an empty string."""
        if self.deadline is not None and now >= self.deadline:
            return "its deadline has passed"
        if self.idle is not None and not self.busy() and now - self.active >= self.idle + self.grace:
            return "nothing ran for %g min" % (self.idle / 60)
        return ""

    async def watch(self) -> None:
        """Check the lease every few seconds, for ever."""
        while True:
            now = clock.now()
            if self.busy():
                self.active = now
            if now >= self.sweep_at:
                self.sweep_at = now + SWEEP
                self.agent.sweep()
            if now >= self.save_at and self.deadline is not None:
                self._save()
            if not self.over:
                self._warn(now)
                self.over = self.due(now)
                if self.over:
                    self.agent.tell({"t": "note", "k": "lease-over", "why": self.over, "ts": time.time()})
                    await self.agent.stop_work("the lease is over: " + self.over)
            await asyncio.sleep(TICK)

    def _warn(self, now: float) -> None:
        if self.deadline is None:
            return
        left = self.deadline - now
        for minutes in (10, 2):
            if left <= minutes * 60 and minutes not in self.warned:
                self.warned.add(minutes)
                head = {"t": "note", "k": "lease-warning", "left_s": max(0, left), "ts": time.time()}
                self.agent.tell(head)
                return

"""The lease on the host: ends the work when its time is over, with nobody's help.

The agent can stop what runs here. It can't stop the bill, except where the
host was given a key for that; the supervisor on the user's side does.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from . import logins, places, telemetry

if TYPE_CHECKING:
    from .daemon import Agent

TICK = 5.0
SWEEP = 600.0  # seconds between looks at old journals


class Watchdog:
    """Deadline and idle time of this host.

    `over` is empty while the lease holds, else the reason.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.path = os.path.join(places.base(), "lease.json")
        known = places.read_json(self.path)
        self.lease = known if isinstance(known, dict) else {}
        self.over = ""
        self.active = time.time()
        self.sweep_at = 0.0
        self.warned: set[tuple[float, int]] = set()

    def set(self, args: dict[str, Any]) -> None:
        """Set deadline (Unix seconds or None) and idle time (seconds or None); starts idle anew.

        The deadline is by the caller's clock; with the caller's ``now`` it is
        moved onto the host's, which may go wrong.
        """
        ahead = time.time() - float(args.get("now") or time.time())
        for name, shift in (("deadline", ahead), ("idle_s", 0.0)):
            if name in args:
                value = args[name]
                self.lease[name] = None if value is None else float(value) + shift
        if "count_ssh" in args:
            self.lease["count_ssh"] = bool(args["count_ssh"])
        places.write_json(self.path, self.lease)
        self.active = time.time()
        self.over = ""
        self.warned.clear()

    def info(self) -> dict[str, Any]:
        """The lease, JSON-able."""
        return dict(self.lease, over=self.over, active=self.active, busy=self.busy(), net=telemetry.traffic())

    def busy(self) -> bool:
        """Whether a run executes or, if the lease counts them, somebody is logged in."""
        return self.agent.busy or bool(self.lease.get("count_ssh") and logins.any_login())

    def touch(self) -> None:
        """Something was done: idle time starts anew."""
        self.active = time.time()

    def due(self, now: float) -> str:
        """The reason to end, or an empty string."""
        deadline, idle = self.lease.get("deadline"), self.lease.get("idle_s")
        if deadline is not None and now >= deadline:
            return "its deadline has passed"
        if idle is not None and not self.busy() and now - self.active >= idle:
            return "nothing ran for %g min" % (idle / 60)
        return ""

    async def watch(self) -> None:
        """Look every few seconds, for ever."""
        while True:
            now = time.time()
            if self.busy():
                self.active = now
            if now >= self.sweep_at:
                self.sweep_at = now + SWEEP
                self.agent.sweep()
            if not self.over:
                self._warn(now)
                self.over = self.due(now)
                if self.over:
                    self.agent.tell({"t": "note", "k": "lease-over", "why": self.over, "ts": now})
                    await self.agent.stop_work("the lease is over: " + self.over)
            await asyncio.sleep(TICK)

    def _warn(self, now: float) -> None:
        deadline = self.lease.get("deadline")
        for minutes in (10, 2):
            if (
                deadline is not None
                and deadline - now <= minutes * 60
                and (deadline, minutes) not in self.warned
            ):
                self.warned.add((deadline, minutes))
                self.agent.tell(
                    {"t": "note", "k": "lease-warning", "left_s": max(0, deadline - now), "ts": now}
                )
                return

"""The lease on the host: ends the work when its time is over, with nobody's help.

The agent can stop what runs here. It can't stop the bill, except where the
host was given a key for that; the supervisor on the user's side does.
"""

import asyncio
import os
import time

from . import places

TICK = 5.0


class Watchdog:
    """Deadline and idle time of this host.

    `over` is empty while the lease holds, else the reason.
    """

    def __init__(self, agent):
        self.agent = agent
        self.path = os.path.join(places.base(), "lease.json")
        known = places.read_json(self.path)
        self.lease = known if isinstance(known, dict) else {}
        self.over = ""
        self.active = time.time()
        self.warned = set()

    def set(self, args):
        """Set deadline (Unix seconds or None) and idle time (seconds or None); starts idle anew."""
        for name in ("deadline", "idle_s"):
            if name in args:
                value = args[name]
                self.lease[name] = None if value is None else float(value)
        places.write_json(self.path, self.lease)
        self.active = time.time()
        self.over = ""
        self.warned.clear()

    def info(self):
        """The lease, JSON-able."""
        return dict(self.lease, over=self.over, active=self.active, busy=self.agent.busy)

    def touch(self):
        """Something was done: idle time starts anew."""
        self.active = time.time()

    def due(self, now):
        """The reason to end, or an empty string."""
        deadline, idle = self.lease.get("deadline"), self.lease.get("idle_s")
        if deadline is not None and now >= deadline:
            return "its deadline has passed"
        if idle is not None and not self.agent.busy and now - self.active >= idle:
            return "nothing ran for %g min" % (idle / 60)
        return ""

    async def watch(self):
        """Look every few seconds, for ever."""
        while True:
            now = time.time()
            if self.agent.busy:
                self.active = now
            if not self.over:
                self._warn(now)
                self.over = self.due(now)
                if self.over:
                    self.agent.tell({"t": "note", "k": "lease-over", "why": self.over, "ts": now})
                    await self.agent.stop_work("the lease is over: " + self.over)
            await asyncio.sleep(TICK)

    def _warn(self, now):
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

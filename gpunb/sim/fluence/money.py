"""Simulated billing of Fluence: fixed clock hours, prepaid, with a reserve of three hours.

At the deployment three hours are taken from the balance, one of them charged
at once for the running clock hour. At each edge of the hour the next one is
charged from the reserve, which is then filled up to two hours again as far as
the balance goes. An instance without reserve is ended at the end of its paid
hour. What is left of the reserve comes back at the end; a FAILED deployment
is refunded whole.
"""

from __future__ import annotations

import math

from gpunb.sim.cloud import Cloud, Machine, Phase
from gpunb.sim.money import Account

__all__ = ["ClockHours"]

HOUR = 3600.0


class ClockHours(Cloud):
    """Mixin of the simulated Fluence for billing by clock hours."""

    def begin_hours(self, machine: Machine, now: float) -> None:
        """Charge the running hour and reserve two more."""
        price = machine.data["price"]
        machine.bill.charge("gpu", price, now)
        machine.bill.by_the_hour = price
        machine.account.held[machine.id] = 2 * price
        machine.data["paid_until"] = (math.floor(now / HOUR) + 1) * HOUR

    def settle(self) -> None:
        """Charge the hours that began since the last time, then change phases."""
        now = self.clock.now()
        machines = [found for found in self.machines.values() if found.bill.by_the_hour > 0]
        for machine in sorted(machines, key=lambda found: float(found.data["paid_until"])):
            while machine.bill.by_the_hour > 0 and machine.data["paid_until"] <= now:
                self._next_hour(machine, machine.data["paid_until"])
        super().settle()

    def check_funds(self, now: float) -> None:
        """Do nothing: an empty balance ends nothing while there is a reserve."""

    def _next_hour(self, machine: Machine, at: float) -> None:
        account, price = machine.account, machine.data["price"]
        if machine.phase is Phase.BOOTING and machine.ready_at <= at:
            self._settle_one(machine, at)
            if machine.bill.by_the_hour == 0:
                return
        reserve = account.held.get(machine.id, 0.0)
        if reserve < price - 1e-9:
            self.end(machine, at)
            return
        machine.bill.charge("gpu", price, at)
        reserve -= price
        account.held[machine.id] = reserve
        more = min(2 * price - reserve, max(0.0, account.balance(at)))
        account.held[machine.id] = reserve + more
        machine.data["paid_until"] = at + HOUR

    def broke(self, account: Account, at: float) -> None:  # noqa: ARG002 - the paid hour sets the end
        """End everything at the end of its paid hour, since the reserves are used up too."""
        for machine_id in list(account.held):
            account.deposit -= account.held.pop(machine_id)

    def on_phase(self, machine: Machine, old: Phase, new: Phase, at: float) -> None:  # noqa: ARG002
        """Return the reserve at an end; refund a failure in full."""
        if new in (Phase.ENDING, Phase.ENDED, Phase.FAILED):
            machine.bill.by_the_hour = 0.0
            machine.account.held.pop(machine.id, None)
        if new is Phase.FAILED:
            machine.bill.charge("refund", -machine.bill.total(at), at)

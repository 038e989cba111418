"""Reserved instances of the simulated Vast: deposit, discount, and refund at an early end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from gpunb.sim.cloud import Cloud, Machine, Phase
from gpunb.sim.vast.market import HOURS_A_MONTH

if TYPE_CHECKING:
    from gpunb.sim.cloud import Refusal

__all__ = ["ReservedRoutes"]

#: Months that a deposit covers, and the discount from there on (``prepay instance`` of Vast's client).
_DISCOUNTS = ((3.0, 0.3), (1.0, 0.2))


class ReservedRoutes(Cloud):
    """Routes ``prepay`` and ``balance``."""

    deny: Callable[..., Refusal]
    body: Callable[[Request], Any]
    machine: Callable[[Request, str, str], Machine]

    async def prepay(self, request: Request, instance_id: str) -> Response:
        """Take a deposit; the discount is computed anew each time from the whole deposit."""
        machine = self.machine(request, instance_id, "instance_write")
        amount, now = (await self.body(request)).get("amount"), self.clock.now()
        if not isinstance(amount, (int, float)) or not 0 < amount <= machine.account.balance(now):
            raise self.deny(400, "amount must be above 0 and at most your credit")
        data = machine.data
        left = self.deposit_left(machine, now) + amount
        price = data["gpu_usd_h"]
        rate = 0.0
        for least, share in _DISCOUNTS:
            given = min(share, data["offer"]["credit_discount_max"])
            if left >= least * HOURS_A_MONTH * price * (1 - given) - 0.01:
                rate = given
                break
        months = left / (HOURS_A_MONTH * price * (1 - rate))
        self._settle_discount(machine, now)
        data.update(deposit=left, deposit_from=self._gpu_spent(machine, now), discount=rate)
        machine.account.held[machine.id] = left
        if machine.phase is Phase.RUNNING:
            machine.bill.open("gpu", price * (1 - rate), now)
        return JSONResponse({"success": True, "timescale": round(months, 3), "discount_rate": rate})

    async def deposit(self, request: Request, instance_id: str) -> Response:
        """Return what is left of the deposit."""
        machine = self.machine(request, instance_id, "instance_read")
        left = self.deposit_left(machine, self.clock.now())
        return JSONResponse({"instance_id": int(machine.id), "balance": round(left, 6)})

    @staticmethod
    def _gpu_spent(machine: Machine, now: float) -> float:
        return machine.bill.by_kind(now).get("gpu", 0.0)

    def deposit_left(self, machine: Machine, now: float) -> float:
        """Return the part of the deposit that the GPU has not used up."""
        used = self._gpu_spent(machine, now) - machine.data.get("deposit_from", 0.0)
        return float(max(0.0, machine.data.get("deposit", 0.0) - used))

    def _settle_discount(self, machine: Machine, now: float) -> None:
        """Add up what the discount has saved so far."""
        rate, data = machine.data.get("discount", 0.0), machine.data
        used = self._gpu_spent(machine, now) - data.get("deposit_from", 0.0)
        data["saved"] = data.get("saved", 0.0) + used / (1 - rate) * rate

    def settle_reservation(self, machine: Machine, now: float) -> None:
        """Update the reserved part of the credit; a deposit that is used up ends the discount."""
        data = machine.data
        if "deposit" not in data or machine.id not in machine.account.held:
            return
        left = self.deposit_left(machine, now)
        machine.account.held[machine.id] = left
        if left <= 0 and data.get("discount"):
            self._settle_discount(machine, now)
            data.update(deposit=0.0, deposit_from=self._gpu_spent(machine, now), discount=0.0)
            if machine.phase is Phase.RUNNING:
                machine.bill.open("gpu", data["gpu_usd_h"], now)

    def refund(self, machine: Machine, at: float) -> None:
        """Return the rest of the deposit, less the discount received (Vast's page on reserved ones)."""
        if machine.account.held.pop(machine.id, None) is None:
            return
        left = self.deposit_left(machine, at)
        self._settle_discount(machine, at)
        back = min(left, machine.data["saved"])
        if back > 0:
            machine.bill.charge("gpu", back, at)

"""Control routes of the simulation under ``/_sim/``: true state and fault injection.

No cloud has these; they take no key, and the app listens on loopback only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from fastapi import FastAPI

    from gpunb.sim.cloud import Cloud, Machine

__all__ = ["control_routes"]


class FaultIn(BaseModel):
    """Request body: a fault to add, or with `now` to inject at once."""

    model_config = ConfigDict(extra="allow")

    kind: str
    endpoint: str = "*"
    times: int | None = 1
    after: int = 0
    chance: float = 1.0
    now: bool = False
    instance: str | None = None
    params: dict[str, Any] = {}


class ClockIn(BaseModel):
    """Request body: a jump of the clock and a new speed."""

    advance: float = 0.0
    speed: float | None = None


class DepositIn(BaseModel):
    """Request body: dollars to deposit."""

    usd: float


def machine_row(machine: Machine, now: float) -> dict[str, Any]:
    """Return the true state of one instance."""
    return {
        "id": machine.id,
        "label": machine.label,
        "phase": machine.phase.value,
        "created": machine.created,
        "ssh": list(machine.address),
        "troubles": sorted(machine.troubles),
        "billed": machine.bill.billed(),
        "usd_h": machine.bill.usd_h(),
        "usd": machine.bill.total(now),
        "usd_by_kind": machine.bill.by_kind(now),
    }


def control_routes(app: FastAPI, cloud: Cloud) -> None:
    """Add the routes ``/_sim/…`` to `app`."""

    async def state() -> Response:
        now = cloud.clock.now()
        return JSONResponse(
            {
                "cloud": cloud.name,
                "now": now,
                "speed": cloud.clock.speed,
                "accounts": [
                    {"user": found.user, "balance": found.balance(now), "spent": found.spent(now)}
                    for found in cloud.accounts.values()
                ],
                "machines": [machine_row(machine, now) for machine in cloud.machines.values()],
                "bills": {
                    bill.instance_id: bill.by_kind(now)
                    for account in cloud.accounts.values()
                    for bill in account.bills.values()
                },
                "faults": cloud.faults.waiting(),
                "fired": [[fired.kind, fired.endpoint, fired.at] for fired in cloud.faults.fired],
                "calls": len(cloud.calls),
            }
        )

    async def add_fault(fault: FaultIn) -> Response:
        params = {**fault.params, **(fault.model_extra or {})}
        try:
            if fault.now:
                return JSONResponse({"hit": cloud.afflict(fault.kind, fault.instance, **params)})
            cloud.faults.add(
                fault.kind,
                fault.endpoint,
                times=fault.times,
                after=fault.after,
                chance=fault.chance,
                params=params,
            )
        except ValueError as err:
            return JSONResponse({"error": str(err)}, 400)
        return JSONResponse({"waiting": cloud.faults.waiting()})

    async def clear_faults() -> Response:
        cloud.faults.clear()
        return JSONResponse({"waiting": []})

    async def move_clock(body: ClockIn) -> Response:
        try:
            if body.speed is not None:
                cloud.clock.set_speed(body.speed)
            cloud.clock.advance(body.advance)
        except ValueError as err:
            return JSONResponse({"error": str(err)}, 400)
        return JSONResponse({"now": cloud.clock.now(), "speed": cloud.clock.speed})

    async def deposit(body: DepositIn) -> Response:
        for account in cloud.accounts.values():
            account.deposit += body.usd
        return JSONResponse(
            {"balance": [found.balance(cloud.clock.now()) for found in cloud.accounts.values()]}
        )

    async def calls() -> Response:
        return JSONResponse([[c.method, c.path, c.endpoint, c.at, c.status] for c in cloud.calls])

    for path, method, handler in (
        ("/_sim/state", "GET", state),
        ("/_sim/faults", "POST", add_fault),
        ("/_sim/faults", "DELETE", clear_faults),
        ("/_sim/clock", "POST", move_clock),
        ("/_sim/deposit", "POST", deposit),
        ("/_sim/calls", "GET", calls),
    ):
        app.add_api_route(
            path, handler, methods=[method], name=f"sim:{handler.__name__}", response_model=None
        )

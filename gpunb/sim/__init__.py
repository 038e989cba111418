"""Simulated clouds: their APIs, delays, bills and failures.

Extra ``gpunb[sim]``. One FastAPI app a cloud, real SSH hosts behind them (or
none, for schedules that run in process on a virtual clock), faults on demand.
Nothing of gpunb imports this package; it is reached by its verb and by tests.

`clock` is the clock of all, `money` keeps accounts and bills, `faults` injects
failures, `catalog` makes offers, `hosts` runs machines behind instances, `cloud`
is the base class of the simulated clouds, `serving` runs their apps, on loopback
ports or in this process.
"""

from __future__ import annotations

from gpunb.sim.clock import Clock
from gpunb.sim.cloud import Cloud, Machine, Phase, Refusal
from gpunb.sim.faults import Fault, Faults
from gpunb.sim.hosts.machines import HostSpec, PaperHosts
from gpunb.sim.money import Account, Bill
from gpunb.sim.serving.ratelimit import RateLimiter
from gpunb.sim.serving.transport import InProcessTransport

__all__ = [
    "Account",
    "Bill",
    "Clock",
    "Cloud",
    "Fault",
    "Faults",
    "HostSpec",
    "InProcessTransport",
    "Machine",
    "PaperHosts",
    "Phase",
    "RateLimiter",
    "Refusal",
]

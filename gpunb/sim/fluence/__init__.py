"""Simulated Fluence: plans, containers, machines, and clock-hour bills.

`cloud` is the API; `money` and `plans` are behind it.
"""

from gpunb.sim.fluence.cloud import FluenceCloud

__all__ = ["FluenceCloud"]

"""Fluence simulated: plans, containers, machines, and clock-hour bills."""

from gpunb.sim.fluence.cloud import FluenceCloud

__all__ = ["FluenceCloud"]

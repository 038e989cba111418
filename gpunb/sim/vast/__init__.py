"""Simulated Vast.ai: the market, instances, volumes, templates and copies.

`cloud` is the API; the other modules are its parts.
"""

from __future__ import annotations

from gpunb.sim.vast.cloud import VastCloud

__all__ = ["VastCloud"]

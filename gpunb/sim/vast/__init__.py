"""Vast.ai simulated."""

from __future__ import annotations

from gpunb.sim.vast.cloud import VastCloud

__all__ = ["VastCloud"]

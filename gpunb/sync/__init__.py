"""move: the plan of what goes, and the engines that follow it."""

from __future__ import annotations

from gpunb.sync.planning.plan import Item, LeftOut, Plan
from gpunb.sync.report import SyncReport
from gpunb.sync.transfer import sync

__all__ = ["Item", "LeftOut", "Plan", "SyncReport", "sync"]

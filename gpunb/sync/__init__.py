"""File sync between this machine, hosts and object stores: the plan, and the engines that carry it out.

`transfer` is the entry point.
"""

from __future__ import annotations

from gpunb.sync.planning.plan import Item, LeftOut, Plan
from gpunb.sync.report import SyncReport
from gpunb.sync.transfer import sync

__all__ = ["Item", "LeftOut", "Plan", "SyncReport", "sync"]

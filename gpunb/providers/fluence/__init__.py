"""Fluence's GPU cloud: containers, virtual machines and bare metal.

`provider` is the provider, `api` calls Fluence and reads its errors, `plans` makes offers, `mapping`
writes and reads instances, `validation` checks Fluence's rules, `hostkey` gives a container a host key
of ours, `pending_cancellations` records what could not be ended yet, `clock_hours` counts billed hours.
"""

from __future__ import annotations

from gpunb.providers.fluence.clock_hours import billed_hours, next_edge
from gpunb.providers.fluence.provider import FluenceProvider

__all__ = ["FluenceProvider", "billed_hours", "next_edge"]

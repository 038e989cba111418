"""Fluence's GPU cloud: containers, virtual machines and bare metal.

``api`` speaks to it and reads its errors, ``plans`` makes offers, ``rules``
checks what Fluence would refuse, ``bodies`` writes and reads instances,
``hostkey`` gives a container a host key of ours, ``cancelled`` remembers what
could not be ended yet, ``hours`` counts its clock hours, ``provider`` is the
provider.
"""

from __future__ import annotations

from gpunb.providers.fluence.clock_hours import billed_hours, next_edge
from gpunb.providers.fluence.provider import FluenceProvider

__all__ = ["FluenceProvider", "billed_hours", "next_edge"]

"""Simulated Sesterce: offers by region, instances, SSH keys, volumes.

`cloud` is the API of offers and instances; `kept` has the account's keys and volumes, `bodies` what is sent.
"""

from gpunb.sim.sesterce.cloud import SesterceCloud

__all__ = ["SesterceCloud"]

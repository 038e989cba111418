"""Sesterce's GPU cloud: virtual machines, containers and bare metal of several clouds.

`provider` is the provider, `api` reads Sesterce's errors, `rows` are its records, `mapping` makes offers,
instances and volumes of them, `create` writes the body of a create.
"""

from __future__ import annotations

from gpunb.providers.sesterce.provider import SesterceProvider

__all__ = ["SesterceProvider"]

"""The provider ``local``: every instance is a process on this machine with an SSH server of its own.

`LocalProvider` is the provider; `launch` and `terminate` are its engine, which
the simulated clouds use for the hosts behind their instances.
"""

from __future__ import annotations

from gpunb.providers.local.launcher import Host, launch, running, terminate
from gpunb.providers.local.provider import LocalProvider

__all__ = ["Host", "LocalProvider", "launch", "running", "terminate"]

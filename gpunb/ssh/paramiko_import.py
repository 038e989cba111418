"""The import of paramiko, without what only its reader of ssh_config needs.

It imports `invoke` for ``Match exec`` alone, which we never read; asyncio, unittest and YAML come with that,
a third of the time in which a command reaches its host.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = ["paramiko"]


class _Later(ModuleType):
    """Stands for a module in the importer's eyes, and imports it when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if "invoke" in sys.modules or "paramiko" in sys.modules:
    import paramiko
else:
    sys.modules["invoke"] = _Later("invoke")
    try:
        import paramiko
    finally:
        del sys.modules["invoke"]

"""The client of the agent: bootstrap, connection, runs and variables.

It takes an SSH endpoint and knows no session and no provider.
"""

from __future__ import annotations

import importlib
from typing import Any

from gpunb.remote.client import AgentClient, new_run_id
from gpunb.remote.records import HostInfo, Record, RunInfo
from gpunb.remote.run import RunHandle
from gpunb.remote.variables import PutReport, get, put

__all__ = [
    "AgentClient",
    "HostInfo",
    "PutReport",
    "Record",
    "RunHandle",
    "RunInfo",
    "get",
    "new_run_id",
    "put",
]


def __getattr__(name: str) -> Any:
    """Deprecated access to sinks and `show`, which are in `gpunb.output` now; kept for one version."""
    if name in {"NotebookSink", "Sink", "TextSink", "show"}:
        return getattr(importlib.import_module("gpunb.output"), name)
    raise AttributeError(name)

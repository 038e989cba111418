"""The Jupyter server extension: a REST API under ``/gpunb/api/v1/``, events, and the supervisor.

``openapi.yaml`` specifies the API, ``docs/server.md`` explains it. `hub` holds the state that all
handlers share, `event_bus` sends the events, `ledger_watcher` polls the ledger once for all clients.
"""

from __future__ import annotations

__all__ = ["API", "PREFIX"]

API = 1
PREFIX = "/gpunb/api/v1"

"""The Jupyter server extension: a REST API under ``/gpunb/api/v1/``, events, and the supervisor.

``openapi.yaml`` says what is answered, ``docs/server.md`` explains it. `hub` is what all handlers
share, `event_bus` sends the events, `ledger_watcher` reads the ledger once for all of them.
"""

from __future__ import annotations

__all__ = ["API", "PREFIX"]

API = 1
PREFIX = "/gpunb/api/v1"

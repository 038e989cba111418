"""touch: the Jupyter server extension. REST under ``/gpunb/api/v1/``, events, and the supervisor's host.

``openapi.yaml`` says what is answered; ``docs/server.md`` tells the story. Handlers hold no logic:
they check a body, hand the work to a pool of threads and write what comes of it. ``hub`` is what
they share, ``feed`` the events, ``watch`` the one look at the ledger for all of them.
"""

from __future__ import annotations

__all__ = ["API", "PREFIX"]

API = 1
PREFIX = "/gpunb/api/v1"

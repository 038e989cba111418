"""Functions that run on a session's host: what of them travels, and their calls.

`source` finds what a function uses and writes it down; `calls` sends it and runs it there.
"""

from __future__ import annotations

from gpunb.services.functions.calls import Call, Terms
from gpunb.services.functions.source import gather

__all__ = ["Call", "Terms", "gather"]

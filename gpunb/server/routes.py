"""The list of all routes; a test compares it with ``openapi.yaml``."""

from __future__ import annotations

from typing import Any

from gpunb.server import PREFIX
from gpunb.server.handlers import events, files, host, money, renting, runs, sessions, setup
from gpunb.server.handlers.base import Missing

__all__ = ["routes"]


def routes() -> list[tuple[str, type[Any]]]:
    """List (pattern below the server's base URL, handler)."""
    modules: tuple[Any, ...] = (setup, sessions, renting, runs, files, host, money, events)
    found = [(PREFIX + pattern, handler) for module in modules for pattern, handler in module.ROUTES]
    return [*found, (PREFIX + r"(?:/.*)?", Missing)]

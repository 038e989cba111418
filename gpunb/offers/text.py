"""Cleaning of foreign text for a table's cell: see `gpunb.text.one_line`."""

from __future__ import annotations

from gpunb.text import one_line as clean

__all__ = ["clean"]

"""Text that a stranger wrote, made fit for a cell of a table: see `gpunb.text.one_line`."""

from __future__ import annotations

from gpunb.text import one_line as clean

__all__ = ["clean"]

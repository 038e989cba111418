"""What people touch in a notebook: ``%gpu`` and ``%%gpu``."""

from __future__ import annotations

from gpunb.notebook.magics import register, unregister

__all__ = ["register", "unregister"]

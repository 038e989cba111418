"""The verbs, one module each: the single grammar of ``gpunb …`` and ``%gpu …``."""

from __future__ import annotations

from gpunb.commands.cli import VERBS, invoke, main
from gpunb.commands.context import Context, Door
from gpunb.commands.result import Result

__all__ = ["VERBS", "Context", "Door", "Result", "invoke", "main"]

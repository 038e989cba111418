"""Exceptions of foreign code (a cloud's client, a host, a plug-in), and how they are shown."""

from __future__ import annotations

from gpunb.errors import GpunbError

__all__ = ["ANY", "words"]

#: Every error that says nothing about this process as a whole. A plug-in may call ``sys.exit``, too.
ANY: tuple[type[BaseException], ...] = (Exception, SystemExit)


def words(err: BaseException) -> str:
    """Format `err` in one line: gpunb's own message, or class and message."""
    if isinstance(err, GpunbError):
        return err.message
    try:
        text = " ".join(str(err).split())[:500]
    except ANY:  # its own __str__ is broken, too
        text = "it can't be shown"
    return f"{type(err).__name__}: {text}" if text else type(err).__name__

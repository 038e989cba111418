"""Text that a stranger wrote, made fit for a cell of a table: bounded, printable, on one line."""

from __future__ import annotations

from gpunb.providers.text import clean as _line

__all__ = ["clean"]


def clean(text: str, limit: int) -> str:
    """`text` on one printable line of at most `limit` characters, ending in "…" if it was cut.

    Terminal escapes, control and format characters and odd spaces go; HTML
    stays as it is, for whoever shows it to escape. A megabyte costs no more
    than a line, and a second pass changes nothing.
    """
    shown = _line(text, limit)
    if shown.isprintable() and "  " not in shown and shown == shown.strip():
        return shown
    return " ".join("".join(mark if mark.isprintable() else " " for mark in shown).split())

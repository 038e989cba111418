"""Regular expressions that are compiled at their first use, not at import.

A pattern with a large class takes milliseconds to compile, and most verbs never use most patterns.
For modules that every start-up imports; elsewhere `re.compile` is right.
"""

from __future__ import annotations

import re
from typing import Any, cast

__all__ = ["later"]


class _Later:
    """Stands for a compiled pattern; each method is looked up once, and is then the pattern's own."""

    def __init__(self, source: str, flags: int) -> None:
        self._source = source
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(self._source, self._flags), name)
        setattr(self, name, found)
        return found


def later(source: str, flags: int = 0) -> re.Pattern[str]:
    """Return a stand-in for ``re.compile(source, flags)`` that compiles it when it is used."""
    return cast("re.Pattern[str]", _Later(source, flags))

"""Recognition of missing modules and classes in Python's error messages."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Lacks"]

_NO_MODULE = re.compile(r"No module named '([\w.]+)'")
_NO_CLASS = re.compile(r"Can't get attribute '([\w.]+)' on <module '__main__'")


class Lacks(NamedTuple):
    """What a Python lacks: a module, or a class of a notebook cell that has not run there."""

    module: str = ""
    cell_class: str = ""

    @classmethod
    def of(cls, said: str) -> Lacks | None:
        """Parse what Python's error `said` is missing; None if it is another error."""
        if found := _NO_CLASS.search(said):
            return cls(cell_class=found[1])
        if found := _NO_MODULE.search(said):
            return cls(module=found[1].partition(".")[0])
        return None

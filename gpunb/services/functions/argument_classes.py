"""The classes of a function's own file that its arguments are made of."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
from typing import Any

__all__ = ["argument_classes"]


def argument_classes(module: str, arguments: Any) -> list[type]:
    """Find the classes at the top level of `module` that a pickle of `arguments` names, at any depth.

    What can't be pickled is found as far as the pickler comes: sending it says why it can't go.
    """
    own = {
        value
        for name, value in vars(sys.modules.get(module, object)).items()
        if isinstance(value, type) and value.__module__ == module and value.__qualname__ == name
    }
    if not own or arguments is None:
        return []
    finder = _Finder(own)
    with contextlib.suppress(Exception):  # whatever a class's own __reduce__ raises
        finder.dump(arguments)
    return sorted(finder.found, key=lambda one: one.__name__)


class _Finder(pickle.Pickler):
    """A pickler that keeps nothing but which classes it meets; large buffers are not copied."""

    def __init__(self, own: set[type]) -> None:
        super().__init__(_Nowhere(), protocol=5, buffer_callback=lambda _: None)
        self.own, self.found = own, set[type]()

    def reducer_override(self, value: Any) -> Any:
        """Note the class, and leave the rest to pickle."""
        self.found.update({value if isinstance(value, type) else type(value)} & self.own)
        return NotImplemented


class _Nowhere(io.RawIOBase):
    def write(self, data: Any) -> int:
        return len(data)

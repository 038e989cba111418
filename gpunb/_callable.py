"""``gpunb.sessions()`` and ``gpunb.offers()``: calls that share their names with packages.

The import system binds a package to its name in `gpunb` when the first module of it is imported, in whatever
order that happens; so it is the package that can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = ["install"]

CALLED = frozenset({"offers", "sessions"})


class _Callable(ModuleType):
    """A package that is also the function of its name in `gpunb.python_api`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from gpunb import python_api

        return getattr(python_api, self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Package(ModuleType):
    """`gpunb` itself: makes those packages callable when they are bound."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in CALLED and type(value) is ModuleType:
            value.__class__ = _Callable
        super().__setattr__(name, value)


def install() -> None:
    """Make the packages callable, those that are imported from now on and those that are there."""
    package = sys.modules["gpunb"]
    package.__class__ = _Package
    for name in CALLED & set(vars(package)):
        setattr(package, name, vars(package)[name])

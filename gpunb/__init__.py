"""A rented GPU that feels like part of the notebook.

This module holds entry points only, so that ``%load_ext gpunb`` and ``gpunb ps`` stay
quick; everything else is in the packages below. `rent`, `sessions`, `offers` and what they give back are
`gpunb.python_api`, imported at their first use.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gpunb import _moved

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gpunb.notebook.widgets.panel import SessionPanel
    from gpunb.notebook.widgets.picker import OfferPicker
    from gpunb.python_api import (
        CellResult,
        Completed,
        Forward,
        Function,
        Job,
        Offer,
        Offers,
        RentedFunction,
        Session,
        Sessions,
        function,
        offers,
        offers_async,
        rent,
        rent_async,
        session,
        sessions,
    )

__all__ = [
    "CellResult",
    "Completed",
    "Forward",
    "Function",
    "Job",
    "Offer",
    "Offers",
    "RentedFunction",
    "Session",
    "Sessions",
    "__version__",
    "function",
    "load_ipython_extension",
    "offers",
    "offers_async",
    "panel",
    "pick",
    "rent",
    "rent_async",
    "session",
    "sessions",
    "unload_ipython_extension",
]

__version__ = "0.1.0"

# packages that are calls, too: gpunb.sessions(). The import system binds a package to its name here when the
# first module of it is imported, in whatever order that happens; so it is the package that can be called.
_CALLED = frozenset({"offers", "sessions"})


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from gpunb import python_api

        return getattr(python_api, self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLED and type(value) is ModuleType:
            value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
_moved.install()


def __getattr__(name: str) -> Any:
    """Import the Python API at its first use."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    if name in _CALLED:
        return import_module(f"gpunb.{name}")
    return getattr(import_module("gpunb.python_api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register ``%gpu`` and ``%%gpu`` (``%load_ext gpunb``)."""
    from gpunb.notebook.magics import register

    register(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Close this kernel's connections; sessions go on (``%unload_ext gpunb``)."""
    from gpunb.notebook.magics import unregister

    unregister(shell)


def pick(query: str = "", **wanted: Any) -> OfferPicker:
    """Show offers to choose from; ``s = gpunb.pick()``, then ``s.session`` or ``s.wait()``.

    See `gpunb.notebook.widgets.pick` for the options.
    """
    from gpunb.notebook import widgets

    return widgets.pick(query, **wanted)


def panel(*names: str) -> SessionPanel:
    """Show the live sessions, or those called `names`, with their leases, load, runs and buttons."""
    from gpunb.notebook import widgets

    return widgets.panel(*names)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Entry point of Jupyter's server extension: panels' REST and events, and the supervisor."""
    from gpunb.server.app import GpunbApp

    return [{"module": "gpunb.server.app", "app": GpunbApp}]

"""A rented GPU that feels like part of the notebook.

This module holds entry points only, so that ``%load_ext gpunb`` and ``gpunb ps`` stay
quick; everything else is in the packages below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb import _moved

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gpunb.notebook.widgets.panel import SessionPanel
    from gpunb.notebook.widgets.picker import OfferPicker

__all__ = ["__version__", "load_ipython_extension", "panel", "pick", "unload_ipython_extension"]

__version__ = "0.1.0"

_moved.install()


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

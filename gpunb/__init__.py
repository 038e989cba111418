"""A rented GPU that feels like part of the notebook.

Entry points only, so that ``%load_ext gpunb`` and ``gpunb ps`` stay quick;
everything else is in the packages below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["__version__", "load_ipython_extension", "unload_ipython_extension"]

__version__ = "0.1.0"


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register ``%gpu`` and ``%%gpu`` (``%load_ext gpunb``)."""
    from gpunb.notebook.magics import register

    register(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Close this kernel's connections; sessions go on (``%unload_ext gpunb``)."""
    from gpunb.notebook.magics import unregister

    unregister(shell)

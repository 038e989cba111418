"""The notebook's frontend: the magics ``%gpu`` and ``%%gpu``, and ``%gpu on`` for whole notebooks.

`magics` is loaded with the extension and imports the other modules at the first use.
"""

from __future__ import annotations

from gpunb.notebook.magics import register, unregister

__all__ = ["register", "unregister"]

"""Vast.ai as a provider of gpunb.

``provider`` rents and keeps, ``controls`` does with an instance what only
Vast can, ``account`` and ``volumes`` are what their names say; ``search``,
``offers``, ``create`` and ``instances`` turn gpunb's words into Vast's and
back, ``onstart`` writes the script that arms the host, ``api`` knows rates
and refusals.
"""

from __future__ import annotations

from gpunb.providers.vast.provider import VastProvider

__all__ = ["VastProvider"]

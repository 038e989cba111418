"""The provider Vast.ai.

`provider` rents and ends, `controls` does what only Vast can, `account` and `volumes` are what their
names say; `search`, `offers`, `create` and `instances` translate gpunb's models to Vast's and back,
`onstart` writes the script that arms the host, `api` knows rates and refusals.
"""

from __future__ import annotations

from gpunb.providers.vast.provider import VastProvider

__all__ = ["VastProvider"]

"""The provider Vast.ai.

`provider` rents and ends, `controls` has the calls that only Vast has, `account` and `volumes` those for
accounts and volumes; `search`, `offers`, `create` and `instances` convert gpunb's models to Vast's and
back, `onstart` builds the start script with the lease, `api` has rate limits and errors.
"""

from __future__ import annotations

from gpunb.providers.vast.provider import VastProvider

__all__ = ["VastProvider"]

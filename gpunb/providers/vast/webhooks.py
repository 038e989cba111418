"""Vast's signed calls about an account's events: proof that a call is Vast's, and recent.

From Vast's page "Notification Webhooks" (docs.vast.ai/guides/reference/notification-webhooks): a POST whose
``X-Vast-Signature-256`` is ``sha256=`` and the HMAC-SHA256, in hex, of ``X-Vast-Timestamp``, a dot and the
body's bytes, with the secret that Vast shows when the webhook is made. Calls come at least once; those that
are answered with 408, 429 or 5xx, or not within ten seconds, are repeated.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from gpunb.providers.features import SignedCalls

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VastWebhooks"]

_SIGNATURE = "X-Vast-Signature-256"
_TIMESTAMP = "X-Vast-Timestamp"
_WINDOW_S = 300.0  # an older call, or one of the future, is not taken
_PREFIX = "sha256="
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


class VastWebhooks(SignedCalls):
    """The signatures of Vast's webhooks."""

    @classmethod
    def call_headers(cls, secret: str, body: bytes, at: float) -> dict[str, str]:
        """Return the headers that sign `body` at `at` (Unix time, in seconds)."""
        stamp = f"{at:.0f}"
        return {_TIMESTAMP: stamp, _SIGNATURE: _signature(secret, stamp, body)}

    @classmethod
    def call_mark(
        cls, secret: str, body: bytes, headers: Mapping[str, str], *, now: float
    ) -> tuple[str, float] | None:
        """Return the signature and until when it is taken; None if it is wrong, or not of these minutes."""
        stamp, given = headers.get(_TIMESTAMP.lower(), ""), headers.get(_SIGNATURE.lower(), "")
        if _SECONDS.fullmatch(stamp) is None or abs(now - int(stamp)) > _WINDOW_S:
            return None
        signature = _signature(secret, stamp, body)
        if not hmac.compare_digest(signature.encode(), given.encode("utf-8", "surrogateescape")):
            return None
        return signature, int(stamp) + _WINDOW_S


def _signature(secret: str, stamp: str, body: bytes) -> str:
    return _PREFIX + hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()

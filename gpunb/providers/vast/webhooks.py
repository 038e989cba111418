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

__all__ = ["SIGNATURE", "TIMESTAMP", "WINDOW_S", "headers", "is_signed"]

SIGNATURE = "X-Vast-Signature-256"
TIMESTAMP = "X-Vast-Timestamp"
WINDOW_S = 300.0  # an older call, or one of the future, is not taken
_PREFIX = "sha256="
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


def headers(secret: str, body: bytes, at: float) -> dict[str, str]:
    """The headers that sign `body` at `at` (Unix seconds)."""
    stamp = f"{at:.0f}"
    return {TIMESTAMP: stamp, SIGNATURE: _PREFIX + _digest(secret, stamp, body)}


def is_signed(secret: str, body: bytes, stamp: str, signature: str, *, now: float) -> bool:
    """Whether the call was signed with `secret` at most `WINDOW_S` from `now` (Unix seconds)."""
    if _SECONDS.fullmatch(stamp) is None or abs(now - int(stamp)) > WINDOW_S:
        return False
    expected = _PREFIX + _digest(secret, stamp, body)
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape"))


def _digest(secret: str, stamp: str, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()

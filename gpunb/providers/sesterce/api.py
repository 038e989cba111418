"""Sesterce's errors, and ids in its paths."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gpunb.errors import (
    AuthFailed,
    BadInput,
    InstanceGone,
    NoFunds,
    OfferGone,
    ProviderError,
    QuotaExhausted,
    RateLimited,
)
from gpunb.hints import typed

if TYPE_CHECKING:
    from gpunb.providers.http import Failure

__all__ = ["translate"]

_NO_KEY = re.compile(r"api key (?:was )?not found|invalid api key", re.IGNORECASE)
_MONEY = re.compile(r"balance|funds|credit|payment", re.IGNORECASE)
_GONE = re.compile(r"no longer|not available|unavailable|capacity|sold out|out of stock", re.IGNORECASE)


def translate(failure: Failure) -> ProviderError | BadInput | None:  # noqa: PLR0911 - one return a meaning
    """Return the error that Sesterce's answer means; None where it says nothing of its own."""
    text, word = failure.message(), failure.word("message") or failure.text
    if failure.status in (401, 403, 404) and _NO_KEY.search(word):
        hint = typed("login sesterce")
        return AuthFailed(text, provider="sesterce", bill="nothing was changed", hint=hint)
    if failure.status == 404 and "/instances/" in failure.path:
        # Sesterce's own 404 has a message and the path; a proxy's has not
        return InstanceGone(text, provider="sesterce") if failure.word("path") else None
    if failure.status == 429:
        if "quota" in word.lower():
            return QuotaExhausted(text, provider="sesterce", bill="nothing was changed")
        return RateLimited(text, provider="sesterce", retry_after=failure.retry_after)
    if failure.status in (400, 402, 404, 409, 422):
        if _MONEY.search(word):
            return NoFunds(text, provider="sesterce", bill="nothing was rented")
        if _GONE.search(word) or (failure.status == 404 and failure.method == "POST"):
            return OfferGone(text, provider="sesterce", bill="nothing was rented")
        return BadInput(text, bill="nothing was changed")
    return None

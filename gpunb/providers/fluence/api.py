"""Client of Fluence's API, and translation of its errors.

Facts from Fluence's documentation ("GPU Cloud", "Deploy GPU instances",
"Manage GPU instances"; as of February 2026). Two error shapes: 422 with a
list under ``detail``, 400 with a sentence there. A wrong key answers 403.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from gpunb.errors import (
    BadInput,
    InstanceGone,
    NoFunds,
    OfferGone,
    ProviderError,
    QuotaExhausted,
    RateLimited,
)
from gpunb.providers.http import ApiClient, Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

__all__ = ["NAME", "TITLE", "NotYet", "client", "gigabytes", "unix"]

NAME = "fluence"
TITLE = "Fluence"
DEFAULT_URL = "https://api.fluence.dev"

_MONEY = re.compile(r"balance|funds", re.IGNORECASE)
_GONE = re.compile(
    r"no longer available|not available|unavailable|sold out|plan .*not found|out of stock", re.IGNORECASE
)
_NOT_YET = re.compile(r"\bACTIVE\b|not active|being (?:applied|updated)|in progress", re.IGNORECASE)
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?\s*", re.IGNORECASE)
_GIBIBYTE = 1024**3 / 1e9
_UNITS = {"k": 1e-6, "ki": 1024 / 1e9, "m": 1e-3, "mi": 1024**2 / 1e9, "g": 1.0, "gi": 1024**3 / 1e9}
_UNITS |= {"t": 1e3, "ti": 1024**4 / 1e9, "": 1.0}


class NotYet(ProviderError):
    """The instance's state does not allow the call yet, but may later."""


def client(url: str | None, key: SecretStr | None, options: Mapping[str, Any]) -> ApiClient:
    """Make the HTTP client. The address may end with ``/gpu``, as the documentation writes it."""
    return ApiClient(
        provider=NAME,
        title=TITLE,
        base_url=(url or DEFAULT_URL).rstrip("/").removesuffix("/gpu"),
        key=key,
        header="X-API-KEY",
        scheme="",
        translate=_translate,
        **(options.get("http") or {}),
    )


def _translate(failure: Failure) -> ProviderError | BadInput | None:  # noqa: PLR0911 - one return a meaning
    text, word = failure.message(), failure.word("detail")
    if failure.status == 422:
        why = failure.invalid() or failure.text
        msg = f"{TITLE} refuses {failure.method} {failure.path}: {why}"
        return BadInput(msg, bill="nothing was changed")
    if failure.status == 404 and "/instances/" in failure.path:
        # "Not Found" is what the web framework says of a path that it does not know
        known = word and word.lower().rstrip(".") != "not found"
        return InstanceGone(text, provider=NAME) if known else None
    if failure.status == 429:
        if "quota" in word.lower():
            return QuotaExhausted(text, provider=NAME, bill="nothing was changed")
        return RateLimited(text, provider=NAME, retry_after=failure.retry_after)
    if failure.status in (400, 402, 409):
        if _MONEY.search(word):
            return NoFunds(text, provider=NAME, bill="nothing was rented")
        if _GONE.search(word):
            return OfferGone(text, provider=NAME, bill="nothing was rented")
        if _NOT_YET.search(word):
            return NotYet(text, provider=NAME)
        return BadInput(text, bill="nothing was changed")
    return None


def gigabytes(value: object, units: str = "") -> float:
    """Convert a size to GB: "120Gi", {"count": 120, "units": "Gi"}, 120; 0 if it can't be read."""
    if isinstance(value, dict):
        count, units = value.get("count"), value.get("units") or ""
        if units == "Gi" and type(count) is int:  # the unit of all of them
            return count * _GIBIBYTE
        return gigabytes(count, str(units))
    if isinstance(value, (int, float)):
        return float(value) * _UNITS.get(units.lower(), 1.0)
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return 0.0
    return float(match[1]) * _UNITS[(match[2] or units or "").lower()]


def unix(value: object) -> float | None:
    """Convert an ISO time (UTC if it names no zone) to Unix seconds; None if it can't be read."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()

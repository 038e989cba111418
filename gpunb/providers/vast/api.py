"""Client of Vast.ai's API: address, rate limits, and translation of its errors.

Facts from Vast's documentation and its published client ``vastai`` 1.9.1.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

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
from gpunb.providers.edge.text import clean
from gpunb.providers.http import ApiClient, Failure, Rate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

__all__ = [
    "DEFAULT_URL",
    "NAME",
    "RATES",
    "TITLE",
    "AlreadyAttachedError",
    "CreatedAnywayError",
    "NoKeysError",
    "VolumeInUseError",
    "already",
    "base_url",
    "client",
    "query",
    "translate",
]

NAME = "vast"
TITLE = "Vast.ai"
DEFAULT_URL = "https://console.vast.ai"

#: Seconds between two calls of one endpoint (``x-rate-limit`` of Vast's
#: OpenAPI; vast-ai/docs#61). Keys that share an account share them.
RATES: Mapping[str, Rate | float] = {
    "POST /api/v0/bundles/": Rate(60.0, calls=10),
    "PUT /api/v0/search/asks/": Rate(60.0, calls=10),
    "PUT /api/v0/asks/{id}/": 4.5,
    "GET /api/v1/instances/": 1.0,
    "PUT /api/v0/instances/": 2.0,
    "PUT /api/v0/instances/reboot/{id}/": 1.0,
    "PUT /api/v0/instances/recycle/{id}/": 1.0,
    "PUT /api/v0/instances/bid_price/{id}/": 5.5,
    "PUT /api/v0/instances/command/{id}/": 1.5,
    "PUT /api/v0/instances/prepay/{id}/": 3.0,
    "GET /api/v0/instances/{id}/": 2.0,
    "PUT /api/v0/instances/{id}/": 1.0,
    "DELETE /api/v0/instances/{id}/": 3.0,
    "GET /api/v0/users/cloud_integrations/": 2.9,
    "POST /api/v0/ssh/": 1.0,
    "POST /api/v0/instances/{id}/ssh/": 1.0,
    "GET /api/v0/charges/": 1.0,
    "GET /api/v1/invoices/": 3.0,
    "GET /api/v0/audit_logs/": 2.0,
    "GET /api/v0/secrets/": 5.0,
    "POST /api/v0/secrets/": 3.0,
    "POST /api/v0/auth/apikeys/": 2.0,
    "PUT /api/v0/volumes/": 5.5,
    "DELETE /api/v0/volumes/": 5.5,
    "POST /api/v0/volumes/copy/": 5.5,
    "POST /api/v0/commands/rclone/": 3.5,
    "DELETE /api/v0/commands/rclone/": 3.5,
}

_THRESHOLD = re.compile(r"threshold\s*=\s*([\d.]+)")
_NO_KEY = re.compile(
    r"auth_error|unauthori[sz]ed|invalid user key|invalid or missing api key|session expired|not logged in|"
    r"login required|please log ?in",
    re.IGNORECASE,
)
_NO_KEYS = re.compile(r"no ssh keys found", re.IGNORECASE)
_IN_USE = re.compile(r"in use|attached|use the volume", re.IGNORECASE)
_NO_ASK = re.compile(r"\bno_such_ask\b")
_TWO_FACTOR = re.compile(r"two[ -]?factor|\btfa\b|\b2fa\b", re.IGNORECASE)
_NOT_OWN = re.compile(r"not your own|not (?:the )?owner|belongs to another", re.IGNORECASE)
_NO_MONEY = re.compile(
    r"insufficient[ _](?:credit|funds|balance)|lacks? credit|not enough credit|spend_rate_limit|no credit",
    re.IGNORECASE,
)


class CreatedAnywayError(ProviderError):
    """A create was refused, but its answer names an instance all the same (dstack#4036)."""

    def __init__(self, message: str, instance_id: str) -> None:
        super().__init__(message, provider=NAME, effect="unknown")
        self.instance_id = instance_id


class AlreadyAttachedError(ProviderError):
    """The key is on the instance already."""


class NoKeysError(ProviderError):
    """The account has no SSH keys: a 404, where another cloud sends an empty list."""


class VolumeInUseError(ProviderError):
    """The volume counts as in use; it still does for half a minute after its last machine has ended."""


def base_url(given: str | None) -> str:
    """Return the address: as given, else ``VAST_URL`` as Vast's own client reads it, else the real one."""
    return given or os.environ.get("VAST_URL") or DEFAULT_URL


def client(url: str, key: SecretStr | None, options: Mapping[str, Any]) -> ApiClient:
    """Make the HTTP client; ``options["pace"]`` and ``options["http"]`` are arguments of `ApiClient`."""
    more = dict(options.get("http") or {})
    more.setdefault("pace", float(options.get("pace") or 1.0))
    return ApiClient(
        provider=NAME, title=TITLE, base_url=url, key=key, rates=RATES, translate=translate, **more
    )


def query(**params: Any) -> dict[str, str]:
    """Encode query parameters as Vast's client does: JSON, but strings unchanged."""
    return {
        name: value if isinstance(value, str) else to_json(value).decode()
        for name, value in params.items()
        if value is not None
    }


def translate(failure: Failure) -> ProviderError | BadInput | None:
    """Translate Vast's refusal to an error."""
    return _awaited(failure) or _refusal(failure)


def _refusal(failure: Failure) -> ProviderError | BadInput | None:  # noqa: PLR0911
    """Return the error that a refusal means, whatever the call was.

    A wrong key is a 404 with ``auth_error`` in its body, not a 401; so a 404
    is never taken for "the instance is gone" without reading it. Bodies lack
    ``success``, ``error`` or ``msg`` at times; a 429 is plain text mostly.
    """
    word, text = (
        failure.word("error"),
        f"{failure.text} {failure.word('error')} {failure.word('msg', 'message')}",
    )
    message, status = failure.message(), failure.status
    made = failure.data.get("new_contract") if isinstance(failure.data, dict) else None
    if type(made) is int and made > 0 and failure.effect:
        return CreatedAnywayError(message, str(made))
    if status == 429:
        return _too_many(failure, word, text)
    renting = failure.method == "PUT" and "/asks/" in failure.path
    if renting and status < 500 and (word == "no_such_ask" or _NO_ASK.search(text)):
        # the word is in msg alone at times, under invalid_args or nothing, with 400, 404 or 410
        return OfferGone(message, provider=NAME, bill="nothing was rented")
    if status in (401, 403) and _TWO_FACTOR.search(text):
        return AuthFailed(
            message,
            provider=NAME,
            bill="nothing was changed",
            hint="the account logs in with two factors: make an API key at "
            "https://cloud.vast.ai/manage-keys/, then " + typed("login vast"),
        )
    if status == 403 and _NOT_OWN.search(text):
        hint: str = "it belongs to another account; " + typed("login vast") + " takes that account's key"
        return ProviderError(message, provider=NAME, bill="nothing was changed", hint=hint)
    if status in (401, 403, 404) and (word == "auth_error" or _NO_KEY.search(text)):
        expired = "session expired" in text.lower()
        return AuthFailed(
            f"{message} (Vast.ai answers {status} to a key that it does not know)",
            provider=NAME,
            bill="nothing was changed",
            hint="log in to Vast again" if expired else typed("login vast"),
        )
    if status == 403 or (status == 401 and "permission" in text.lower()):
        hint = (
            "the key lacks a permission; "
            + typed("login vast --scoped")
            + " makes one that has what gpunb needs"
        )
        return AuthFailed(message, provider=NAME, bill="nothing was changed", hint=hint)
    if status < 500 and _NO_MONEY.search(text):
        hint = "add credit at https://cloud.vast.ai/billing/"
        if "spend_rate_limit" in text:
            hint = "new accounts have a limit: verify the e-mail address, take a cheaper machine, or wait"
        return NoFunds(message, provider=NAME, bill="nothing was rented", hint=hint)
    if renting and status == 400 and not failure.text.strip():
        why = f"{message}: refused without a reason, as Vast does for an offer that was just taken"
        return OfferGone(why, provider=NAME, bill="nothing was rented")
    one_instance = re.fullmatch(r"/api/v\d/instances/\d+/", failure.path)
    gone = word == "not_found" and status == 404 and one_instance
    if gone or word in ("no_such_instance", "no_such_contract"):
        return InstanceGone(message, provider=NAME)
    if word in ("invalid_args", "invalid_price", "no_ssh_key_for_vm"):
        return BadInput(message, bill="nothing was rented" if "/asks/" in failure.path else None)
    return None


def _awaited(failure: Failure) -> ProviderError | None:
    """Return the error of a refusal that the caller of this call handles."""
    message = failure.message()
    kind: type[ProviderError] | None = None
    match failure.method, failure.path.rstrip("/").rpartition("/")[2]:
        case "POST", "ssh" if already(message):
            kind = AlreadyAttachedError
        case "GET", "ssh" if _NO_KEYS.search(message):
            kind = NoKeysError
        case "DELETE", "volumes" if _IN_USE.search(message):
            kind = VolumeInUseError
    return kind(message, provider=NAME) if kind and failure.status != 429 else None


def already(said: object) -> bool:
    """Return whether Vast says that the requested state holds already."""
    return "already" in str(said).lower()


def _too_many(failure: Failure, word: str, text: str) -> ProviderError:
    if word == "search_quota_exceeded":
        # the day's quota comes back at midnight UTC; further requests are useless until then
        reset = failure.headers.get("x-ratelimit-reset", "")
        left = (
            float(reset) - time.time() if re.fullmatch(r"\d+(\.\d+)?", reset) else 86400 - time.time() % 86400
        )
        return QuotaExhausted(
            failure.message(),
            provider=NAME,
            retry_after=max(left, 0.0),
            hint="the quota is renewed at midnight UTC; an offer whose id you know can still be rented",
        )
    found = _THRESHOLD.search(text)
    after = failure.retry_after
    if after is None and found:
        after = float(found[1])
    if after is None and isinstance(failure.data, dict):
        seconds = failure.data.get("retry_after")
        after = float(seconds) if isinstance(seconds, (int, float)) and 0 <= seconds < 86_400 else None
    seconds = clean(failure.text, 120)
    return RateLimited(
        f"{failure.title} says {failure.method} {failure.path} came too soon: {seconds}",
        provider=NAME,
        retry_after=after,
    )

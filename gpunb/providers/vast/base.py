"""Base of all parts of the Vast provider: the client, and the check for a key."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from gpunb.errors import AuthFailed, BadAnswer, BadInput, ProviderError
from gpunb.hints import typed
from gpunb.providers import keys
from gpunb.providers.base import Provider, ProviderConfig
from gpunb.providers.edge.payload import rows
from gpunb.providers.edge.text import clean
from gpunb.providers.vast import api

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import SecretStr

    from gpunb.providers.http import ApiClient

__all__ = ["VastBase", "number"]

_PAGE = 25
_MOST_PAGES = 1000


def number(value: object, what: str) -> str:
    """Return `value` as the decimal number that Vast's paths need.

    Raises
    ------
    BadInput
        It is not one.
    """
    text = str(value)
    if not is_number(value):
        msg = f"{what} {clean(text, 60)!r} must be a number"
        raise BadInput(msg)
    return text


def is_number(value: object) -> bool:
    """Return whether `value` can be an id at Vast: digits, as text or not, above 0."""
    text = str(value) if isinstance(value, (int, str)) else ""
    return text.isascii() and text.isdecimal() and len(text) <= 18


class VastBase(Provider):
    """Base class with the client, made at the first call; ``options["http"]`` goes to `ApiClient`."""

    key_variable = "VAST_API_KEY"
    key_page = "https://cloud.vast.ai/manage-keys/"
    simulation = "gpunb.sim.vast:VastCloud"

    def __init__(self, config: ProviderConfig | None = None) -> None:
        super().__init__(config)
        self.base_url = api.base_url(self.config.base_url)
        self._sleep: Callable[[float], None] = (self.config.options.get("http") or {}).get(
            "sleep", time.sleep
        )

    @functools.cached_property
    def _key(self) -> SecretStr | None:
        if self.config.key is not None and self.config.key.get_secret_value():
            return self.config.key
        key = keys.find(self.name)
        return key.key if key else None

    @functools.cached_property
    def _api(self) -> ApiClient:
        return api.client(self.base_url, self._key, self.config.options)

    def close(self) -> None:
        """Close the connections."""
        if "_api" in self.__dict__:
            self._api.close()

    def _call(self, method: str, path: str, **more: Any) -> Any:
        """Send a call that needs the key; a ``path`` without ``/api/v0`` gets it put in front."""
        if self._key is None:
            msg = "there is no key for Vast.ai"
            hint = typed("login vast") + f", or set {self.key_variable}"
            raise AuthFailed(msg, provider=self.name, bill="nothing was changed", hint=hint)
        return self._api.call(method, path if path.startswith("/api/") else f"/api/v0{path}", **more)

    def _done(self, answer: dict[str, Any], what: str) -> None:
        """Check the answer for refusals that come as 200 with ``success: false``."""
        if answer.get("success") is False:
            message = clean(answer.get("msg") or answer.get("error") or answer, 200)
            msg = f"Vast.ai refused to {what}: {message}"
            raise ProviderError(msg, provider=self.name)

    def _pages(self, path: str, field: str, *, what: str, limit: int = _PAGE, **params: Any) -> list[Any]:
        """Read all rows of a paged list. A page of another shape is an error, not the end."""
        out: list[Any] = []
        token: Any = None
        for _ in range(_MOST_PAGES):
            query = api.query(limit=limit, after_token=token, **params)
            page = self._call("GET", path, params=query)
            if isinstance(page, dict) and page.get("success") is False:  # with an empty list, and 200
                message = clean(page.get("msg") or page.get("error") or page, 120)
                msg = f"Vast.ai does not say the {what}: {message}"
                raise BadAnswer(msg, provider=self.name)
            out.extend(rows(page, field, provider=self.name, what=what))
            following = page.get("next_token")
            if not following:
                return out
            if following == token:
                break
            token = following
        msg = f"Vast.ai: {what}: the pages do not end"
        raise BadAnswer(msg, provider=self.name)

    def _result(self, answer: dict[str, Any], what: str, *, wait_s: float = 30.0) -> str:
        """Poll the text behind a ``result_url`` until it is there."""
        url = answer.get("result_url")
        if not isinstance(url, str) or not url:
            message = clean(repr(answer), 160)
            msg = f"Vast.ai: {what}: field result_url must be an address; the answer was {message}"
            raise BadAnswer(msg, provider=self.name)
        waited = 0.0
        pause = 0.3
        while True:
            text = self._api.download(url)
            if text is not None:
                return text
            if waited >= wait_s:
                msg = f"Vast.ai: {what}: no result within {wait_s:.0f} s; the host may be slow or offline"
                raise BadAnswer(msg, provider=self.name)
            self._sleep(pause)
            waited += pause
            pause = min(pause * 1.5, 2.0)

"""A cloud's answer that is not a success: its words, and the error for its status."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from gpunb.errors import AuthFailed, NoFunds, OutcomeUnknown, ProviderError, RateLimited, Unavailable
from gpunb.hints import typed
from gpunb.providers.edge.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UNKNOWN_BILL", "Failure", "retry_after"]

UNKNOWN_BILL = "it is not known whether the call took effect"


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is not a success, as a provider's `translate` gets it.

    Attributes
    ----------
    text
        The body, cleaned, without the key, 500 characters at most.
    data
        The body as JSON, or None.
    effect
        Whether the call could change something.
    retry_after
        Seconds, from a ``Retry-After`` header in either of its forms.
    """

    provider: str
    title: str
    method: str
    path: str
    status: int
    text: str
    data: Any
    effect: bool
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def word(self, *names: str) -> str:
        """Return the first non-empty text among the fields `names` of a JSON object, or of one inside it.

        Web frameworks wrap their words: ``{"detail": {"error": "Not authenticated"}}`` (FastAPI),
        ``{"message": ["region must be a string"]}`` (NestJS).
        """
        if not isinstance(self.data, dict):
            return ""
        inside = [one for one in self.data.values() if isinstance(one, dict)]
        for name in names:
            for level in (self.data, *inside):
                value = level.get(name)
                if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
                    value = "; ".join(value)
                if isinstance(value, str) and value:
                    return clean(value, 300)
        return ""

    def invalid(self) -> str:
        """The fields that FastAPI's list under ``detail`` refuses, with value and rule; "" without one."""
        detail = self.data.get("detail") if isinstance(self.data, dict) else None
        found = []
        for row in detail if isinstance(detail, list) else []:
            if isinstance(row, dict):
                loc = row.get("loc")
                where = ".".join(str(part) for part in loc[1:]) if isinstance(loc, list) else "?"
                rule = clean(str(row.get("msg", "")).removeprefix("Value error, "), 120)
                value = f" is {clean(repr(row['input']), 60)}" if "input" in row else ""
                found.append(f"{clean(where, 100)}{value}: {rule}")
        return "; ".join(found[:8])

    def message(self) -> str:
        """Return one sentence: the cloud's answer, and to which call."""
        text = self.word("msg", "message", "error", "detail") or self.invalid() or self.text[:300]
        return f"{self.title} answered {self.status} to {self.method} {self.path}" + (
            f": {text}" if text else ""
        )

    def error(self) -> ProviderError:
        """Return the error for the status alone, for a cloud that adds no words of its own."""
        text, status, name = self.message(), self.status, self.provider
        if status in (401, 403):
            return AuthFailed(text, provider=name, hint=typed("login", name))
        if status == 402:
            return NoFunds(text, provider=name, bill="nothing was changed")
        if status == 429:
            return RateLimited(text, provider=name, retry_after=self.retry_after)
        if status >= 500 or status == 408:
            if self.effect:
                return OutcomeUnknown(text, provider=name, bill=UNKNOWN_BILL)
            return Unavailable(text, provider=name, retry_after=self.retry_after)
        return ProviderError(text, provider=name)


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After`` header in either of its forms; None if it is none."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return max(seconds, 0.0) if seconds == seconds and seconds != float("inf") else None  # noqa: PLR0124

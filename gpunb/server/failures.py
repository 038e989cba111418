"""Errors as the browser gets them: message, machine-readable reason, state of the bill, and hint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb import errors, log
from gpunb.errors import ConfirmationNeeded, ConfirmationRefused
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.presentation.api import Problem

__all__ = [
    "Busy",
    "ConfirmationNeeded",
    "ConfirmationRefused",
    "NoRoute",
    "UnknownJob",
    "error_body",
    "status_of",
]


class Busy(errors.GpunbError):
    """Too many calls are waiting already."""


class NoRoute(errors.GpunbError):
    """No such route in this version."""


class UnknownJob(errors.GpunbError):
    """No job with that id in this server."""


# the first match counts; 401 is never used: a browser page would take it for its own login
_STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (ConfirmationNeeded, 403),
    (ConfirmationRefused, 403),
    (Busy, 503),
    (UnknownJob, 404),
    (NoRoute, 404),
    (errors.BadInput, 400),
    (errors.SettingsError, 400),
    (errors.LedgerError, 503),
    (errors.SessionNotFound, 404),
    (errors.RunNotFound, 404),
    (errors.SessionError, 409),
    (errors.NoFunds, 402),
    (errors.OfferGone, 410),
    (errors.RateLimited, 429),
    (errors.QuotaExhausted, 429),
    (errors.AuthFailed, 409),
    (errors.NotSupported, 409),
    (errors.InstanceGone, 410),
    (errors.ProviderError, 502),
    (errors.HostError, 502),
    (errors.GpunbError, 409),
    (FileNotFoundError, 404),
    (IsADirectoryError, 400),
    (NotADirectoryError, 400),
    (PermissionError, 403),
    (OSError, 502),
)


def status_of(err: BaseException) -> int:
    """Return the HTTP status of an error."""
    return next((code for kind, code in _STATUS if isinstance(err, kind)), 500)


def error_body(err: BaseException) -> Problem:
    """Return ``{"message", "reason", "hint", "bill"}``, foreign text cleaned, keys redacted."""
    if isinstance(err, errors.GpunbError):
        return {
            "message": _text(err.message),
            "reason": type(err).__name__,
            "hint": None if err.hint is None else _text(err.hint),
            "bill": None if err.bill is None else _text(err.bill),
        }
    if isinstance(err, OSError) and err.strerror:
        name = f": {err.filename}" if err.filename else ""
        message, reason = f"{err.strerror}{name}", type(err).__name__
        return {"message": _text(message), "reason": reason, "hint": None, "bill": None}
    message = f"gpunb failed unexpectedly: {type(err).__name__}: {str(err)[:300]}"
    hint = "the server's log has more; please report it"
    return {"message": _text(message), "reason": "InternalError", "hint": hint, "bill": None}


def _text(text: str) -> str:
    return clean(log.redact(text))

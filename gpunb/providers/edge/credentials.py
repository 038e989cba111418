"""Where a client's key goes, and what a key is made of."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.providers.edge.text import clean

if TYPE_CHECKING:
    from pydantic import SecretStr

__all__ = ["checked_key", "checked_url"]


def checked_url(url: str, provider: str) -> tuple[str, bool]:
    """Return `url` without a slash at its end, and whether it is on the loopback interface."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not host or parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
        msg = f"base_url of {provider}: {clean(_no_userinfo(url), 120)!r} is not an address like https://host"
        raise BadInput(msg)
    if parts.scheme == "http" and not loopback:
        msg = f"base_url of {provider}: {clean(url, 120)!r} would send the key unencrypted; it must be https"
        raise BadInput(msg, hint="http is accepted for 127.0.0.1 and localhost only")
    return url.rstrip("/"), loopback


def _no_userinfo(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)


def checked_key(key: SecretStr | None, provider: str) -> str:
    """Return the key, which the log hides from now on; "" without one."""
    if key is None:
        return ""
    value = key.get_secret_value()
    if value and (not value.isascii() or not value.isprintable() or " " in value):
        msg = f"the key of {provider} holds blanks, line ends or other signs that no key has"
        raise BadInput(msg, hint=typed("login", provider))
    if value:
        _register_secret(value)
    return value


def _register_secret(value: str) -> None:
    """Register the key with the log's own redaction."""
    from gpunb import log

    log.add_secret(value)

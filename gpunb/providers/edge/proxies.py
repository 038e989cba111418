"""Proxies and certificates from the environment: which errors they cause, and how to fix them.

httpx takes ``HTTPS_PROXY``, ``ALL_PROXY`` and ``SSL_CERT_FILE`` when a client is made, and raises
errors of many classes about them there: ``ValueError`` for ``socks://`` (GNOME's own spelling),
``ImportError`` for ``socks5://`` without the extra, ``OSError`` for certificates that are not there.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

from gpunb.errors import SettingsError
from gpunb.providers.edge.text import clean

if TYPE_CHECKING:
    import ssl

__all__ = ["certificates", "environment_error"]

_SOCKS = "pip install 'httpx[socks]'"
_KNOWN = ("http", "https", "socks5", "socks5h")


def certificates(*, trust_env: bool = True) -> ssl.SSLContext:
    """Return what a client checks servers' certificates by; read once for each environment, for all clients.

    Reading them takes about 50 ms, which each cloud of a search would cost otherwise.
    """
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR") if trust_env else ()
    return _certificates(trust_env, *(os.environ.get(name) for name in names))


@functools.cache
def _certificates(trust_env: bool, *_where: str | None) -> ssl.SSLContext:  # noqa: FBT001
    return httpx.create_ssl_context(trust_env=trust_env)


def environment_error(title: str, err: Exception) -> SettingsError:
    """Return the error, with a hint, for proxies or certificates that no client for `title` can use."""
    for name, url in sorted(getproxies().items()):
        if name in ("http", "https", "all"):
            trouble = _trouble(url)
            if trouble is not None:
                variable = _variable(f"{name}_proxy")
                shown = clean(re.sub(r"//[^/@]*@", "//***@", url), 120)
                msg = f"{title} can't be called through the proxy {variable}={shown}: {trouble[0]}"
                hint = trouble[1].format(variable=variable)
                return SettingsError(msg, hint=hint)
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        where = os.environ.get(variable, "")
        if where and not _readable(where):
            msg = f"{title} can't be called: {variable}={clean(where, 200)} can't be read"
            return SettingsError(msg, hint=f"unset {variable}, or let it name the certificates")
    msg = f"no client for {title} can be made: {type(err).__name__}: {clean(str(err), 300)}"
    hint = "check the variables for proxies and certificates: env | grep -i -e proxy -e ssl"
    return SettingsError(msg, hint=hint)


def _trouble(url: str) -> tuple[str, str] | None:
    """Return what is wrong with a proxy's address and a hint, or None if it can be used."""
    scheme = urlsplit(url if "://" in url else f"http://{url}").scheme
    if scheme not in _KNOWN:
        reason = f"{scheme}:// is none of the kinds that can be used ({', '.join(_KNOWN)})"
        if not scheme.startswith("socks"):
            return reason, "unset {variable}"
        return reason, f"unset {{variable}}, or write socks5:// there and {_SOCKS}"
    try:
        httpx.HTTPTransport(proxy=url if "://" in url else f"http://{url}").close()
    except ImportError:
        return "SOCKS needs a package that is not installed", f"unset {{variable}}, or {_SOCKS}"
    except Exception as err:  # noqa: BLE001 - whatever it is, the variable is at fault
        return clean(str(err), 200) or type(err).__name__, "unset {variable}"
    return None


def _variable(name: str) -> str:
    """Return the spelling of a proxy variable in the environment; the system's settings have none."""
    found = (one for one in (name, name.upper()) if os.environ.get(one))
    return next(found, name.upper())


def _readable(where: str) -> bool:
    path = Path(where)
    return os.access(path, os.R_OK) and (path.is_dir() or path.stat().st_size > 0)

"""The user's machines: a table of the settings each, or an address that was typed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from gpunb.errors import BadInput
from gpunb.providers.features import Host
from gpunb.trust import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["listed", "named", "typed_address"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*\$?")
_HOST = re.compile(r"[A-Za-z0-9:_][A-Za-z0-9._:%-]*")
_KNOWN = ("address", "port", "price_usd_h", "trust", "gpus", "tags", "share")


def typed_address(text: str) -> Host:
    """Read an address: ``lab3``, ``me@10.0.0.7:2222``, ``me@[::1]:22``, ``ssh://me@lab3:22``.

    Raises
    ------
    BadInput
        It is none; the message has the rule.
    """
    user, at, place = text.strip().removeprefix("ssh://").rstrip("/").rpartition("@")
    port = ""
    if place.startswith("["):
        place, closed, port = place[1:].partition("]")
        fine = bool(closed) and (not port or port.startswith(":"))
        port = port.removeprefix(":") if fine else "?"
    elif place.count(":") == 1:
        place, _, port = place.partition(":")
        port = port or "?"
    number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
    if not _HOST.fullmatch(place) or (at and not _USER.fullmatch(user)) or (port and not 0 < number < 65536):
        msg = f"host {text[:80]!r}: must be a name of your ssh configuration, or USER@HOST or USER@HOST:PORT"
        raise BadInput(msg, hint="an IPv6 address with a port is written me@[fd00::7]:2222")
    return Host(name=text.strip(), address=f"{user}{at}{place}", port=number)


def listed(options: Mapping[str, Any]) -> dict[str, Host]:
    """The machines of the settings, by name.

    Raises
    ------
    BadInput
        A table breaks a rule; the message names it, the value and the rule.
    """
    tables = options.get("hosts") or {}
    if not isinstance(tables, Mapping):
        msg = f"providers.ssh.hosts {tables!r}: must hold one table for each machine"
        raise BadInput(msg, hint='[providers.ssh.hosts.lab3] and below it address = "me@lab3"')
    return {str(name): _read(str(name), table) for name, table in tables.items()}


def named(options: Mapping[str, Any], text: str) -> Host:
    """The machine of the settings called `text`, or else the one at the address `text`."""
    return listed(options).get(text.strip()) or typed_address(text)


def _read(name: str, table: Any) -> Host:
    def wrong(key: str, value: object, rule: str) -> NoReturn:
        msg = f"providers.ssh.hosts.{name}.{key} {value!r}: {rule}"
        raise BadInput(msg)

    if not NAME.fullmatch(name):
        msg = f"providers.ssh.hosts.{name}: a name has letters, digits, '.', '_' and '-', at most 63"
        raise BadInput(msg)
    if not isinstance(table, Mapping):
        msg = f"providers.ssh.hosts.{name} {table!r}: must be a table with address, and more if you like"
        raise BadInput(msg)
    for key in table:
        if key not in _KNOWN:
            wrong(key, table[key], f"there are {', '.join(_KNOWN)}")
    address = table.get("address", name)
    if not isinstance(address, str):
        wrong("address", address, "must be text, as in 'me@10.0.0.7'")
    at = typed_address(address)
    port = table.get("port", at.port)
    if type(port) is not int or not (0 < port < 65536 or port == at.port == 0):
        wrong("port", port, "must be a number from 1 to 65535")
    price = table.get("price_usd_h", 0.0)
    if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 <= price <= 1e5:
        wrong("price_usd_h", price, "must be US dollars an hour, 0 or more")
    trust = table.get("trust", "datacenter")
    if trust not in LEVELS:
        wrong("trust", trust, f"must be one of {', '.join(LEVELS)}")
    share = table.get("share", False)
    if type(share) is not bool:
        wrong("share", share, "must be true or false")
    tags = table.get("tags", [])
    if not isinstance(tags, (list, tuple)) or not all(isinstance(tag, str) for tag in tags):
        wrong("tags", tags, "must be a list of words")
    return Host(
        name=name,
        address=at.address,
        port=port,
        price_usd_h=float(price),
        trust=trust,
        gpus=_gpus(table.get("gpus"), wrong),
        tags=tuple(tags),
        share=share,
    )


def _gpus(given: Any, wrong: Callable[[str, object, str], NoReturn]) -> tuple[int, ...] | None:
    """The GPUs that may be given out: a number is so many, from the first on; a list is these."""
    if given is None:
        return None
    if type(given) is int and 0 <= given <= 1024:
        return tuple(range(given))
    if not isinstance(given, (list, tuple)) or not all(type(one) is int and 0 <= one < 1024 for one in given):
        wrong("gpus", given, "must be how many may be used, or a list of their numbers as in [0, 3]")
    return tuple(dict.fromkeys(given))

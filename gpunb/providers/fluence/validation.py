"""Validation of Fluence's rules before a call, with the field named.

Facts from "Deploy GPU instances" and "GPU Cloud" of Fluence's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gpunb.errors import BadInput
from gpunb.providers.edge.text import clean

__all__ = ["check_command", "check_credentials", "check_env", "check_image", "check_location", "check_name"]
__all__ += ["check_os", "check_ports", "check_ssh_key"]

KEY_VARIABLE = "SSH_PUBKEY"  # into which Fluence puts the SSH key
REGISTRIES = ("docker.io", "ghcr.io")
MOST_PORTS = 10
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,23}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


def _refuse(field: str, value: object, rule: str, hint: str | None = None) -> BadInput:
    msg = f"{field} {clean(repr(value), 80)} {rule}"
    return BadInput(msg, bill="nothing was changed", hint=hint)


def check_name(value: str, field: str = "name") -> str:
    """Check the name: 1 to 25 lower-case letters, digits and hyphens, no hyphen at either end."""
    if not _NAME.fullmatch(value):
        raise _refuse(
            field,
            value,
            "must be 1 to 25 small letters, digits or hyphens, no hyphen first or last (Fluence)",
        )
    return value


def check_image(value: str, field: str = "image") -> str:
    """Check the image: a reference in lower case of 255 characters at most."""
    if not value or value != value.lower() or len(value) > 255 or not value.isprintable() or " " in value:
        raise _refuse(
            field, value, "must be an image reference in lower case, 255 characters at most (Fluence)"
        )
    return value


def check_ports(ports: Sequence[Any], field: str = "ports") -> list[dict[str, str]]:
    """Check 1 to 10 ports (numbers, "8080/udp", or Fluence's own objects); return Fluence's objects."""
    result: list[dict[str, str]] = []
    for entry in ports:
        if isinstance(entry, Mapping):
            number, protocol = str(entry.get("port", "")), str(entry.get("protocol") or "tcp")
        else:
            number, _, protocol = str(entry).partition("/")
            protocol = protocol or ("http" if number == "80" else "tcp")
        if not number.isdecimal() or not 1 <= int(number) <= 65535:
            raise _refuse(field, entry, "must be a port between 1 and 65535")
        if protocol not in ("tcp", "udp", "http"):
            raise _refuse(field, entry, "must have the protocol tcp, udp or http")
        if protocol == "http" and number != "80":
            raise _refuse(field, entry, "can't be http: only port 80 can (Fluence)", f"use {number}/tcp")
        row = {"port": str(int(number)), "protocol": protocol}
        if row not in result:
            result.append(row)
    if not 1 <= len(result) <= MOST_PORTS:
        rule = f"must be 1 to {MOST_PORTS} ports (Fluence); 22 is one of them"
        raise _refuse(field, [row["port"] for row in result], rule)
    return result


def check_env(env: Mapping[str, str], field: str = "env") -> list[dict[str, str]]:
    """Check the variables: at most 64, capitals, none called SSH_PUBKEY; return Fluence's objects."""
    if len(env) > 64:
        raise _refuse(field, len(env), "must be 64 variables at most (Fluence)")
    for name in env:
        if name == KEY_VARIABLE:
            raise _refuse(field, name, "is reserved: Fluence puts the SSH key there")
        if not _VARIABLE.fullmatch(name):
            raise _refuse(field, name, "must be capitals, digits and _, a letter first (Fluence)")
    return [{"name": name, "value": value} for name, value in env.items()]


def check_command(value: str, field: str = "start_command") -> str:
    """Check the command: one line of 2048 characters at most."""
    if not value.isprintable():
        raise _refuse(field, value, "must be one line of plain signs; several commands go behind sh -c")
    if len(value) > 2048:
        raise _refuse(field, f"{value[:30]}…", f"has {len(value)} characters; Fluence takes 2048")
    return value


def check_credentials(value: Mapping[str, Any], field: str = "credentials") -> dict[str, str]:
    """Check ``host`` (docker.io or ghcr.io), ``username``, ``password``; the password is never repeated."""
    host = value.get("host")
    if host not in REGISTRIES:
        where = f"{field}.host"
        raise _refuse(where, host, f"must be one of {', '.join(REGISTRIES)} (Fluence)")
    for name in ("username", "password"):
        if not isinstance(value.get(name), str) or not value[name]:
            msg = f"{field}.{name} is missing"
            raise BadInput(msg, bill="nothing was changed")
    return {"host": str(host), "username": value["username"], "password": value["password"]}


def check_location(value: str, known: Sequence[str], field: str = "location") -> str:
    """Check that the location is one of the plan's own."""
    if value not in known:
        raise _refuse(field, value, f"must be one of the plan's locations: {', '.join(known) or 'none'}")
    return value


def check_os(value: str, known: Sequence[str], field: str = "image") -> str:
    """Check that the operating system is one of the plan's own."""
    if value not in known:
        shown = ", ".join(clean(name, 60) for name in known[:12])
        raise _refuse(field, value, f"must be one of the plan's os_options: {shown or 'none'}")
    return value


def check_ssh_key(value: str, field: str = "public_key") -> str:
    """Check the SSH key: one OpenSSH public line; virtual machines and bare metal need it."""
    if not re.fullmatch(r"(?:ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/=]+(?: [^\r\n]*)?", value):
        raise _refuse(field, value[:40], "must be one OpenSSH public key line")
    return value

"""Mapping between gpunb's models and Fluence's request bodies and answers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from gpunb.errors import BadInput, NotSupported
from gpunb.hints import typed
from gpunb.providers.base import CreateSpec, Instance, InstanceState, Offer, RegistryLogin
from gpunb.providers.edge.payload import Wire, parse
from gpunb.providers.edge.text import clean
from gpunb.providers.fluence import hostkey, validation
from gpunb.providers.fluence.api import NAME, TITLE, unix
from gpunb.providers.machine import ports
from gpunb.providers.machine.images import default_os
from gpunb.providers.machine.templates import Template

__all__ = [
    "DEFAULT_IMAGE",
    "container_body",
    "credentials",
    "instance",
    "key_of",
    "machine_body",
    "settings_of",
]
__all__ += ["split_id", "template"]

DEFAULT_IMAGE = "docker.io/fluencelabs/debian-ssh-root:11"
LATER = "leave it out, and do it with " + typed("exec") + " once the machine is ready"

_STATES = {
    "INITIALIZED": InstanceState.CREATING,
    "ACTIVE": InstanceState.RUNNING,
    "ENDED": InstanceState.GONE,
    "FAILED": InstanceState.FAILED,
}
_KINDS = {"vm": "vm", "bm": "bare-metal"}
_PREFIX = {"container": "", "vm": "vm:", "bare-metal": "bm:"}


class _Row(Wire):
    id: str
    name: str = ""
    instance_status: str | None = None
    container_status: str | None = None
    status: str | None = None
    domain: str | None = None
    network: dict[str, Any] | None = None
    billing: dict[str, Any] | None = None
    ssh_connection: str | None = None
    os_image: str | None = None
    container_info: dict[str, Any] | None = None
    created_at: str | None = None


def split_id(instance_id: str) -> tuple[str, str]:
    """Split gpunb's id into kind and Fluence's id. Containers have no prefix, the others "vm:" or "bm:"."""
    head, colon, rest = instance_id.partition(":")
    return (_KINDS[head], rest) if colon and head in _KINDS else ("container", instance_id)


def container_body(offer: Offer, spec: CreateSpec, *, host_key: str | None = None) -> dict[str, Any]:
    """Build the body of a container's deployment, checked against Fluence's rules.

    With `host_key` (OpenSSH PEM) the start command is the one that gives sshd this key, and starts the
    user's beside it.
    """
    extra = spec.extra
    command = validation.check_command(spec.start_command)
    if spec.onstart:
        msg = f"{TITLE} starts a command instead of the image's own, so onstart would keep SSH from starting"
        raise NotSupported(msg, provider=NAME, bill="nothing was rented", hint=LATER)
    settings: dict[str, Any] = {
        "image": validation.check_image(spec.image or DEFAULT_IMAGE),
        "expose": validation.check_ports([22, *spec.ports]),
    }
    env = dict(spec.env)
    if host_key:
        settings["startup_command"] = validation.check_command(hostkey.command(host_key))
        if command:
            env[hostkey.BESIDE] = command
    elif command:
        settings["startup_command"] = command
    if env:
        settings["environment"] = validation.check_env(env)
    if spec.login:
        settings["credentials"] = validation.check_credentials(credentials(spec.login))
    _check_disk(offer, spec)
    body = {
        "plan_id": offer.id.partition("/")[0],
        "name": validation.check_name(spec.label, "label"),
        "container_settings": settings,
        "ssh_key": validation.check_ssh_key(spec.public_key),
    }
    place = extra.get("location") or offer.region
    if place:
        attributes = offer.raw.get("attributes")
        known = attributes.get("location") if isinstance(attributes, Mapping) else None
        body["constraints"] = {
            "location": validation.check_location(place, known if isinstance(known, list) else [offer.region])
        }
    return body


def machine_body(offer: Offer, spec: CreateSpec) -> dict[str, Any]:
    """Build the body of a virtual machine's or bare metal's deployment."""
    for field, value in (
        ("onstart", spec.onstart),
        ("env", spec.env),
        ("ports", spec.ports),
        ("login", spec.login),
    ):
        if value:
            msg = f"{TITLE} takes no {field} for a {offer.kind}: it runs no script of ours at first boot"
            raise NotSupported(msg, provider=NAME, bill="nothing was rented", hint=LATER)
    _check_disk(offer, spec)
    options = offer.raw.get("os_options")
    known = [name for name in options if isinstance(name, str)] if isinstance(options, list) else []
    return {
        "plan_id": offer.id.partition(":")[2],
        "name": validation.check_name(spec.label, "label"),
        "ssh_key": validation.check_ssh_key(spec.public_key),
        "os_image": validation.check_os(spec.image or default_os(known), known),
    }


def _check_disk(offer: Offer, spec: CreateSpec) -> None:
    if offer.disk_max_gb > 0 and spec.disk_gb > offer.disk_max_gb:
        msg = f"disk_gb {spec.disk_gb:g} is more than the {offer.disk_max_gb:.0f} GB that the plan has"
        raise BadInput(msg, bill="nothing was rented")


def credentials(login: RegistryLogin) -> dict[str, str]:
    """Convert a registry's login to Fluence's form."""
    return {"host": login.server, "username": login.user, "password": login.password.get_secret_value()}


def template(row: Any) -> Template | None:
    """Convert one of Fluence's default images to a template; None if it names no image."""
    if not isinstance(row, Mapping) or not isinstance(row.get("image"), str) or not row["image"]:
        return None
    listed = row.get("expose")
    opened = [
        f"{one.get('port')}/{one.get('protocol') or 'tcp'}"
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, Mapping)
    ]
    command = row.get("startup_command")
    return Template(
        id=str(row.get("slug") or row["image"]),
        name=str(row.get("name") or ""),
        image=row["image"],
        ports=ports.wanted(opened),
        env={
            str(variable["name"]): str(variable.get("value") or "")
            for variable in _variables(row)
            if variable.get("name")
        },
        start_command=command if isinstance(command, str) else "",
    )


def settings_of(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return the container's current settings, for an update that must name them all.

    The variable that Fluence itself makes of the SSH key is left out: it refuses one of that name, and
    `key_of` is what goes back.
    """
    info = detail.get("container_info")
    info = info if isinstance(info, Mapping) else {}
    found = {
        "image": info.get("image"),
        "expose": info.get("expose") or [],
        "environment": [row for row in _variables(info) if row.get("name") != validation.KEY_VARIABLE],
        "startup_command": info.get("startup_command"),
    }
    return {name: value for name, value in found.items() if value is not None}


def key_of(detail: Mapping[str, Any]) -> str | None:
    """Return the container's SSH key, for an update that must name it again; None if it has none."""
    own = detail.get("ssh_key")
    info = detail.get("container_info")
    values = [
        row.get("value")
        for row in _variables(info if isinstance(info, Mapping) else {})
        if row.get("name") == validation.KEY_VARIABLE
    ]
    return next((key for key in (own, *values) if isinstance(key, str) and key), None)


def _variables(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = info.get("environment")
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def instance(row: Any, kind: str) -> Instance:
    """Convert a row of a list, or a detail, to an instance.

    Rows of a list have no port (a container), or no address at all (a machine): the detail says them.
    """
    one = parse(_Row, row, provider=NAME, what=f"a {kind}")
    raw_state = one.instance_status or one.status or ""
    state = _STATES.get(raw_state, InstanceState.UNKNOWN)
    host, port, user, message = "", 0, "root", ""
    opened: dict[str, str] = {}
    if kind == "container":
        host, port = _container_address(one)
        opened = _open_ports(one, host)
        if state is InstanceState.RUNNING:
            if one.container_status == "NOT_STARTED":
                state = InstanceState.CREATING
                message = "billed, and its container has not started (see its events)"
            elif not host:
                state = InstanceState.CREATING
                message = "its domain is not known yet"
            raw_state = f"{raw_state}/{one.container_status or '?'}"
    else:
        user, host, port = _ssh_address(one.ssh_connection)
        port = port or (_forwarded(one.network) or 22 if host else 0)
    billing, info = one.billing or {}, one.container_info or {}
    command = info.get("startup_command")
    return Instance(
        provider=NAME,
        id=_PREFIX[kind] + one.id,
        label=one.name,
        state=state,
        raw_state=clean(raw_state, 40),
        message=message,
        host=host,
        port=port,
        user=user,
        usd_h=_number(billing.get("hourly_usage")),
        kind=kind,
        image=clean(one.os_image or info.get("image") or "", 255),
        command=clean(command, 2048) if isinstance(command, str) and not hostkey.is_ours(command) else "",
        ssh_key=clean(key_of(row) or "", 200) if isinstance(row, Mapping) else "",
        ports=opened,
        created=unix(one.created_at),
        raw=row,
    )


def _container_address(one: _Row) -> tuple[str, int]:
    domain = (one.network or {}).get("domain") or one.domain
    return domain if isinstance(domain, str) else "", _forwarded(one.network)


def _forwarded(network: Mapping[str, Any] | None) -> int:
    """Return the outside port of 22; 0 if none is named."""
    listed = (network or {}).get("forwarded_ports")
    for row in listed if isinstance(listed, list) else ():
        if isinstance(row, Mapping) and str(row.get("port")) == "22":  # ports are strings
            external = str(row.get("external_port"))
            return int(external) if external.isdecimal() else 0
    return 0


def _open_ports(one: _Row, host: str) -> dict[str, str]:
    """Return the forwarded ports beside SSH's: ``{"8000/tcp": "c1.example.net:30001"}``."""
    listed = (one.network or {}).get("forwarded_ports")
    found: dict[str, str] = {}
    for row in listed if isinstance(listed, list) else ():
        if isinstance(row, Mapping) and str(row.get("port")) not in {"22", "None"}:
            name = f"{row.get('port')}/{row.get('protocol') or 'tcp'}"
            if re.fullmatch(r"[0-9]{1,5}/(tcp|udp|http)", name):
                found[name] = ports.address(host, row.get("external_port"))
    return {name: at for name, at in found.items() if at}


def _ssh_address(line: str | None) -> tuple[str, str, int]:
    """Parse user, host and port of ``ssh ubuntu@216.81.248.90 [-p 2222]``; port 0 if it names none."""
    try:
        words = shlex.split(line or "")
    except ValueError:
        words = []
    port = 0
    if "-p" in words[:-1] and words[words.index("-p") + 1].isdecimal():
        port = int(words[words.index("-p") + 1])
    target = next((word for word in words if "@" in word), "")
    user, _, host = target.partition("@")
    return (user, host, port) if host else ("ubuntu", "", 0)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # a number, or a number written as text
    except (TypeError, ValueError):
        return 0.0

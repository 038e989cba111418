"""The body of Vast's create call, with each of its rules checked before it is sent."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.providers.edge.text import clean
from gpunb.providers.machine import ports
from gpunb.providers.vast.offers import MIN_DISK_GB
from gpunb.providers.vast.onstart import compose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.providers.base import CreateSpec, Offer

__all__ = ["DEFAULT_IMAGE", "body", "checked_key", "script", "variables"]

#: Vast's own image, cached on many hosts; Vast picks the tag that fits the host's CUDA.
DEFAULT_IMAGE = "vastai/pytorch:@vastai-automatic-tag"

_RUNTYPES = {"auto": "ssh_direc ssh_proxy", "direct": "ssh_direc ssh_proxy", "proxy": "ssh_proxy"}
_MAX_VALUE = 256
_MAX_ENV = 32_768


def body(offer: Offer, spec: CreateSpec, *, options: Mapping[str, Any], base_url: str) -> dict[str, Any]:
    """Build the JSON for ``PUT /asks/{offer id}/``.

    ``spec.extra`` may hold ``connection`` ("auto", "direct", "proxy") and
    ``create_volume`` (``{"offer": id, "size_gb": 20, "mount": "/data", "name": "x"}``).

    Raises
    ------
    BadInput
        Something that Vast would refuse, or worse, take and do something else.
    """
    extra = spec.extra
    if not offer.id.isdecimal():
        msg = f"offer id {offer.id!r} must be a number"
        raise _bad(msg)
    if not 0 < len(spec.label) <= 256:
        msg = f"label: {len(spec.label)} characters; Vast.ai takes 1 to 256"
        raise _bad(msg)
    connection = extra.get("connection") or options.get("connection") or "auto"
    if connection not in _RUNTYPES:
        msg = f"connection: {connection!r} is not one of {', '.join(_RUNTYPES)}"
        raise _bad(msg)
    template = spec.template or None
    if template is not None and not re.fullmatch(r"[0-9a-fA-F]{8,64}", template):
        msg = f"template: {clean(template, 80)!r} is not a hash"
        raise _bad(msg)
    image = spec.image or (None if template else options.get("image") or DEFAULT_IMAGE)
    made: dict[str, Any] = {
        "client_id": "me",
        "image": image,
        "env": variables(spec),
        "price": _price(offer, spec),
        "disk": _disk(offer, spec),
        "label": spec.label,
        "onstart": compose(
            deadline=spec.deadline, public_key=spec.public_key, user_script=script(spec), base_url=base_url
        ),
        "image_login": _login(spec),
        "python_utf8": True,
        "lang_utf8": True,
        # without it, an offer that can't start becomes a stopped instance with a billed disk
        "cancel_unavail": True,
        "target_state": "running",
        "template_hash_id": template,
        "runtype": _RUNTYPES[connection],
    }
    if spec.public_key:
        checked_key(spec.public_key)
    volume = _volume(spec)
    if volume:
        made["volume_info"] = volume
    return {name: value for name, value in made.items() if value is not None or name == "price"}


def checked_key(public_key: str) -> str:
    """Check that `public_key` is one OpenSSH line, and return it."""
    line = public_key.strip()
    if "\n" in line or not re.match(r"(ssh-|ecdsa-|sk-)[\w@.-]+ [A-Za-z0-9+/=]+( |\Z)", line):
        msg = f"public key {clean(line, 40)!r} is not one OpenSSH line"
        raise _bad(msg)
    return line


def _bad(msg: str, hint: str | None = None) -> BadInput:
    return BadInput(msg, bill="nothing was rented", hint=hint)


def _price(offer: Offer, spec: CreateSpec) -> float | None:
    """Return the bid, or None for on-demand.

    A create without a price rents on-demand at twice the cost, whatever was
    searched for (vast-cli#403); a bid under the minimum makes a stopped,
    billed instance (dstack#4036). Neither is sent.
    """
    if offer.rental != "spot":
        if spec.bid_usd_h is not None:
            msg = (
                f"bid: {spec.bid_usd_h!r} $/h for an {offer.rental} offer; only interruptible ones take a bid"
            )
            raise _bad(msg, "search with --spot")
        return None
    lowest = offer.raw.get("min_bid")  # without the premium, which a bid does not cover
    lowest = min(offer.usd_h, lowest) if isinstance(lowest, (int, float)) else offer.usd_h
    bid = lowest if spec.bid_usd_h is None else spec.bid_usd_h
    most = 32.0 * max(offer.gpus, 1)
    if not (math.isfinite(bid) and 0 < bid <= most):
        msg = f"bid: {bid!r} $/h must be above 0 and at most {most:g} (32 for each GPU)"
        raise _bad(msg)
    if bid < lowest - 1e-9:
        msg = f"bid: {bid:g} $/h is below the lowest that wins now, {lowest:g}"
        raise _bad(msg, "leave the bid out to pay the lowest that wins now")
    return bid


def _disk(offer: Offer, spec: CreateSpec) -> float:
    disk = max(spec.disk_gb, MIN_DISK_GB)
    if not math.isfinite(disk) or disk > offer.disk_max_gb:
        msg = f"disk: {disk:g} GB; this offer has {offer.disk_max_gb:g}, and it can't grow later"
        raise _bad(msg)
    return disk


def variables(spec: CreateSpec) -> dict[str, str]:
    """Build the variables, and the ports as the keys that Vast expects."""
    made: dict[str, str] = {}
    for name, value in spec.env.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            msg = f"env: {name!r} is not a variable's name"
            raise _bad(msg)
        if len(value) > _MAX_VALUE or not value.isprintable():
            msg = f"env {name}: {len(value)} characters; a value is at most {_MAX_VALUE} printable ones"
            raise _bad(msg)
        made[name] = value
    for port in ports.wanted(spec.ports):
        number, protocol = ports.split(port)
        made[f"-p {number}:{number}{'/udp' if protocol == 'udp' else ''}"] = "1"
    if spec.hostname:
        made["-h"] = spec.hostname
    total = sum(len(name) + len(value) for name, value in made.items())
    if total > _MAX_ENV:
        msg = f"env: {total} characters in all; Vast.ai takes {_MAX_ENV}"
        raise _bad(msg)
    return made


def script(spec: CreateSpec) -> str:
    """Build the script that runs last at each start: the user's, then the entrypoint that SSH mode skips."""
    lines = [spec.onstart.strip()]
    if spec.entrypoint:
        lines.append(f"({spec.entrypoint}) >>/var/log/entrypoint.log 2>&1 </dev/null &")
    return "\n".join(line for line in lines if line)


def _login(spec: CreateSpec) -> str | None:
    """Build the registry's login as the arguments that Vast passes to docker; it splits them at blanks."""
    login = spec.login
    if login is None:
        return None
    words = (login.user, login.password.get_secret_value(), login.server)
    if any(not word or not word.isprintable() or re.search(r"[\s'\"\\\\]", word) for word in words):
        msg = "login: Vast.ai takes no blanks or quotes in a registry's name, user and password"
        raise _bad(msg)
    return f"-u {words[0]} -p {words[1]} {words[2]}"


def _volume(spec: CreateSpec) -> dict[str, Any] | None:
    new = spec.extra.get("create_volume")
    if len(spec.volumes) + bool(new) > 1:
        msg = f"volumes: {len(spec.volumes) + bool(new)}; Vast.ai attaches one to an instance"
        raise _bad(msg)
    if new:
        return {
            "create_new": True,
            "volume_id": int(new["offer"]),
            "size": int(new["size_gb"]),
            "mount_path": _mount(new["mount"]),
            **({"name": _name(new["name"])} if new.get("name") else {}),
        }
    for ident, mount in spec.volumes.items():
        if not str(ident).isdecimal():
            msg = f"volumes: id {ident!r} must be a number"
            raise _bad(msg)
        return {"create_new": False, "volume_id": int(ident), "mount_path": _mount(mount)}
    return None


def _mount(path: object) -> str:
    text = str(path)
    if not text.startswith("/") or text.rstrip("/") in ("", "/root") or not text.isprintable():
        msg = f"volumes: {text!r} must be an absolute path, not / or /root (SSH would break)"
        raise _bad(msg)
    return text


def _name(name: object) -> str:
    text = str(name)
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", text):
        msg = f"volumes: name {text!r} must be 1 to 64 letters, digits and _"
        raise _bad(msg)
    return text

"""Validation of what is rented from the local provider, by field, value and rule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gpunb import paths
from gpunb.errors import BadInput, OfferGone
from gpunb.providers.local import machine
from gpunb.providers.local.environment import check_env

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.providers.base import CreateSpec, Offer

__all__ = ["NOTHING", "check_label", "check_spec", "price"]

NOTHING = "nothing was rented"


def price(options: Mapping[str, Any], option: str) -> float:
    """Return the option as US dollars an hour, 0 if it is not set.

    Raises
    ------
    BadInput
        It is no finite number from 0 up.
    """
    value = options.get(option, 0.0)
    try:
        price = float(value)
    except (TypeError, ValueError):
        price = math.nan
    if not (math.isfinite(price) and price >= 0):
        msg = f"local: {option} = {value!r} must be a price in US dollars an hour, from 0 up"
        raise BadInput(msg, bill=NOTHING)
    return price


def check_spec(offer: Offer, spec: CreateSpec) -> None:
    """Refuse a specification that can't be rented here, by field.

    Raises
    ------
    OfferGone
        `offer` is not this machine's.
    BadInput
        A field of `spec` breaks a rule.
    """
    if offer.provider != "local" or offer.id != "local":
        msg = f"offer {offer.provider}/{offer.id} is not this machine; its only offer is local/local"
        raise OfferGone(msg, provider="local", bill=NOTHING)
    check_label(spec.label)
    check_env(spec.env)
    words = spec.public_key.split()
    if len(words) < 2 or "\n" in spec.public_key.strip():
        msg = "public_key: one OpenSSH line is expected ('ssh-ed25519 AAAA…')"
        raise BadInput(msg, bill=NOTHING)
    if not (math.isfinite(spec.disk_gb) and spec.disk_gb >= 0):
        msg = f"disk_gb: {spec.disk_gb} must be a size in GB, from 0 up"
        raise BadInput(msg, bill=NOTHING)
    free = machine.disk_free_gb(paths.local_dir())
    if spec.disk_gb > free:
        msg = f"disk_gb: {spec.disk_gb:g} GB are more than the {free:.0f} GB that are free here"
        raise BadInput(msg, bill=NOTHING)


def check_label(label: str) -> None:
    """Refuse a label that lists and terminals can't show."""
    if not 0 < len(label) <= 200 or not label.isprintable():
        msg = f"label: {label[:60]!r} must be 1 to 200 printable characters"
        raise BadInput(msg, bill="nothing was changed")

"""Offers as stored in the ledger, and the short name of their machine."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.providers.models import Offer

__all__ = ["machine", "offer_from_dict", "offer_to_dict"]

_RAW_MAX = 16_384


def offer_to_dict(offer: Offer) -> dict[str, Any]:
    """Convert `offer` to JSON values; an infinite ``disk_max_gb`` and a huge ``raw`` are left out."""
    out = {f.name: getattr(offer, f.name) for f in fields(offer)}
    if math.isinf(offer.disk_max_gb):
        del out["disk_max_gb"]
    try:
        raw = json.dumps(out["raw"], default=str)
    except (TypeError, ValueError):
        raw = ""
    if not raw or len(raw) > _RAW_MAX:
        del out["raw"]
    else:
        out["raw"] = json.loads(raw)
    return out


def machine(gpu: str, gpus: int) -> str:
    """The machine's short name: ``"2x H100 SXM"``, or ``"cpu"``."""
    if not gpu:
        return "cpu"
    return f"{gpus}x {gpu}" if gpus > 1 else gpu


def offer_from_dict(data: Mapping[str, Any]) -> Offer:
    """Rebuild an offer from `offer_to_dict`; unknown keys are left out."""
    from gpunb.providers.models import Offer  # its package brings all shapes of the clouds along

    known = {f.name for f in fields(Offer)}
    values = {key: value for key, value in data.items() if key in known}
    return Offer(**{"provider": "", "id": "", **values})

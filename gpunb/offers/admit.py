"""Validation and normalisation of every offer that a cloud returns.

What a cloud or a stranger's host wrote is not trusted: a price of NaN, a
string where a number belongs or a control character in an id leaves that
offer out, with the reason, and never stops the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from gpunb.offers.gpus import normalise, snap_vram
from gpunb.offers.language.fields import KINDS, RENTALS, TRUST
from gpunb.offers.regions import country_of
from gpunb.offers.text import clean
from gpunb.providers.base import Offer

__all__ = ["LIMITS", "LeftOut", "admit"]

# upper bounds that every real machine is below; all values are at least 0
LIMITS: dict[str, float] = {
    "gpus": 1024,
    "vram_gb": 2000.0,
    "usd_h": 100_000.0,
    "disk_usd_gb_h": 100.0,
    "disk_included_gb": 1e7,
    "up_usd_gb": 1000.0,
    "down_usd_gb": 1000.0,
    "increment_s": 31_536_000.0,
    "reserve_h": 87_600.0,
    "cores": 100_000.0,
    "ram_gb": 1e6,
    "inet_up_mbps": 1e8,
    "inet_down_mbps": 1e8,
    "disk_mbps": 1e8,
    "available": 1_000_000,
}
LONGEST_ID = 256
LONGEST_TEXT = 80
LONGEST_LINE = 160  # of the short texts together; the texts of a longer row are checked one by one
_TEXTS = ("cpu", "machine_id", "host_id", "region", "country", "rental", "kind", "trust")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An offer that was refused, and the reason in one line."""

    provider: str
    id: str
    reason: str


def admit(provider: str, offers: Iterable[Any]) -> tuple[list[Offer], list[LeftOut]]:
    """Check and normalise the offers of `provider`, in place; return the valid ones, and why others are not.

    Names, regions and memory sizes are normalised once for each spelling, so
    that a row costs about two microseconds.
    """
    kept: list[Offer] = []
    refused: list[LeftOut] = []
    keep = kept.append
    models: dict[tuple[str, float], tuple[str, float]] = {}
    places: dict[tuple[str, str], tuple[str, str]] = {}
    for offer in offers:
        try:
            # one chain instead of a loop over names: it runs for every row, and NaN fails it too
            sane = (
                0 <= offer.usd_h <= 1e5
                and 0 <= offer.gpus <= 1024
                and 0 <= offer.vram_gb <= 2000
                and 0 <= offer.disk_usd_gb_h <= 100
                and 0 <= offer.disk_included_gb <= 1e7
                and offer.disk_max_gb >= 0
                and 0 <= offer.up_usd_gb <= 1000
                and 0 <= offer.down_usd_gb <= 1000
                and 0 <= offer.increment_s <= 31_536_000
                and 0 <= offer.reserve_h <= 87_600
                and 0 <= offer.cores <= 100_000
                and 0 <= offer.ram_gb <= 1e6
                and 0 <= offer.inet_up_mbps <= 1e8
                and 0 <= offer.inet_down_mbps <= 1e8
                and 0 <= offer.disk_mbps <= 1e8
                and 0 <= offer.available <= 1_000_000
                and ((found := offer.reliability) is None or 0 <= found <= 1)
                and ((found := offer.cuda) is None or 0 <= found <= 1000)
                and offer.rental in _RENTAL
                and offer.kind in _KIND
                and offer.trust in _TRUST
            )
            raw_name = offer.gpu_raw or offer.gpu
            joined = "".join(  # noqa: FLY002 - an f-string would take a number for text
                (offer.id, raw_name, offer.cpu, offer.machine_id, offer.host_id)
            )
            place = (offer.region, offer.country)
            spelled = (raw_name, offer.vram_gb)
            easy = (
                sane
                and type(offer.id) is type(offer.region) is type(offer.country) is str
                and type(offer.raw) is dict
                and 0 < len(offer.id) <= len(joined) <= LONGEST_LINE
                and joined.isprintable()
                # a Decimal or a Fraction passes the limits, but not the arithmetic that follows
                and {
                    type(offer.usd_h),
                    type(offer.disk_usd_gb_h),
                    type(offer.disk_included_gb),
                    type(offer.up_usd_gb),
                    type(offer.down_usd_gb),
                    type(offer.increment_s),
                    type(offer.gpus),
                    type(offer.vram_gb),
                    type(offer.reserve_h),
                    type(offer.cores),
                    type(offer.ram_gb),
                    type(offer.inet_up_mbps),
                    type(offer.inet_down_mbps),
                    type(offer.disk_mbps),
                    type(offer.disk_max_gb),
                    type(offer.available),
                    type(offer.reliability),
                    type(offer.cuda),
                }
                <= _PLAIN
            )
        except (TypeError, AttributeError, ArithmeticError):  # the last from a Decimal NaN
            easy = False
        if not easy:
            reason = _mend(offer)
            if reason:
                refused.append(LeftOut(provider, _id_of(offer), reason))
                continue
            raw_name = offer.gpu_raw or offer.gpu
            place = (offer.region, offer.country)
            spelled = (raw_name, offer.vram_gb)
        known = models.get(spelled)
        if known is None:
            known = models[spelled] = _model(*spelled)
        offer.gpu_raw = raw_name
        offer.gpu, offer.vram_gb = known
        where = places.get(place)
        if where is None:
            where = places[place] = _place(*place)
        offer.region, offer.country = where
        offer.provider = provider
        keep(offer)
    return kept, refused


_PLAIN = frozenset((int, float, bool, type(None)))
_RENTAL = frozenset(RENTALS.values())
_KIND = frozenset(KINDS.values())
_TRUST = frozenset(TRUST.values())


def _model(raw: str, vram_gb: float) -> tuple[str, float]:
    if not raw:
        return "", float(vram_gb)
    model = normalise(raw)
    return model.name, snap_vram(vram_gb or model.vram_said, model.vram)


def _place(region: str, country: str) -> tuple[str, str]:
    shown = clean(region, LONGEST_TEXT)
    return shown, country_of(clean(country, LONGEST_TEXT)) or country_of(shown)


def _mend(offer: Any) -> str:
    """Repair an odd offer, or return why it is unusable; "" if it is valid now."""
    if not isinstance(offer, Offer):
        return f"{type(offer).__name__} is not an offer"
    ident: Any = offer.id
    if not isinstance(ident, str) or not 0 < len(ident) <= LONGEST_ID or not ident.isprintable():
        return f"id {_shown(ident)}: 1 to {LONGEST_ID} printable characters are expected"
    raw: Any = offer.raw
    if not isinstance(raw, Mapping):
        return f"raw {_shown(raw)}: a mapping is expected"
    for name, top in (*LIMITS.items(), ("disk_max_gb", math.inf)):
        if reason := _mend_number(offer, name, top):
            return reason
    for name, top in (("reliability", 1.0), ("cuda", 1000.0)):
        if getattr(offer, name) is not None and (reason := _mend_number(offer, name, top)):
            return reason
    return _mend_texts(offer)


def _mend_number(offer: Offer, name: str, top: float) -> str:
    value = getattr(offer, name)
    if isinstance(value, (Decimal, Fraction)):
        try:
            value = float(value)
        except (ArithmeticError, ValueError):
            return f"{name} is a number that no machine has"
        setattr(offer, name, value)
    if isinstance(value, (int, float)) and 0 <= value <= top:
        return ""
    return f"{name} {_shown(value)}: a number from 0 {f'to {top:g}' if top < math.inf else 'up'} is expected"


def _mend_texts(offer: Offer) -> str:
    for name in ("gpu", "gpu_raw"):
        value = getattr(offer, name)
        if not isinstance(value, str):
            return f"{name} {_shown(value)}: text is expected"
        setattr(offer, name, clean(value, 2 * LONGEST_TEXT))
    for name in _TEXTS:
        value = getattr(offer, name)
        if isinstance(value, int):
            value = str(value)
        if not isinstance(value, str):
            return f"{name} {_shown(value)}: text is expected"
        setattr(offer, name, clean(value, LONGEST_TEXT))
    offer.kind = KINDS.get(offer.kind.lower(), offer.kind)
    offer.rental = RENTALS.get(offer.rental.lower(), offer.rental)
    if offer.kind not in _KIND or offer.rental not in _RENTAL:
        return f"kind {offer.kind!r}, rental {offer.rental!r}: not words that gpunb knows"
    # anything not certainly better counts as a stranger's
    offer.trust = TRUST.get(offer.trust.lower(), "stranger")
    return ""


def _shown(value: object) -> str:
    if isinstance(value, str):
        return repr(clean(value, 40))
    if isinstance(value, int) and abs(value) >= 10**15:
        return "of more than 15 digits"
    return clean(repr(value)[:200], 40) if isinstance(value, (int, float)) else type(value).__name__


def _id_of(offer: Any) -> str:
    found = getattr(offer, "id", "")
    return clean(found, 40) if isinstance(found, str) else type(found).__name__

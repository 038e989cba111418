"""Conversion of Vast's offer rows to gpunb's offers: thousands at a time, so no model per row.

A row that can't be priced or named is skipped, with a warning that says which
field and value; an odd value in a field that only informs is left out.
"""

from __future__ import annotations

import logging
from collections import Counter
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from gpunb.providers.base import Offer, Provider
from gpunb.providers.edge.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["HOURS_A_MONTH", "MIN_DISK_GB", "country", "map_offers", "place"]

_log = logging.getLogger("gpunb.providers.vast")

#: Disk is priced by the month; gpuhunt and Vast's own figures take 30 days.
HOURS_A_MONTH = Provider.month_h
#: The smallest disk that the API takes (creating-instances-with-api).
MIN_DISK_GB = 8.0

_WARNINGS_SHOWN = 5
_ROW, _ID, _NAME = "(row)", "id", "gpu_name"

_INF = float("inf")
_PLAIN = frozenset((int, float))
_INFORMS = (
    "gpu_ram",
    "disk_space",
    "inet_up_cost",
    "inet_down_cost",
    "cpu_ram",
    "inet_up",
    "inet_down",
    "disk_bw",
    "cpu_cores_effective",
    "cpu_cores",
)
_informing = itemgetter(*_INFORMS)


class _OddError(Exception):
    """A required field is missing or unusable: the row is skipped."""

    def __init__(self, field: str, value: object) -> None:
        super().__init__(field)
        self.field, self.value = field, value


def map_offers(rows: Iterable[Any], *, rental: str) -> list[Offer]:
    """Convert `rows` of one search to offers; `rental` is the kind that was searched for.

    Prices
    ------
    ``usd_h`` is the machine without disk: ``dph_base``, or for interruptible
    ones the lowest bid that wins now, ``min_bid``, and what Vast's own total of
    the row (``search``) has beyond GPU and disk, an SLA's premium. ``dph_total``
    holds the disk of the search and no traffic, so it is not used. A reserved offer
    costs the on-demand price until the instance is prepaid
    (`VastProvider.prepay`), so that is its price; ``raw["credit_discount_max"]``
    says how much lower it can get.
    """
    out: list[Offer] = []
    odd: Counter[str] = Counter()
    for row in rows:
        try:
            out.append(_offer(row, rental))
        except _OddError as err:  # noqa: PERF203 - a bad row must not lose the others
            odd[err.field] += 1
            if odd.total() <= _WARNINGS_SHOWN:
                name = clean(row.get("id"), 40) if isinstance(row, dict) else "?"
                value = clean(repr(err.value), 120)
                _log.warning("vast: offer %s skipped: field %s is %s", name, err.field, value)
    if odd.total() > _WARNINGS_SHOWN:
        kinds = ", ".join(f"{field} ({count})" for field, count in odd.most_common())
        _log.warning("vast: %d offers skipped for odd values in %s", odd.total(), kinds)
    return out


def _offer(row: Any, rental: str) -> Offer:
    if not isinstance(row, dict):
        raise _OddError(_ROW, row)
    ident = row.get("id")
    if type(ident) is not int and not (isinstance(ident, str) and ident.isdecimal()):
        raise _OddError(_ID, ident)
    name = row.get("gpu_name")
    if not isinstance(name, str) or not name or len(name) > 100:
        raise _OddError(_NAME, name)
    spot = rental == "spot"
    gpus = _needed(row, "num_gpus", 1024)
    vram, disk, up_cost, down_cost, memory, up, down, disk_bw, got, there = _numbers(row)
    cores = got if got > 0 else there
    region, code = place(row.get("geolocation"))
    gpu = _name(name)
    verified = row.get("verification") == "verified" or row.get("verified") is True
    return Offer(
        provider="vast",
        id=str(ident),
        gpu=gpu,
        gpu_raw=gpu,
        gpus=int(gpus),
        vram_gb=vram / 1000.0,
        usd_h=_needed(row, "min_bid" if spot else "dph_base", 10_000) + _premium(row),
        disk_usd_gb_h=_needed(row, "storage_cost", 1_000) / HOURS_A_MONTH,
        disk_max_gb=disk or _INF,
        up_usd_gb=up_cost,
        down_usd_gb=down_cost,
        increment_s=1.0,
        bills_boot=False,
        ends=_maybe(row, "end_date"),
        bills_offline=False,  # "not charged … for instances that are currently offline" (its page on pricing)
        rental=rental,
        region=region,
        country=code,
        cpu=_name(row.get("cpu_name")),
        cores=cores,
        ram_gb=memory / 1000.0,
        inet_up_mbps=up,
        inet_down_mbps=down,
        disk_mbps=disk_bw,
        reliability=_maybe(row, "reliability2", "reliability"),
        verified=verified,
        # "secure cloud": a data centre that Vast has verified; verified alone is a machine that works
        trust="datacenter" if row.get("hosting_type") == 1 and verified else "stranger",
        machine_id=_text(row.get("machine_id")),
        host_id=_text(row.get("host_id")),
        cuda=_maybe(row, "cuda_max_good"),
        raw=row,
    )


def _premium(row: Mapping[str, Any]) -> float:
    """Return US dollars an hour in Vast's total of a row that are neither GPU nor disk."""
    total = row.get("search")
    if not isinstance(total, dict):
        return 0.0
    named = _number(total, "slaPremiumPerHour")
    parts = ("totalHour", "gpuCostPerHour", "diskHour")
    if any(total.get(part) is None for part in parts):
        return named
    whole, gpu, disk = (_number(total, part) for part in parts)
    rest = whole - gpu - disk
    return max(named, rest if rest > 1e-6 else 0.0)


def country(place: str) -> str:
    """Return the two letters after the last comma of "City, CC".

    ", US" alone means that Vast does not know (its troubleshooting page), so it is "".
    """
    city, comma, code = place.rpartition(",")
    code = code.strip()
    return code.upper() if comma and city.strip() and len(code) == 2 and code.isalpha() else ""


@lru_cache(maxsize=1024)
def _short_name(text: str) -> str:
    return clean(text, 80)


def _name(value: object) -> str:
    # thousands of rows share a few dozen names; a long one is not worth caching
    if not isinstance(value, str):
        return ""
    return _short_name(value) if len(value) <= 100 else clean(value, 80)


@lru_cache(maxsize=1024)
def _short_place(text: str) -> tuple[str, str]:
    region = clean(text, 80)
    if region.startswith(","):
        return "", ""  # ", US" is how Vast says that it does not know
    return region, country(region)


def place(value: object) -> tuple[str, str]:
    """Convert a ``geolocation`` to region and country code; both "" if Vast does not know them (", US")."""
    if not isinstance(value, str):
        return "", ""
    return _short_place(value if len(value) <= 200 else clean(value, 80))


def _needed(row: Mapping[str, Any], field: str, most: float) -> float:
    value = row.get(field)
    if type(value) is not float and type(value) is not int:
        try:
            value = float(value) if isinstance(value, str) else None
        except ValueError:
            value = None
    if value is None or not 0 <= value <= most:  # also NaN
        raise _OddError(field, row.get(field))
    return value


def _numbers(row: Mapping[str, Any]) -> tuple[float, ...]:
    """Convert the fields of `_INFORMS` with `_number`, at once where all are as documented."""
    try:
        found: tuple[float, ...] = _informing(row)
        # the sum is NaN if one of them is
        if _PLAIN.issuperset(map(type, found)) and min(found) >= 0 and sum(found) < 1e12:
            return found
    except (KeyError, OverflowError):  # missing, or a whole number beyond all floats
        pass
    return tuple(_number(row, field) for field in _INFORMS)


def _number(row: Mapping[str, Any], field: str) -> float:
    """Convert a number that only informs; 0 where it is missing or makes no sense."""
    value = row.get(field)
    if type(value) is float or type(value) is int:
        return value if 0 <= value < 1e12 else 0.0
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return 0.0
        return number if 0 <= number < 1e12 else 0.0
    return 0.0


def _maybe(row: Mapping[str, Any], *fields: str) -> float | None:
    for field in fields:
        if row.get(field) is not None:
            return _number(row, field) or None
    return None


def _text(value: object) -> str:
    return str(value) if type(value) is int else clean(value, 40) if value is not None else ""

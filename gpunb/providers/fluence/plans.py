"""Conversion of Fluence's plans to offers: a flat list for containers, groups of groups for machines."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from gpunb.errors import BadAnswer
from gpunb.providers.base import Offer
from gpunb.providers.edge.payload import Wire, parse
from gpunb.providers.edge.text import clean
from gpunb.providers.fluence.api import NAME, gigabytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PATHS", "container_offers", "machine_offers"]

_log = logging.getLogger("gpunb.providers.fluence")

#: gpunb's word for a kind -> the end of Fluence's paths
PATHS = {"container": "", "vm": "vms", "bare-metal": "baremetal"}
_NUMBERS = {int, float}
_PREFIX = {"vm": "vm:", "bare-metal": "bm:"}


class _Gpu(Wire):
    model: str
    vram: str | None = None
    interface: str | None = None


class _Pricing(Wire):
    hour: float
    upfront_hours: float = 3.0
    currency: str = "USDC"


class _Supply(Wire):
    vcpu: dict[str, Any] = Field(default_factory=dict)
    memory: Any = None
    storage: Any = None


class _Rentable(Wire):
    """A container plan or an option of a machine."""

    id: str
    pricing: _Pricing


class _Facts(NamedTuple):
    """The fields that both kinds of rows have, in gpunb's units."""

    id: str
    usd_h: float
    upfront_h: float
    cores: float
    ram_gb: float
    disk_gb: float


def container_offers(answer: list[Any]) -> Iterator[Offer]:
    """Return one offer for each plan and location."""
    for row in answer:
        plan = row.get("plan") if isinstance(row, dict) else None
        facts = _facts(plan, plan.get("supply") if isinstance(plan, dict) else None, "a container plan")
        card = _card_of(plan, "a container plan") if facts else None
        if plan is None or facts is None or card is None:
            continue
        attributes = row.get("attributes")
        places = attributes.get("location") if isinstance(attributes, dict) else None
        supply = plan.get("supply")
        count = supply.get("gpu_count") if isinstance(supply, dict) else None
        for place in places if isinstance(places, list) and places else ("",):
            region = str(place)
            offer_id = f"{facts.id}/{region}" if region else facts.id
            yield _offer(offer_id, facts, card, count, kind="container", region=region, host="", raw=row)


def machine_offers(answer: Mapping[str, Any], kind: str) -> Iterator[Offer]:
    """Return one offer for each option of each group; `kind` is "vm" or "bare-metal"."""
    groups = answer.get("data")
    if not isinstance(groups, list):
        msg = f"fluence: {kind} plans: field data must be a list; it is {clean(repr(groups), 120)}"
        raise BadAnswer(msg, provider=NAME)
    what = f"a {kind} plan"
    for group in groups:
        card = _card_of(group, what)
        numbers = group.get("availability_by_number") if card else None
        for number in numbers if isinstance(numbers, list) else ():
            options = number.get("options") if isinstance(number, dict) else None
            for row in options if isinstance(options, list) else ():
                facts = _facts(row, row, what)
                if facts is None or card is None:
                    continue
                yield _offer(
                    _PREFIX[kind] + facts.id,
                    facts,
                    card,
                    number.get("gpu_count"),
                    kind=kind,
                    region=str(row.get("location") or ""),
                    host=str(row.get("provider") or ""),
                    raw={**row, "gpu_model": group["gpu_model"]},
                )


def _facts(row: Any, supply: Any, what: str) -> _Facts | None:
    """Return the row's facts; None, and a log entry, if it can't be used.

    The documented shape is read straight, for speed; anything else goes
    through the models, which know what may be missing and say what is wrong.
    """
    try:
        price = row["pricing"]
        own, hour, upfront, cores = row["id"], price["hour"], price["upfront_hours"], supply["vcpu"]["count"]
        if type(own) is str and {type(hour), type(upfront), type(cores)} <= _NUMBERS:
            return _Facts(
                own, hour, upfront, cores, gigabytes(supply["memory"]), gigabytes(supply["storage"])
            )
    except (KeyError, TypeError):
        pass
    try:
        rentable = parse(_Rentable, row, provider=NAME, what=what)
        size = parse(_Supply, supply if isinstance(supply, dict) else {}, provider=NAME, what=what)
    except BadAnswer as err:
        _log.warning("a plan is left out: %s", err.message)
        return None
    found = size.vcpu.get("count")
    return _Facts(
        rentable.id,
        rentable.pricing.hour,
        rentable.pricing.upfront_hours,
        found if isinstance(found, (int, float)) else 0.0,
        gigabytes(size.memory),
        gigabytes(size.storage),
    )


def _card_of(row: Any, what: str) -> tuple[str, float] | None:
    """Return name and memory of the row's GPU model; None, and a log entry, if it has none."""
    try:
        gpu = parse(_Gpu, row["gpu_model"], provider=NAME, what=what) if not _plain(row) else None
    except (BadAnswer, KeyError, TypeError) as err:
        _log.warning("a plan is left out: %s: no GPU model: %s", what, clean(repr(err)))
        return None
    if gpu is not None:
        return _card(gpu.model, gpu.vram or "", gpu.interface or "")
    model = row["gpu_model"]
    return _card(model["model"], model["vram"], model["interface"])


def _plain(row: Any) -> bool:
    model = row["gpu_model"]
    return type(model) is dict and all(
        type(model.get(name)) is str for name in ("model", "vram", "interface")
    )


@lru_cache(maxsize=512)
def _card(model: str, vram: str, interface: str) -> tuple[str, float]:
    # Fluence writes the makers' figure with a suffix: an H200 has 141 GB and is "141Gi" here
    memory = re.match(r"\s*(\d+(?:\.\d+)?)", vram)
    # "h200" with "SXM" in one list, "sxm" in the other: one spelling
    return f"{model} {interface}".strip().upper(), float(memory[1]) if memory else 0.0


def _offer(
    offer_id: str,
    found: _Facts,
    card: tuple[str, float],
    gpus: object,
    *,
    kind: str,
    region: str,
    host: str,
    raw: Mapping[str, Any],
) -> Offer:
    name, vram_gb = card
    return Offer(
        provider=NAME,
        id=offer_id,
        gpu=name,
        gpu_raw=name,
        gpus=gpus if isinstance(gpus, int) else 1,
        vram_gb=vram_gb,
        usd_h=found.usd_h,
        disk_included_gb=found.disk_gb,
        disk_max_gb=found.disk_gb,
        disk_sized=False,
        increment_s=3600.0,
        clock_hours=True,
        reserve_h=found.upfront_h,
        kind=kind,
        region=region,
        country=_country(region),
        cores=found.cores,
        ram_gb=found.ram_gb,
        verified=True,
        trust="datacenter",
        host_id=host,
        raw=raw,
    )


_COUNTRIES = {
    "usa": "US",
    "gbr": "GB",
    "uk": "GB",
    "can": "CA",
    "deu": "DE",
    "fra": "FR",
    "nld": "NL",
    "nor": "NO",
}
_COUNTRIES |= {"pol": "PL", "fin": "FI", "jpn": "JP", "sgp": "SG", "ind": "IN", "isl": "IS", "swe": "SE"}


@lru_cache(maxsize=512)
def _country(region: str) -> str:
    """Return a country code as it is; "dulles-usa-1" by its middle word."""
    if re.fullmatch(r"[A-Za-z]{2}", region):
        return region.upper()
    return next((_COUNTRIES[word] for word in region.lower().split("-") if word in _COUNTRIES), "")

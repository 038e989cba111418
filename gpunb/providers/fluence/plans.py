"""Fluence's plans as offers: a flat list for containers, groups of groups for machines."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from gpunb.errors import BadAnswer
from gpunb.providers.base import Offer
from gpunb.providers.fluence.api import NAME, gigabytes
from gpunb.providers.text import clean
from gpunb.providers.wire import Wire, parse

__all__ = ["PATHS", "container_offers", "default_os", "machine_offers"]

_log = logging.getLogger("gpunb.providers.fluence")

#: gpunb's word for a kind -> the end of Fluence's paths
PATHS = {"container": "", "vm": "vms", "bare-metal": "baremetal"}
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
    memory: dict[str, Any] = Field(default_factory=dict)
    storage: dict[str, Any] = Field(default_factory=dict)
    gpu_count: int = 1


class _Plan(Wire):
    id: str
    gpu_model: _Gpu
    pricing: _Pricing
    supply: _Supply = Field(default_factory=_Supply)
    name: str = ""


class _Option(Wire):
    id: str
    pricing: _Pricing
    location: str = ""
    provider: str = ""
    vcpu: dict[str, Any] = Field(default_factory=dict)
    memory: dict[str, Any] = Field(default_factory=dict)
    storage: dict[str, Any] = Field(default_factory=dict)
    os_options: list[str] = Field(default_factory=list)


def container_offers(answer: list[Any]) -> Iterator[Offer]:
    """One offer for each plan and location."""
    for row in answer:
        try:
            inner = row.get("plan") if isinstance(row, Mapping) else row
            plan = parse(_Plan, inner, provider=NAME, what="a container plan")
        except BadAnswer as err:
            _log.warning("a plan is left out: %s", err.message)
            continue
        attributes = row.get("attributes")
        places = attributes.get("location") if isinstance(attributes, Mapping) else None
        supply = plan.supply
        for place in places if isinstance(places, list) and places else [""]:
            yield _offer(
                f"{plan.id}/{place}" if place else plan.id,
                plan.gpu_model,
                plan.pricing,
                supply.model_dump(),
                supply.gpu_count,
                kind="container",
                region=str(place),
                raw=row,
            )


def machine_offers(answer: Mapping[str, Any], kind: str) -> Iterator[Offer]:
    """One offer for each option of each group; `kind` is "vm" or "bare-metal"."""
    groups = answer.get("data")
    if not isinstance(groups, list):
        msg = f"fluence: {kind} plans: field data must be a list; it is {clean(repr(groups), 120)}"
        raise BadAnswer(msg, provider=NAME)
    for group in groups:
        try:
            gpu = parse(_Gpu, group["gpu_model"], provider=NAME, what=f"a group of {kind} plans")
            numbers = list(group["availability_by_number"])
        except (BadAnswer, KeyError, TypeError) as err:
            _log.warning("a group of %s plans is left out: %s", kind, clean(repr(err)))
            continue
        for number in numbers:
            for row in number.get("options") or () if isinstance(number, Mapping) else ():
                try:
                    option = parse(_Option, row, provider=NAME, what=f"a {kind} option")
                except BadAnswer as err:
                    _log.warning("an option is left out: %s", err.message)
                    continue
                count = number.get("gpu_count")
                yield _offer(
                    _PREFIX[kind] + option.id,
                    gpu,
                    option.pricing,
                    option.model_dump(include={"vcpu", "memory", "storage"}),
                    count if isinstance(count, int) else 1,
                    kind=kind,
                    region=option.location,
                    raw={**row, "gpu_model": group["gpu_model"]},
                    host=option.provider,
                )


def default_os(options: list[str]) -> str:
    """The option that a GPU user wants: with CUDA if there is one, then the newest Ubuntu."""

    def rank(name: str) -> tuple[bool, bool, list[int]]:
        low = name.lower()
        return "cuda" in low, "ubuntu" in low, [int(part) for part in re.findall(r"\d+", low)]

    return max(options, key=rank, default="")


def _offer(
    offer_id: str,
    gpu: _Gpu,
    pricing: _Pricing,
    supply: Mapping[str, Any],
    gpus: int,
    *,
    kind: str,
    region: str,
    raw: Mapping[str, Any],
    host: str = "",
) -> Offer:
    # "h200" with "SXM" here, "sxm" there: one spelling
    name = f"{gpu.model} {gpu.interface or ''}".strip().upper()
    vcpu = supply.get("vcpu") or {}
    storage = gigabytes(supply.get("storage"))
    # Fluence writes the makers' figure with a suffix: an H200 has 141 GB and is "141Gi" here
    vram = re.match(r"\s*(\d+(?:\.\d+)?)", gpu.vram or "")
    return Offer(
        provider=NAME,
        id=offer_id,
        gpu=name,
        gpu_raw=name,
        gpus=gpus,
        vram_gb=float(vram[1]) if vram else 0.0,
        usd_h=pricing.hour,
        disk_included_gb=storage,
        disk_max_gb=storage,
        increment_s=3600.0,
        clock_hours=True,
        reserve_h=pricing.upfront_hours,
        kind=kind,
        region=region,
        country=_country(region),
        cores=float(vcpu.get("count") or 0),
        ram_gb=gigabytes(supply.get("memory")),
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


def _country(region: str) -> str:
    """A country code as it is; "dulles-usa-1" by its middle word."""
    if re.fullmatch(r"[A-Za-z]{2}", region):
        return region.upper()
    return next((_COUNTRIES[word] for word in region.lower().split("-") if word in _COUNTRIES), "")

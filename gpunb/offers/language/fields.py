"""The fields of the query language: name, type, and how each is read from an offer.

gpunb's own names come first; those that Vast.ai's documentation lists are accepted
too, as aliases where they mean the same, and read from the cloud's own record
where only Vast has them (then a machine of another cloud never fits).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from gpunb.providers.base import Offer, Provider

if TYPE_CHECKING:
    from gpunb.offers.pricing import Terms

__all__ = ["FIELDS", "KINDS", "RENTALS", "TRUST", "Field", "find", "suggest"]

NAN = math.nan
KINDS = {"container": "container", "docker": "container", "vm": "vm", "bare-metal": "bare-metal",
         "baremetal": "bare-metal", "bare_metal": "bare-metal", "metal": "bare-metal"}  # fmt: skip
RENTALS = {"on-demand": "on-demand", "ondemand": "on-demand", "on_demand": "on-demand", "spot": "spot",
           "interruptible": "spot", "bid": "spot", "reserved": "reserved"}  # fmt: skip
TRUST = {"own": "own", "datacenter": "datacenter", "data-center": "datacenter", "stranger": "stranger"}

Getter = Callable[[Offer], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of the query language.

    Attributes
    ----------
    kind
        "number", "text", "gpu", "region", "choice" or "bool".
    dimension
        The unit of a number, a key of `gpunb.offers.language.units.UNITS`.
    get
        Reads the value under the user's terms; NaN or "" if it is not known.
    choices
        The values of a choice, with their other spellings.
    low, high
        The bounds of a sensible number.
    """

    name: str
    kind: str
    doc: str
    get: Callable[[Terms], Getter]
    dimension: str = ""
    aliases: tuple[str, ...] = ()
    choices: dict[str, str] | None = None
    low: float = -math.inf
    high: float = math.inf


def _attr(name: str) -> Callable[[Terms], Getter]:
    get: Getter = attrgetter(name)
    return lambda _terms: get


def _or_nan(name: str) -> Callable[[Terms], Getter]:
    """Convert zero or None, which mean that the cloud does not say, to NaN."""
    get = attrgetter(name)

    def read(offer: Offer) -> float:
        return get(offer) or NAN

    return lambda _terms: read


def _reliability(offer: Offer) -> float:
    return NAN if offer.reliability is None else offer.reliability


def _raw_number(key: str, unit: float = 1.0) -> Callable[[Terms], Getter]:
    def read(offer: Offer) -> float:
        value = offer.raw.get(key)
        return value / unit if isinstance(value, (int, float)) and abs(value) < 1e300 else NAN

    return lambda _terms: read


def _raw_bool(key: str) -> Callable[[Terms], Getter]:
    return lambda _terms: lambda offer: offer.raw.get(key) in (True, 1, "true")


def _raw_text(key: str) -> Callable[[Terms], Getter]:
    def read(offer: Offer) -> str:
        value = offer.raw.get(key)
        return str(value)[:200] if isinstance(value, (str, int, float)) else ""

    return lambda _terms: read


def _number(name: str, doc: str, dimension: str = "", *aliases: str, **more: Any) -> Field:
    more.setdefault("get", _or_nan(name))
    return Field(name=name, kind="number", doc=doc, dimension=dimension, aliases=aliases, **more)


def _vast_number(name: str, doc: str, *aliases: str, unit: float = 1.0, dimension: str = "") -> Field:
    get = _raw_number(name, unit)
    return Field(
        name=name, kind="number", doc=f"{doc} (Vast.ai)", get=get, dimension=dimension, aliases=aliases
    )


def _vast_bool(name: str, doc: str) -> Field:
    return Field(name=name, kind="bool", doc=f"{doc} (Vast.ai)", get=_raw_bool(name))


def _vast_text(name: str, doc: str) -> Field:
    return Field(name=name, kind="text", doc=f"{doc} (Vast.ai)", get=_raw_text(name))


def _text(name: str, doc: str, *aliases: str, attribute: str = "") -> Field:
    return Field(name=name, kind="text", doc=doc, get=_attr(attribute or name), aliases=aliases)


def _choice(name: str, doc: str, choices: dict[str, str], *aliases: str) -> Field:
    return Field(name=name, kind="choice", doc=doc, get=_attr(name), choices=choices, aliases=aliases)


_ALL: tuple[Field, ...] = (
    Field(name="gpu", kind="gpu", doc="GPU model; a family means all its forms", get=_attr("gpu"),
          aliases=("gpu_name", "gpu_model")),
    _number("gpus", "how many GPUs the machine has", "", "num_gpus", "gpu_count",
            get=_attr("gpus"), low=0, high=100_000),
    _number("vram", "memory of one GPU", "GB", "gpu_ram", "vram_gb", get=_or_nan("vram_gb"), low=0),
    _number("price", "an hour of the machine, with the disk asked for", "$", "dph", "dph_total", "usd_h",
            get=lambda terms: terms.hourly, low=0),
    _number("total", "all hours asked for, with disk and traffic", "$", get=lambda terms: terms.total, low=0),
    _number("ready", "predicted time until the machine can be used", "s", "time_to_ready",
            get=lambda terms: terms.ready_s, low=0),
    Field(name="region", kind="region", doc="where: EU, US, a country or a piece of the cloud's own name",
          get=_attr("region"), aliases=("geolocation", "country", "location")),
    _text("cloud", "the provider's name", "provider", attribute="provider"),
    _choice("kind", "container, vm or bare-metal", KINDS, "type"),
    _choice("rental", "on-demand, spot or reserved", RENTALS),
    _choice("trust", "whose machine: own, datacenter or stranger", TRUST),
    Field(name="verified", kind="bool", doc="checked by the cloud", get=_attr("verified")),
    Field(name="datacenter", kind="bool", doc="in a data centre, not at a stranger's",
          get=lambda _terms: lambda offer: offer.trust != "stranger"),
    _number("disk", "disk that can be had; >= also asks for it", "GB", "disk_space", "disk_gb",
            get=_attr("disk_max_gb"), low=0),
    _number("cores", "processor cores", "", "cpu_cores_effective", "cpu_cores", "vcpu", "vcpus", low=0),
    _number("ram", "main memory", "GB", "cpu_ram", "ram_gb", "memory", get=_or_nan("ram_gb"), low=0),
    _text("cpu", "the processor's name", "cpu_name"),
    _number("inet_down", "the host's line towards it", "Mbps", "inet_down_mbps", "down",
            get=_or_nan("inet_down_mbps"), low=0),
    _number("inet_up", "the host's line away from it", "Mbps", "inet_up_mbps", "up",
            get=_or_nan("inet_up_mbps"), low=0),
    _number("disk_bw", "speed of the disk", "MB/s", "disk_mbps", get=_or_nan("disk_mbps"), low=0),
    _number("inet_down_cost", "a GB sent to the host", "$", get=_attr("down_usd_gb"), low=0),
    _number("inet_up_cost", "a GB sent by the host", "$", get=_attr("up_usd_gb"), low=0),
    _number("storage_cost", "a GB of disk for a month of 720 hours", "$",
            get=lambda _terms: lambda offer: offer.disk_usd_gb_h * Provider.month_h, low=0),
    _number("reliability", "share of the time that the host is up", "ratio", "reliability2",
            get=lambda _terms: _reliability, low=0, high=1),
    _number("cuda", "highest CUDA version of the driver", "", "cuda_max_good", "cuda_vers", "cuda_version"),
    _text("id", "the offer's id"),
    _text("machine_id", "the machine's id at its cloud", "machine"),
    _text("host_id", "the owner's id at its cloud", "host"),
    _number("available", "how many of it can be rented now", get=_attr("available"), low=0),
    _vast_number("bw_nvlink", "NVLink, GB/s"),
    _vast_number("compute_cap", "CUDA compute capability times 100"),
    _vast_text("cpu_arch", "the processor's architecture"),
    _vast_number("cpu_ghz", "the processor's clock"),
    _vast_number("direct_port_count", "ports that can be opened"),
    _vast_text("driver_version", "the driver's version"),
    _vast_number("dlperf", "the cloud's own performance score"),
    _vast_number("dlperf_per_dphtotal", "score for a dollar", "dlperf_usd"),
    _vast_number("duration", "days until the contract must end", unit=86400.0),
    _vast_bool("external", "offered by a partner"),
    _vast_number("flops_per_dphtotal", "Tflops for a dollar", "flops_usd"),
    _vast_text("gpu_arch", "nvidia or amd"),
    _vast_bool("gpu_display_active", "a screen is attached"),
    _vast_number("gpu_frac", "share of the machine's GPUs"),
    _vast_number("gpu_max_power", "watts"),
    _vast_number("gpu_max_temp", "degrees Celsius"),
    _vast_number("gpu_mem_bw", "memory bandwidth, GB/s"),
    _vast_number("gpu_total_ram", "memory of all GPUs", unit=1000.0, dimension="GB"),
    _vast_bool("has_avx", "the processor has AVX"),
    _vast_number("min_bid", "lowest bid, $ an hour"),
    _vast_number("pci_gen", "PCIe generation"),
    _vast_number("pcie_bw", "PCIe bandwidth, GB/s"),
    _vast_bool("rentable", "can be rented now"),
    _vast_bool("rented", "is rented"),
    _vast_number("score", "the cloud's own ranking"),
    _vast_bool("static_ip", "its address never changes"),
    _vast_number("total_flops", "Tflops of all GPUs"),
    _vast_text("ubuntu_version", "the host's release"),
    _vast_text("verification", "verified, unverified or deverified"),
    _vast_bool("vms_enabled", "can run virtual machines"),
    _vast_text("cluster_id", "the cluster it is in"),
)  # fmt: skip

FIELDS: dict[str, Field] = {field.name: field for field in _ALL}
_BY_WORD: dict[str, Field] = {
    **{alias: field for field in _ALL for alias in field.aliases},
    **FIELDS,
}


def find(word: str) -> Field | None:
    """Return the field called `word`, by its name or another spelling; case and "-" do not matter."""
    return _BY_WORD.get(word.lower().replace("-", "_"))


def suggest(word: str, among: Iterable[str] | None = None) -> str | None:
    """Return the closest name among `among` (the fields, if None), or None if nothing is close."""
    known = sorted(_BY_WORD if among is None else among)
    by_low = {name.lower(): name for name in known}
    close = get_close_matches(word.lower()[:64], by_low, n=1, cutoff=0.6)
    return by_low[close[0]] if close else None

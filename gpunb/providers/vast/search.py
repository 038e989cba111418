"""Body of Vast's search call: its documented filters, checked on our side first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput
from gpunb.providers.vast.offers import MIN_DISK_GB

if TYPE_CHECKING:
    from gpunb.providers.base import OfferQuery

__all__ = ["FIELDS", "OPERATORS", "RENTALS", "body", "check_filters", "gpu_names"]

#: gpunb's words for the kinds of rental, and Vast's.
RENTALS = {"on-demand": "on-demand", "spot": "bid", "reserved": "reserved"}

OPERATORS = ("eq", "neq", "gt", "gte", "lt", "lte", "in", "notin")

_NUMBERS = """
    allocated_storage ask_contract_id avail_vol_ask_id avail_vol_dph avail_vol_size bundle_id bw_nvlink
    cluster_id compute_cap cpu_cores cpu_cores_effective cpu_ghz cpu_ram credit_discount_max cuda_max_good
    direct_port_count disk_bw disk_space dlperf dlperf_per_dphtotal dph_base dph_total duration end_date
    expected_reliability flops_per_dphtotal gpu_frac gpu_lanes gpu_max_power gpu_max_temp gpu_mem_bw gpu_ram
    gpu_total_ram host_id hosting_type inet_down inet_down_cost inet_up inet_up_cost machine_id min_bid
    num_gpus nw_disk_avg_bw nw_disk_max_bw nw_disk_min_bw pci_gen pcie_bw reliability reliability2 score
    start_date storage_cost storage_total_cost target_reliability total_flops vram_costperhour
"""
_TEXTS = """
    cpu_arch cpu_name disk_name driver_version geolocation gpu_arch gpu_name mobo_name os_version
    public_ipaddr ubuntu_version verification
"""
_SWITCHES = """
    datacenter external gpu_display_active has_avx is_bid is_vm_deverified rentable rented static_ip
    verified vms_enabled
"""

#: Fields that can be filtered by, and the kind of their values (``vastai``
#: 1.9.1, its ``search offers``). Memory is in MB (the client's GB times 1000),
#: times in seconds, ``compute_cap`` is 860 for 8.6.
FIELDS: Mapping[str, type] = {
    **dict.fromkeys(_NUMBERS.split(), float),
    **dict.fromkeys(_TEXTS.split(), str),
    **dict.fromkeys(_SWITCHES.split(), bool),
}

#: The names that Vast's own client takes instead.
ALIASES = {
    "id": "ask_contract_id",  # the rows have both; only this one filters
    "cuda_vers": "cuda_max_good",
    "dph": "dph_total",
    "dlperf_usd": "dlperf_per_dphtotal",
    "flops_usd": "flops_per_dphtotal",
    "display_active": "gpu_display_active",
}

_EU = """
    AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE
"""
_REST_OF_EUROPE = "AL AD BY BA IS LI MD MC ME MK NO RS RU SM CH UA GB VA XK"
_REGIONS: Mapping[str, Sequence[str]] = {
    "EU": _EU.split(),
    "EUROPE": [*_EU.split(), *_REST_OF_EUROPE.split()],
    "NORTH AMERICA": ("US", "CA", "MX"),
    "NA": ("US", "CA", "MX"),
}

# cards say 24564 MiB or 15360 MiB for what is sold as 24 and 16 GB (gpuhunt widens likewise)
_VRAM_SLACK = 0.93


def body(
    query: OfferQuery,
    names: Iterable[str] = (),
    filters: Mapping[str, Any] | None = None,
    *,
    direct: bool = False,
) -> dict[str, Any]:
    """Build the body of ``POST /bundles/`` for `query`.

    Parameters
    ----------
    names
        Vast's own GPU names that fit ``query.gpus``; empty does not filter.
    filters
        Further filters in Vast's words (`check_filters`); they win.
    direct
        Only machines that have a port of their own to give.

    Notes
    -----
    Vast shows a part of its listings only, in a partly random order, so
    as much as possible is filtered there, and the cheapest come first.
    """
    disk = max(query.disk_gb, MIN_DISK_GB)
    wanted: dict[str, Any] = {
        "verified": {"eq": True},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "disk_space": {"gte": disk},
    }
    count: dict[str, Any] = {}
    if query.count_min > 0:
        count["gte"] = query.count_min
    if query.count_max is not None:
        count["lte"] = query.count_max
    if count:
        wanted["num_gpus"] = count
    if query.vram_gb > 0:
        wanted["gpu_ram"] = {"gte": round(query.vram_gb * 1000 * _VRAM_SLACK)}
    if query.hours > 0:
        # a contract that ends sooner would stop the instance before the rental's end
        wanted["duration"] = {"gte": round(query.hours * 3600)}
    names = list(names)
    if names:
        wanted["gpu_name"] = {"in": names}
    places = _places(query.regions)
    if places:
        wanted["geolocation"] = {"in": places}
    spot = query.rental == "spot"
    if query.max_usd_h is not None and not spot:
        # with the smallest disk the limit admits a little more than was asked for; offers are filtered again
        wanted["dph_total"] = {"lte": query.max_usd_h + 0.01}
    if direct:
        wanted["direct_port_count"] = {"gte": 1}
    wanted.update(check_filters(filters or {}))
    wanted = {field: rule for field, rule in wanted.items() if rule}
    wanted["order"] = [["min_bid" if spot else "dph_total", "asc"]]
    wanted["type"] = RENTALS[query.rental]
    wanted["allocated_storage"] = disk
    wanted["limit"] = query.limit or 5000
    return wanted


def check_filters(filters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Validate `filters` (``{"compute_cap": {"gte": 860}}``) and convert them to Vast's names and values.

    A value alone means equal; ``"any"`` takes away a default
    (``{"verified": "any"}``). GPU names may have ``_`` for blanks.

    Raises
    ------
    BadInput
        No such field or operator, or a value of another kind.
    """
    out: dict[str, dict[str, Any]] = {}
    for given, rule in filters.items():
        field = ALIASES.get(given, given)
        kind = FIELDS.get(field)
        if kind is None:
            close = get_close_matches(given, [*FIELDS, *ALIASES], n=1)
            msg = f"Vast filter {given!r}: Vast.ai has no such field to filter by"
            raise BadInput(msg, hint=f"did you mean {close[0]}?" if close else None)
        if rule == "any":
            out[field] = {}
            continue
        tests = rule if isinstance(rule, Mapping) else {"eq": rule}
        checked = out.setdefault(field, {})
        for operator, value in tests.items():
            name = {"nin": "notin"}.get(operator, operator)
            if name not in OPERATORS:
                msg = f"Vast filter {given!r}: operator {operator!r} is not one of {', '.join(OPERATORS)}"
                raise BadInput(msg)
            several = name in ("in", "notin")
            if several != isinstance(value, (list, tuple)):
                wanted = "a list" if several else "one value"
                msg = f"Vast filter {given!r}: {operator} takes {wanted}, not {value!r}"
                raise BadInput(msg)
            checked[name] = (
                [_value(given, field, kind, item) for item in value]
                if several
                else _value(given, field, kind, value)
            )
    return out


def _value(given: str, field: str, kind: type, value: Any) -> Any:
    if value is None:  # "cluster_id!=None"
        return None
    if field == "driver_version" and isinstance(value, str):
        return _driver(given, value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is float and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if abs(number) < 1e15:
            return int(number) if number.is_integer() else number
    if kind is str and isinstance(value, str):
        return value.replace("_", " ") if field == "gpu_name" else value
    wanted = {bool: "true or false", float: "a number", str: "a text"}[kind]
    msg = f"Vast filter {given!r}: {value!r} must be {wanted}"
    raise BadInput(msg)


def _driver(given: str, value: str) -> int:
    """Convert a driver version to Vast's number: 535.86.05 is 535086005."""
    found = re.fullmatch(r"(\d{1,4})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?", value)
    if not found:
        msg = f"Vast filter {given!r}: {value!r} is not a driver version like 535.86.05"
        raise BadInput(msg)
    major, minor, patch = (int(part or 0) for part in found.groups())
    return major * 1_000_000 + minor * 1_000 + patch


def _places(regions: Sequence[str]) -> list[str]:
    """Return country codes for `regions`; empty if one of them is no place that Vast knows."""
    out: list[str] = []
    for region in regions:
        word = region.strip().replace("_", " ").upper()
        if word in _REGIONS:
            out.extend(_REGIONS[word])
        elif len(word) == 2 and word.isalpha():
            out.append(word)
        else:
            return []
    return sorted(set(out))


def gpu_names(wanted: Iterable[str], known: Iterable[str]) -> list[str]:
    """Select the `known` names that may be one of `wanted`, for ``gpu_name in``.

    "H100" is "H100 SXM" and "H100 NVL" too; more than fits does no harm, since
    offers are filtered again. Empty, which filters nothing, if none is found.
    """
    squashed = [(name, _squash(name)) for name in known]
    wants = [want for want in map(_squash, wanted) if want]
    return sorted(name for name, have in squashed if any(want in have for want in wants))


def _squash(name: str) -> str:
    # the memory of "A100-SXM4-80GB" is filtered by another field
    text = re.sub(r"\b\d+\s?G(?:I?B)?\b|NVIDIA|GEFORCE|TESLA", "", name.upper().replace("_", " "))
    text = text.replace("QUADRO", "Q")
    return re.sub(r"SXM\d", "SXM", re.sub(r"[^A-Z0-9]", "", text))

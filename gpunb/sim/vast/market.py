"""The simulated market: offer rows in Vast's format, and its filters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gpunb.sim.catalog import Rig

__all__ = [
    "HOURS_A_MONTH",
    "BadFilterError",
    "matches",
    "offer_row",
    "premium",
    "priced",
    "sort_rows",
    "volume_row",
]

HOURS_A_MONTH = 720.0
FIRST_OFFER, FIRST_VOLUME_OFFER, FIRST_NETWORK_OFFER = 9_000_000, 7_000_000, 6_000_000
DAY_S = 86_400.0

_EU_CODES = {"DE": 276, "FR": 250, "GB": 826, "US": 840}


class BadFilterError(Exception):
    """A filter that the API does not accept."""


def offer_row(rig: Rig, now: float) -> dict[str, Any]:
    """Return one offer; prices that depend on the search are set by `priced`."""
    # a few hosts whose location Vast does not know
    place = ", US" if rig.number % 29 == 28 else f"{rig.city}, {rig.country}"
    digest = hashlib.sha256(f"{rig.machine_id}/{rig.number}".encode()).digest()
    effective = round(rig.cores * 0.5, 1) if rig.gpus < 8 else float(rig.cores)
    return {
        "id": FIRST_OFFER + rig.number,
        "ask_contract_id": FIRST_OFFER + rig.number,
        "bundle_id": 4_000_000 + rig.number,
        "machine_id": rig.machine_id,
        "host_id": rig.host_id,
        "num_gpus": rig.gpus,
        "gpu_name": rig.model.name,
        "gpu_ram": rig.model.vram_mib,
        "gpu_total_ram": rig.model.vram_mib * rig.gpus,
        "gpu_frac": min(rig.gpus / 8, 1.0),
        "gpu_arch": "nvidia",
        "gpu_lanes": 16,
        "gpu_mem_bw": 900.0,
        "gpu_max_power": float(rig.model.watts),
        "gpu_max_temp": 90.0,
        "gpu_display_active": False,
        "bw_nvlink": 300.0 if rig.nvlink else 0.0,
        "compute_cap": rig.model.compute_cap,
        "cuda_max_good": (12.4, 12.8, 13.0)[digest[0] % 3],
        "driver_version": "570.86.15",
        "driver_vers": 570086015,
        "cpu_name": "AMD EPYC 7763 64-Core Processor",
        "cpu_arch": "amd64",
        "cpu_cores": rig.cores,
        "cpu_cores_effective": effective,
        "cpu_ghz": 2.45,
        "cpu_ram": rig.ram_gb * 1000,
        "has_avx": 1,
        "disk_space": float(rig.disk_gb),
        "disk_bw": rig.disk_mbps,
        "disk_name": "nvme",
        "inet_up": rig.up_mbps,
        "inet_down": rig.down_mbps,
        "inet_up_cost": rig.up_usd_gb,
        "inet_down_cost": rig.down_usd_gb,
        "internet_up_cost_per_tb": rig.up_usd_gb * 1000,
        "internet_down_cost_per_tb": rig.down_usd_gb * 1000,
        "direct_port_count": 0 if digest[1] < 20 else 8 + digest[1],
        "static_ip": digest[2] % 2 == 0,
        "public_ipaddr": "203.0.113.7",
        "pci_gen": 4.0,
        "pcie_bw": 24.5,
        "mobo_name": "ROME2D32GM",
        "os_version": "22.04",
        "dph_base": rig.usd_h,
        "min_bid": round(rig.usd_h * 0.45, 4),
        "storage_cost": round(rig.disk_usd_gb_h * HOURS_A_MONTH, 4),
        "credit_discount_max": 0.4,
        "dlperf": 20.0 * rig.gpus,
        "dlperf_per_dphtotal": round(20.0 * rig.gpus / rig.usd_h, 2),
        "total_flops": 80.0 * rig.gpus,
        "flops_per_dphtotal": round(80.0 * rig.gpus / rig.usd_h, 2),
        "score": round(100.0 * rig.reliability / rig.usd_h, 4),
        "reliability": rig.reliability,
        "reliability2": rig.reliability,
        "verification": "verified" if rig.verified else "unverified",
        "hosting_type": 1 if rig.reliability > 0.99 and rig.verified else 0,
        "geolocation": place,
        "geolocode": _EU_CODES.get(rig.country, 0),
        "external": False,
        "rentable": True,
        "rented": False,
        "is_bid": False,
        "start_date": now - 30 * DAY_S,
        "end_date": now + (3 + digest[3] % 90) * DAY_S,
        "vms_enabled": False,
        "cluster_id": cluster(rig),
        "avail_vol_ask_id": FIRST_VOLUME_OFFER + rig.number,
        "avail_vol_size": rig.disk_gb / 2,
        "avail_vol_dph": 0.0,
        "resource_type": "gpu",
        "webpage": None,
        "logo": "/static/logos/vastai_small2.png",
    }


def cluster(rig: Rig) -> int | None:
    """Return the network of a machine: a few machines share one."""
    return 301 + rig.number % 3 if rig.number % 10 == 4 else None


def network_rows(found: Iterable[Rig], now: float) -> list[dict[str, Any]]:
    """Return an offer of disk on the network of each cluster, which belongs to no machine."""
    out = {}
    for rig in found:
        if (number := cluster(rig)) is not None:
            ident = {"id": FIRST_NETWORK_OFFER + number, "machine_id": None, "cluster_id": number}
            out[number] = {**volume_row(rig, now), **ident, "nw_disk_avg_bw": 900.0}
    return list(out.values())


def volume_row(rig: Rig, now: float) -> dict[str, Any]:
    """Return one offer of disk for a volume."""
    return {
        "end_date": now + (20 + rig.number % 70) * DAY_S,
        "cluster_id": cluster(rig),
        "id": FIRST_VOLUME_OFFER + rig.number,
        "machine_id": rig.machine_id,
        "host_id": rig.host_id,
        "disk_space": rig.disk_gb / 2,
        "storage_cost": round(rig.disk_usd_gb_h * HOURS_A_MONTH, 4),
        "inet_up": rig.up_mbps,
        "inet_down": rig.down_mbps,
        "reliability2": rig.reliability,
        "verification": "verified" if rig.verified else "unverified",
        "external": False,
        "geolocation": f"{rig.city}, {rig.country}",
    }


def priced(row: Mapping[str, Any], *, kind: str, storage_gb: float, now: float) -> dict[str, Any]:
    """Return the row as an answer to a search of `kind` with this much disk."""
    bid = kind == "bid"
    base = row["min_bid"] if bid else row["dph_base"]
    disk = round(storage_gb * row["storage_cost"] / HOURS_A_MONTH, 10)
    sla = premium(row)
    left = max(row["end_date"] - now, 0.0)
    return {
        **row,
        "is_bid": bid,
        "dph_total": base + disk + sla,
        "discounted_dph_total": base * (1 - row["credit_discount_max"]) + disk + sla,
        "storage_total_cost": disk,
        "duration": left,
        "time_remaining": "",
        "verified": row["verification"] == "verified",
        "datacenter": row["hosting_type"] == 1,
        "search": {
            "gpuCostPerHour": base,
            "diskHour": disk,
            "slaPremiumPerHour": sla,
            "totalHour": base + disk + sla,
        },
    }


def premium(row: Mapping[str, Any]) -> float:
    """Return the extra price an hour of a host's service level; none unless a test sets one."""
    return float((row.get("search") or {}).get("slaPremiumPerHour", 0.0))


_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "gt": lambda a, b: a is not None and a > b,
    "gte": lambda a, b: a is not None and a >= b,
    "lt": lambda a, b: a is not None and a < b,
    "lte": lambda a, b: a is not None and a <= b,
    "in": lambda a, b: a in b,
    "notin": lambda a, b: a not in b,
    "nin": lambda a, b: a not in b,
}

_ALIASES = {"reliability2": "reliability", "dphtotal": "dph_total", "driver_version": "driver_vers"}


def matches(row: Mapping[str, Any], field: str, rule: object) -> bool:
    """Return whether `row` passes one filter ``{"op": value, …}``; numbers may come as texts."""
    if field == "id":
        msg = "id is not a filter; ask_contract_id is"
        raise BadFilterError(msg)
    if not isinstance(rule, Mapping):
        msg = f"{field}: expected an object of operators"
        raise BadFilterError(msg)
    name = _ALIASES.get(field, field)
    if name == "target_reliability":
        name = "reliability"
    if name != "cluster_id" and name not in row:
        msg = f"unknown field {field}"
        raise BadFilterError(msg)
    have = row.get(name)
    if name == "geolocation" and isinstance(have, str):
        have = have.rpartition(",")[2].strip()
    for operator, wanted in rule.items():
        test = _TESTS.get(operator)
        if test is None:
            msg = f"{field}: unknown operator {operator}"
            raise BadFilterError(msg)
        want = [_like(have, one) for one in wanted] if isinstance(wanted, list) else _like(have, wanted)
        try:
            if not test(have, want):
                return False
        except TypeError as err:
            msg = f"{field}: {operator} does not fit {wanted!r}"
            raise BadFilterError(msg) from err
    return True


def _like(have: Any, wanted: Any) -> Any:
    """Convert `wanted` to the type of the row's value."""
    if isinstance(have, bool) and isinstance(wanted, str):
        return wanted.lower() in ("true", "1")
    if isinstance(have, (int, float)) and isinstance(wanted, str):
        try:
            return float(wanted)
        except ValueError as err:
            msg = f"{wanted!r} is not a number"
            raise BadFilterError(msg) from err
    return wanted


def sort_rows(rows: list[dict[str, Any]], order: object) -> None:
    """Sort in place by ``[[field, "asc"|"desc"], …]``."""
    if not isinstance(order, list):
        return
    for entry in reversed(order):
        field, direction = (
            (entry[0], entry[1]) if isinstance(entry, list) and len(entry) == 2 else (entry, "asc")
        )
        if not isinstance(field, str) or not _sortable(rows, field):
            msg = f"order: unknown field {field}"
            raise BadFilterError(msg)
        rows.sort(key=lambda row: (row[field] is None, row[field]), reverse=direction == "desc")


def _sortable(rows: Iterable[Mapping[str, Any]], field: str) -> bool:
    return all(field in row for row in rows)

"""Plans of the simulated Fluence, in Fluence's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunb.sim.catalog import Rig

__all__ = ["DEFAULT_IMAGES", "container_plan", "grouped"]

DEFAULT_IMAGES: list[dict[str, Any]] = [
    {
        "slug": f"debian-ssh-{version}",
        "name": f"Debian SSH {version}",
        "description": None,
        "image": f"docker.io/fluencelabs/debian-ssh-root:{version}",
        "expose": [{"port": "22", "protocol": "tcp"}],
        "environment": [],
        "startup_command": None,
        "requires_ssh": True,
    }
    for version in (11, 12)
]

_REGIONS = {"US": "usa", "CA": "can", "DE": "deu", "FR": "fra", "GB": "gbr", "NL": "nld", "NO": "nor"}
_REGIONS |= {"PL": "pol", "FI": "fin", "JP": "jpn", "SG": "sgp", "IN": "ind"}


def _model(rig: Rig) -> str:
    return rig.model.name.lower().removesuffix(" pcie").removesuffix(" sxm").replace(" ", "-")


def _pricing(rig: Rig) -> dict[str, Any]:
    return {"hour": round(rig.usd_h, 2), "upfront_hours": 3, "currency": "USDC"}


def container_plan(rig: Rig, plan_id: str) -> dict[str, Any]:
    """Return one row of ``GET /gpu/plans/``."""
    storage, interface = rig.disk_gb, rig.model.interface
    size = f"{rig.gpus}gpu-{rig.cores}cpu-{rig.ram_gb}gi-{storage}gi"
    return {
        "plan": {
            "id": plan_id,
            "name": f"{_model(rig)}-{rig.model.vram_gb}gi-{interface.lower()}-{size}",
            "supply": {
                "vcpu": {"count": rig.cores},
                "memory": {"count": rig.ram_gb, "units": "Gi"},
                "storage": {"count": storage, "units": "Gi"},
                "gpu_count": rig.gpus,
            },
            "gpu_model": {
                "vendor": "nvidia",
                "model": _model(rig),
                "vram": f"{rig.model.vram_gb}Gi",
                "interface": interface,
            },
            "pricing": _pricing(rig),
        },
        "attributes": {
            "location": [rig.country] if rig.number % 4 else [rig.country, "US"][: 1 + (rig.country != "US")]
        },
    }


def grouped(options: Mapping[str, tuple[Rig, str]], kind: str) -> list[dict[str, Any]]:
    """Return ``data`` of ``GET /gpu/plans/vms`` and ``/baremetal``: by model, then by count."""
    groups: dict[tuple[str, str], dict[int, list[dict[str, Any]]]] = {}
    rows: dict[tuple[str, str], Rig] = {}
    for option_id, (rig, provider) in options.items():
        key = (_model(rig), rig.model.interface.lower())
        rows[key] = rig
        groups.setdefault(key, {}).setdefault(rig.gpus, []).append(
            {
                "id": option_id,
                "location": f"{rig.city.lower()}-{_REGIONS[rig.country]}-1",
                "provider": provider,
                "vcpu": {"count": rig.cores},
                "memory": {"count": rig.ram_gb, "units": "Gi"},
                "storage": {"count": rig.disk_gb, "units": "Gi"},
                "deployment_type": "VM" if kind == "vms" else "BAREMETAL",
                "pricing": _pricing(rig),
                "nvlink": rig.nvlink,
                "os_options": ["Ubuntu Server 22.04", "ubuntu22.04_cuda12.4_shade_os"],
            }
        )
    return [
        {
            "gpu_model": {
                "vendor": "nvidia",
                "model": key[0],
                "vram": f"{rows[key].model.vram_gb}Gi",
                "interface": key[1],
            },
            "minimum_price": min(row["pricing"]["hour"] for found in by_number.values() for row in found),
            "availability_by_number": [_number(count, found) for count, found in sorted(by_number.items())],
        }
        for key, by_number in groups.items()
    ]


def _number(count: int, found: list[dict[str, Any]]) -> dict[str, Any]:
    locations = sorted({row["location"] for row in found})
    providers = sorted({row["provider"] for row in found})
    return {
        "gpu_count": count,
        "minimum_price": min(row["pricing"]["hour"] for row in found),
        "options_available_total": len(found),
        "providers_available_total": len(providers),
        "data_center_available_total": len(locations),
        "locations": locations,
        "providers": providers,
        "options": found,
    }

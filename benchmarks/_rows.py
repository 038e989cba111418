"""What the four clouds answer to a search, in their documented shapes, as many rows as wanted."""

from __future__ import annotations

import json
import random
from typing import Any

__all__ = ["answers"]

# card, MiB that its driver reports, US dollars an hour for one
CARDS = (
    ("RTX 4090", 24564, 0.4),
    ("RTX 3090", 24576, 0.2),
    ("RTX 5090", 32607, 0.6),
    ("H100 SXM", 81559, 2.2),
    ("H100 PCIE", 81559, 1.9),
    ("H200", 143771, 2.9),
    ("A100 SXM4", 81920, 1.1),
    ("A100 PCIE", 40960, 0.7),
    ("L40S", 46068, 0.8),
    ("RTX A6000", 49140, 0.5),
    ("RTX 6000Ada", 49140, 0.8),
    ("B200", 183359, 4.5),
    ("RTX 4070S Ti", 16376, 0.15),
    ("Tesla V100", 16384, 0.15),
    ("RTX 3060", 12288, 0.07),
)
PLACES = ("Sweden, SE", "California, US", "Quebec, CA", "Japan, JP", "Czechia, CZ", "Norway, NO", ", US")
CPUS = ("AMD EPYC 7B13 64-Core Processor", "Xeon® Gold 6248R", "AMD Ryzen 9 7950X 16-Core Processor")


def answers(rows: int, seed: int = 1) -> dict[str, dict[str, bytes]]:
    """For each cloud and path, the body of `rows` rows in all; the same for the same seed."""
    luck = random.Random(seed)
    thirds = [rows // 3, rows // 3, rows - 2 * (rows // 3)]
    found: dict[str, dict[str, Any]] = {
        "vast": {
            "/api/v0/bundles/": {"offers": [_vast(luck, number) for number in range(rows)]},
            "/api/v0/gpu_names/unique/": {"gpu_names": [name for name, _, _ in CARDS]},
        },
        "deepinfra": {"/v1/containers/gpu_availability": {"gpus": [_deepinfra(luck) for _ in range(rows)]}},
        "fluence": {
            "/gpu/plans/": [_fluence_container(luck) for _ in range(thirds[0])],
            "/gpu/plans/vms": {"data": _fluence_groups(luck, "VM", thirds[1])},
            "/gpu/plans/baremetal": {"data": _fluence_groups(luck, "BAREMETAL", thirds[2])},
        },
        "sesterce": {"/gpu-cloud/instances/offers": [_sesterce(luck, number) for number in range(rows)]},
    }
    return {
        cloud: {path: json.dumps(body).encode() for path, body in bodies.items()}
        for cloud, bodies in found.items()
    }


def _vast(luck: random.Random, number: int) -> dict[str, Any]:
    name, mib, usd = luck.choice(CARDS)
    gpus = luck.choice((1, 1, 2, 4, 8))
    price = round(usd * gpus * luck.uniform(0.6, 2.0), 6)
    return {
        "id": 10_000_000 + number,
        "ask_contract_id": 10_000_000 + number,
        "bundle_id": number,
        "machine_id": number,
        "host_id": number // 3,
        "num_gpus": gpus,
        "gpu_name": name,
        "gpu_ram": mib,
        "gpu_total_ram": mib * gpus,
        "gpu_frac": gpus / 8,
        "gpu_arch": "nvidia",
        "gpu_max_power": 450.0,
        "gpu_max_temp": 90.0,
        "gpu_mem_bw": 3072.7,
        "gpu_lanes": 16,
        "gpu_display_active": False,
        "compute_cap": 890,
        "cuda_max_good": luck.choice((12.2, 12.4, 12.8)),
        "driver_version": "550.54.14",
        "cpu_cores": 64,
        "cpu_cores_effective": 8.0 * gpus,
        "cpu_ram": 257_000,
        "cpu_arch": "amd64",
        "cpu_name": luck.choice(CPUS),
        "cpu_ghz": 3.5,
        "disk_space": luck.uniform(20, 4000),
        "disk_bw": luck.uniform(500, 7000),
        "disk_name": "Samsung SSD 990 PRO",
        "inet_up": luck.uniform(50, 5000),
        "inet_down": luck.uniform(50, 9000),
        "inet_up_cost": 0.004,
        "inet_down_cost": 0.002,
        "internet_up_cost_per_tb": 4.0,
        "internet_down_cost_per_tb": 2.0,
        "direct_port_count": luck.randint(1, 500),
        "static_ip": luck.random() < 0.5,
        "dph_base": price,
        "dph_total": price + 0.01,
        "min_bid": price * 0.6,
        "discounted_dph_total": price,
        "dlperf": luck.uniform(20, 900),
        "dlperf_per_dphtotal": 210.5,
        "score": 320.25,
        "flops_per_dphtotal": 120.0,
        "total_flops": 82.6 * gpus,
        "reliability": 0.99,
        "reliability2": luck.uniform(0.9, 1),
        "verification": "verified",
        "verified": True,
        "hosting_type": luck.choice((0, 0, 1)),
        "has_avx": 1,
        "geolocation": luck.choice(PLACES),
        "geolocode": -1_610_612_736,
        "rentable": True,
        "rented": False,
        "is_bid": False,
        "external": False,
        "duration": luck.uniform(86_400, 3e7),
        "start_date": 1.75e9,
        "end_date": 1.79e9,
        "storage_cost": luck.uniform(0.05, 0.3),
        "storage_total_cost": 0.001,
        "credit_discount_max": 0.1,
        "pci_gen": 4.0,
        "pcie_bw": 24.3,
        "bw_nvlink": 0.0,
        "mobo_name": "ROME2D32GM-2T",
        "os_version": "22.04",
        "cluster_id": None,
        "vms_enabled": False,
        "avail_vol_ask_id": None,
        "avail_vol_size": None,
        "avail_vol_dph": None,
        "public_ipaddr": "203.0.113.7",
        "time_remaining": "",
        "webpage": None,
        "logo": "/static/logos/vastai_small2.png",
        "search": {
            "gpuCostPerHour": price,
            "diskHour": 0.01,
            "totalHour": price + 0.01,
            "discountTotalHour": 0.0,
        },
    }


def _deepinfra(luck: random.Random) -> dict[str, Any]:
    name, vram = luck.choice((("B200", 180), ("B100", 180), ("H100", 80), ("H200", 141), ("A100", 80)))
    gpus = luck.choice((1, 2, 4, 8))
    return {
        "gpu_config": f"{gpus}x{name}-{vram}GB",
        "usd_per_hour": round(gpus * luck.uniform(0.9, 5), 2),
        "available": luck.random() < 0.8,
        "recommended": luck.random() < 0.1,
    }


def _fluence_gpu(luck: random.Random) -> dict[str, Any]:
    name, vram = luck.choice((("h200", 141), ("h100", 80), ("a100", 80), ("l40s", 48), ("b200", 180)))
    return {"vendor": "nvidia", "model": name, "vram": f"{vram}Gi", "interface": luck.choice(("SXM", "PCIE"))}


def _fluence_price(luck: random.Random, gpus: int) -> dict[str, Any]:
    return {"hour": round(gpus * luck.uniform(0.8, 4), 2), "upfront_hours": 3, "currency": "USDC"}


def _fluence_container(luck: random.Random) -> dict[str, Any]:
    gpus = luck.choice((1, 2, 4, 8))
    return {
        "plan": {
            "id": _uuid(luck),
            "name": f"plan-{gpus}gpu-16cpu-128gi-120gi",
            "gpu_model": _fluence_gpu(luck),
            "supply": {
                "vcpu": {"count": 16 * gpus},
                "memory": {"count": 128 * gpus, "units": "Gi"},
                "storage": {"count": 120 * gpus, "units": "Gi"},
                "gpu_count": gpus,
            },
            "pricing": _fluence_price(luck, gpus),
        },
        "attributes": {"location": [luck.choice(("US", "SE", "DE", "FR"))]},
    }


def _fluence_groups(luck: random.Random, kind: str, rows: int) -> list[dict[str, Any]]:
    groups = []
    for start in range(0, rows, 40):
        gpus = luck.choice((1, 2, 4, 8))
        options = [
            {
                "id": _uuid(luck),
                "location": luck.choice(("dulles-usa-1", "helsinki-finland-2", "paris-france-1")),
                "provider": luck.choice(("sesterce", "massed-compute")),
                "vcpu": {"count": 16},
                "memory": {"count": 128, "units": "Gi"},
                "storage": {"count": 500, "units": "Gi"},
                "deployment_type": kind,
                "pricing": _fluence_price(luck, gpus),
                "nvlink": False,
                "os_options": ["ubuntu22.04_cuda12.4_shade_os", "ubuntu24.04_cuda12.8_shade_os"],
            }
            for _ in range(min(40, rows - start))
        ]
        number = {
            "gpu_count": gpus,
            "minimum_price": 1.0,
            "options_available_total": len(options),
            "options": options,
        }
        groups.append(
            {"gpu_model": _fluence_gpu(luck), "minimum_price": 1.0, "availability_by_number": [number]}
        )
    return groups


def _sesterce(luck: random.Random, number: int) -> dict[str, Any]:
    name, vram = luck.choice(
        (("H100", 80), ("A100_80G", 80), ("L40S", 48), ("RTX4090", 24), ("H200", 141), ("A6000", 48))
    )
    gpus = luck.choice((1, 2, 4, 8))
    place, code = luck.choice((("Paris", "FR"), ("Helsinki", "FI"), ("Dulles", "US"), ("Tokyo", "JP")))
    return {
        "gpuName": name,
        "gpuCount": gpus,
        "nvlink": False,
        "deploymentType": luck.choice(("vm", "container", "baremetal")),
        "instanceId": f"{number:024x}",
        "cloudInitAvailable": True,
        "cloud": {"_id": f"{number % 7:024x}", "name": "Hyper"},
        "configuration": {
            "ramGB": 128,
            "storageGB": 500,
            "vCpu": 16,
            "vRamGB": vram,
            "interconnect": "pcie",
            "os": ["ubuntu22.04_cuda12.4_shade_os", "ubuntu24.04_cuda12.8_shade_os"],
        },
        "hourlyPrice": round(gpus * luck.uniform(0.4, 4), 2),
        "availability": [
            {"region": f"{place.lower()}-{number % 3}", "name": place, "countryCode": code, "available": True}
        ],
    }


def _uuid(luck: random.Random) -> str:
    text = f"{luck.getrandbits(128):032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

"""Offer shapes in any number, the same each time."""

from __future__ import annotations

import random
from typing import Any

GPUS = [("H100 SXM", 80, 2.4), ("H200", 141, 3.4), ("A100 PCIE", 80, 1.1), ("RTX 4090", 24, 0.35)]
GPUS += [
    ("RTX 3090", 24, 0.18),
    ("L40S", 48, 0.9),
    ("B200", 192, 5.5),
    ("RTX A6000", 48, 0.5),
    ("V100", 16, 0.15),
]
REGIONS = ["US", "DE", "FR", "SE", "JP", "IN", "CA", "NO", "FI", "GB", "us-east-1", "eu-north-2"]
CLOUDS = ["vast", "deepinfra", "fluence", "sesterce"]


def offer_rows(count: int, *, hours: float = 2.0) -> list[dict[str, Any]]:
    """Offers as `gpunb.presentation.shapes.ranked_shape` makes them, best first."""
    dice = random.Random(7)
    rows = []
    for at in range(count):
        gpu, vram, price = dice.choice(GPUS)
        gpus = dice.choice([1, 1, 1, 2, 4, 8])
        provider = dice.choice(CLOUDS)
        usd_h = round(price * gpus * dice.uniform(0.7, 1.6), 4)
        region = dice.choice(REGIONS)
        total = round(usd_h * hours, 4)
        trust = "stranger" if provider in ("vast", "fluence") else "datacenter"
        rows.append(
            {
                "key": f"{provider}/on-demand/{at}",
                "provider": provider,
                "offer_id": str(100_000 + at),
                "gpu": gpu,
                "gpus": gpus,
                "vram_gb": float(vram),
                "region": region,
                "country": region[:2].upper(),
                "kind": "container",
                "spot": dice.random() < 0.2,
                "reserved": False,
                "trust": trust,
                "verified": dice.random() < 0.5,
                "cpu": "AMD EPYC 7763 64-Core Processor",
                "cores": 16.0,
                "ram_gb": 128.0,
                "disk_gb": 500.0,
                "usd_h": usd_h,
                "parts": {"gpu": total, "disk": 0.0, "bandwidth": 0.0},
                "total_usd": total,
                "reliability": round(dice.uniform(0.9, 1.0), 4) if provider == "vast" else None,
                "ready_s": round(dice.uniform(40, 600), 1),
                "why": f"${total:.2f} for {hours:g} h: machine ${total:.2f}; ready in about 2 min: "
                "boot 90 s (usual), image 30 s over 900 Mb/s; waiting costs $0.05",
            }
        )
    rows.sort(key=lambda row: row["total_usd"])
    return rows

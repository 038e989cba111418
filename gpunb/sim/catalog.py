"""Generated offers with a realistic spread, the same for the same seed.

Models, memory and prices are orders of magnitude seen on the clouds' public
price pages in 2026; they are for trying and testing, not for comparing clouds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MODELS", "PLACES", "Model", "Rig", "model", "rigs"]


@dataclass(frozen=True, slots=True)
class Model:
    """A GPU model: marketing name, memory of one card, and a usual price for one."""

    name: str
    vram_gb: int
    usd_h: float
    interface: str = "PCIE"
    watts: int = 300
    compute_cap: int = 860
    datacenter: bool = True

    @property
    def vram_mib(self) -> int:
        """Memory in MiB as ``nvidia-smi`` shows it; a little below the nominal size, as on real cards."""
        return int(self.vram_gb * 1024 * 0.997)


MODELS: tuple[Model, ...] = (
    Model("RTX 3090", 24, 0.22, watts=350, compute_cap=860, datacenter=False),
    Model("RTX 4090", 24, 0.38, watts=450, compute_cap=890, datacenter=False),
    Model("RTX 5090", 32, 0.55, watts=575, compute_cap=1200, datacenter=False),
    Model("RTX A4000", 16, 0.13, watts=140, compute_cap=860),
    Model("RTX A6000", 48, 0.45, watts=300, compute_cap=860),
    Model("RTX 6000 Ada", 48, 0.72, watts=300, compute_cap=890),
    Model("L4", 24, 0.33, watts=72, compute_cap=890),
    Model("L40S", 48, 0.86, watts=350, compute_cap=890),
    Model("Tesla V100", 16, 0.16, "SXM", 300, 700),
    Model("A100 PCIE", 80, 1.10, watts=300, compute_cap=800),
    Model("A100 SXM", 80, 1.35, "SXM", 400, 800),
    Model("H100 PCIE", 80, 1.99, watts=350, compute_cap=900),
    Model("H100 SXM", 80, 2.30, "SXM", 700, 900),
    Model("H200", 141, 2.96, "SXM", 700, 900),
    Model("B200", 180, 4.49, "SXM", 1000, 1000),
)

#: (country code, city)
PLACES: tuple[tuple[str, str], ...] = (
    ("US", "Dulles"),
    ("US", "Dallas"),
    ("US", "Portland"),
    ("CA", "Montreal"),
    ("DE", "Frankfurt"),
    ("FR", "Paris"),
    ("GB", "London"),
    ("NL", "Amsterdam"),
    ("NO", "Oslo"),
    ("PL", "Warsaw"),
    ("FI", "Helsinki"),
    ("JP", "Tokyo"),
    ("SG", "Singapore"),
    ("IN", "Mumbai"),
)

_BY_NAME = {found.name: found for found in MODELS}


def model(name: str) -> Model:
    """Return the model called `name` (KeyError otherwise)."""
    return _BY_NAME[name]


@dataclass(frozen=True, slots=True)
class Rig:
    """One machine for rent, before each cloud words it in its own format.

    `usd_h` is dollars an hour for the whole machine, `disk_usd_gb_h` for each
    GB of disk; the lines are megabits a second.
    """

    number: int
    model: Model
    gpus: int
    usd_h: float
    disk_usd_gb_h: float
    up_usd_gb: float
    down_usd_gb: float
    cores: int
    ram_gb: int
    disk_gb: int
    up_mbps: float
    down_mbps: float
    disk_mbps: float
    reliability: float
    verified: bool
    country: str
    city: str
    nvlink: bool
    machine_id: int
    host_id: int


def rigs(
    count: int,
    seed: int = 0,
    *,
    models: Sequence[Model] = MODELS,
    gpus: Sequence[int] = (1, 1, 1, 1, 2, 2, 4, 4, 8),
    datacenter: bool = False,
) -> Iterator[Rig]:
    """Generate `count` machines, the same for the same arguments.

    Parameters
    ----------
    datacenter
        Only good lines, reliable hosts, and no price for traffic.
    """
    rng = random.Random(f"rigs/{seed}/{count}")  # noqa: S311 - a simulation
    for number in range(count):
        card = rng.choice(models)
        cards = rng.choice(gpus)
        country, city = rng.choice(PLACES)
        center = datacenter or (card.datacenter and rng.random() < 0.6)
        spread = rng.lognormvariate(0.0, 0.08 if datacenter else 0.22)
        cores = cards * rng.choice((6, 8, 12, 16, 24))
        yield Rig(
            number=number,
            model=card,
            gpus=cards,
            usd_h=round(card.usd_h * cards * spread, 4),
            disk_usd_gb_h=round(rng.uniform(0.05, 0.35) / 720, 7),
            up_usd_gb=0.0 if datacenter else round(rng.choice((0.0, 0.002, 0.005, 0.01, 0.02)), 4),
            down_usd_gb=0.0 if datacenter else round(rng.choice((0.0, 0.002, 0.005, 0.01)), 4),
            cores=cores,
            ram_gb=cards * rng.choice((32, 48, 64, 96, 128)),
            disk_gb=rng.choice((100, 200, 400, 750, 1500, 3000)),
            up_mbps=round(rng.uniform(400, 9000) if center else rng.lognormvariate(5.6, 0.8), 1),
            down_mbps=round(rng.uniform(600, 9500) if center else rng.lognormvariate(6.1, 0.8), 1),
            disk_mbps=round(rng.uniform(400, 6500), 1),
            reliability=round(1.0 - rng.betavariate(1.1, 60 if center else 18), 4),
            verified=center or rng.random() < 0.7,
            country=country,
            city=city,
            nvlink=card.interface == "SXM" and cards > 1,
            machine_id=10_000 + rng.randrange(40_000),
            host_id=50_000 + rng.randrange(8_000),
        )

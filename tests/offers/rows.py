"""Offers to search, and a cloud that has them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar

from gpunb.providers import Account, Capability, CreateSpec, Instance, Offer, OfferQuery, Provider

if TYPE_CHECKING:
    from collections.abc import Callable

# as Vast names them, with the GB that its driver reports
VAST_CARDS = {
    "RTX 4090": 24.564,
    "H100 SXM": 81.559,
    "H100 PCIE": 81.559,
    "H100 NVL": 95.83,
    "H200": 143.771,
    "A100 SXM4": 40.96,
    "L40S": 46.068,
    "RTX 3060": 12.288,
    "Banana 9": 7.5,
}


def offer(ident: str = "1", **changes: object) -> Offer:
    """One H100 in Sweden, and what a test changes of it."""
    values: dict[str, object] = {
        "provider": "vast", "id": ident, "gpu_raw": "H100 SXM", "gpus": 1, "vram_gb": 81559 / 1024,
        "usd_h": 2.0, "disk_usd_gb_h": 0.0002, "disk_max_gb": 500.0, "region": "Sweden, SE",
        "cores": 16.0, "ram_gb": 64.0, "inet_up_mbps": 400.0, "inet_down_mbps": 800.0, "reliability": 0.99,
        "machine_id": f"m{ident}", "host_id": f"h{ident}", "cuda": 12.4, "verified": True,
    }  # fmt: skip
    return Offer(**(values | changes))  # type: ignore[arg-type]


def many(count: int, provider: str = "vast", seed: int = 7) -> list[Offer]:
    """`count` plausible offers, the same for the same seed."""
    luck = random.Random(seed)
    found = []
    for number in range(count):
        card = luck.choice(list(VAST_CARDS))
        found.append(
            offer(
                str(number), provider=provider, gpu_raw=card, vram_gb=VAST_CARDS[card],
                gpus=luck.choice((1, 2, 4, 8)),
                usd_h=round(luck.uniform(0.05, 6), 3), disk_max_gb=luck.choice((50.0, 200.0, 2000.0)),
                region=luck.choice(("Sweden, SE", "California, US", ", US", "dulles-usa-1", "eu-west-1", "")),
                inet_down_mbps=luck.choice((0.0, 90.0, 400.0, 2000.0)),
                reliability=luck.choice((None, 0.9, 0.985, 0.999)), cuda=luck.choice((None, 11.8, 12.4)),
                kind=luck.choice(("container", "vm", "bare-metal")), verified=luck.random() < 0.5,
                trust=luck.choice(("stranger", "datacenter")), available=luck.choice((1, 1, 1, 0)),
                down_usd_gb=luck.choice((0.0, 0.01)), clock_hours=luck.random() < 0.2,
            )
        )  # fmt: skip
    return found


class Cloud(Provider):
    """A cloud whose search is what a test says."""

    name: ClassVar[str] = "vast"
    title: ClassVar[str] = "Vast.ai"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.SPOT})

    def __init__(
        self, answer: Callable[[OfferQuery], list[Offer]] | list[Offer], *, title: str = "Vast.ai"
    ) -> None:
        super().__init__()
        self.answer, self.asked = answer, []
        self.title = title  # type: ignore[misc]

    def search(self, query: OfferQuery) -> list[Offer]:
        self.asked.append(query)
        return self.answer(query) if callable(self.answer) else self.answer

    def check(self) -> Account:
        return Account(provider=self.name)

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        raise NotImplementedError

    def instances(self) -> list[Instance]:
        return []

    def destroy(self, instance_id: str) -> None:
        raise NotImplementedError

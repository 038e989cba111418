"""A simulated Vast and a provider on it, in this process and on a virtual clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from gpunb.providers.base import CreateSpec, Instance, InstanceState, Offer, OfferQuery, ProviderConfig
from gpunb.providers.vast import VastProvider
from gpunb.sim.clock import Clock
from gpunb.sim.serving.transport import InProcessTransport
from gpunb.sim.vast import VastCloud

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl gpunb"


@dataclass
class World:
    """The cloud, its clock, and a provider that waits in the cloud's time."""

    cloud: VastCloud
    provider: VastProvider

    def offer(self, **wanted: Any) -> Offer:
        found = self.provider.search(OfferQuery(**wanted))
        assert found, f"the simulated market has nothing for {wanted}"
        return found[0]

    def rent(self, label: str = "gpunb-test", offer: Offer | None = None, **more: Any) -> Instance:
        more.setdefault("public_key", PUBLIC_KEY)
        offer = offer or self.offer(disk_gb=20)
        return self.provider.create(offer, CreateSpec(label=label, **{"disk_gb": 20, **more}))

    def wait(self, seconds: float) -> None:
        self.cloud.clock.advance(seconds)

    def running(self, instance: Instance) -> Instance:
        for _ in range(100):
            found = self.provider.get(instance.id)
            if found.state is InstanceState.RUNNING:
                return found
            self.wait(5)
        raise AssertionError(found)

    def bill(self, instance_id: str) -> dict[str, float]:
        return self.cloud.bill_of(instance_id)

    def billed(self) -> list[str]:
        return [found.id for found in self.cloud.billed_now()]

    def another(self, key: str) -> VastProvider:
        """A provider with another key on the same cloud."""
        return provider(self.cloud, key)


def provider(cloud: VastCloud, key: str, **options: Any) -> VastProvider:
    http = {
        "transport": InProcessTransport(cloud),
        "clock": cloud.clock.now,
        "sleep": cloud.clock.advance,
    }
    config = ProviderConfig(
        base_url="http://127.0.0.1", key=SecretStr(key), options={"http": http, **options}
    )
    return VastProvider(config)


def world(**more: Any) -> World:
    cloud = VastCloud(clock=Clock.virtual(), **more)
    return World(cloud, provider(cloud, cloud.key))

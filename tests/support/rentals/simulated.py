"""A simulated cloud and gpunb's provider for it, in a line: in process, or over HTTP."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from gpunb.providers import CreateSpec, Instance, Offer, OfferQuery, Provider, ProviderConfig, provider_class
from gpunb.sim import Clock, InProcessTransport
from gpunb.sim.serving.runner import Served, cloud_class

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.sim import Cloud, Machine
    from gpunb.sim.hosts.machines import Hosts

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEPEP0D2MRGhnXPu7Zf0b1ifjSpVeQNeGqAxC0G3Xo gpunb-test"
OPTIONS: dict[str, dict[str, Any]] = {"deepinfra": {"accept_terms": True}}


@dataclass(slots=True)
class Simulated:
    """A simulated cloud, and the provider that talks to it."""

    cloud: Any  # the concrete cloud: tests reach into it
    provider: Any
    url: str = "http://127.0.0.1"

    @property
    def clock(self) -> Clock:
        """The cloud's time."""
        found: Clock = self.cloud.clock
        return found

    def offer(self, kind: str | None = None, **facts: Any) -> Offer:
        """The cheapest available offer (of `kind`, with these values in its raw record)."""
        offers = [
            found
            for found in self.provider.search(OfferQuery())
            if found.available
            and kind in (None, found.kind)
            and all(found.raw.get(name) == value for name, value in facts.items())
        ]
        return min(offers, key=lambda found: float(found.hourly()))

    def rent(self, offer: Offer | None = None, **spec: Any) -> Instance:
        """Rent, with a label and a key if none are given."""
        spec = {"label": "gpunb-test", "public_key": PUBLIC_KEY, **spec}
        made: Instance = self.provider.create(offer or self.offer(), CreateSpec(**spec))
        return made

    def machine(self, instance: Instance | str) -> Machine:
        """The truth behind an instance."""
        found: Machine = self.cloud.machines[_own_id(instance)]
        return found

    def bill(self, instance: Instance | str) -> float:
        """Dollars that it really cost until now."""
        return float(sum(self.cloud.bill_of(_own_id(instance)).values()))

    def calls(self, endpoint: str) -> int:
        """How often an endpoint was asked."""
        return sum(call.endpoint == endpoint for call in self.cloud.calls)

    def again(self) -> Provider:
        """A second provider, as another process has."""
        made: Provider = type(self.provider)(self.provider.config)
        return made


def _own_id(instance: Instance | str) -> str:
    found = instance if isinstance(instance, str) else instance.id
    return found.rpartition(":")[2]


def in_process(name: str, **options: Any) -> Simulated:
    """Without sockets, on a virtual clock unless another is given; waiting moves a virtual clock."""
    clock = options.pop("clock", None) or Clock.virtual()
    config = options.pop("config", {})
    cloud: Cloud = cloud_class(name)(clock=clock, **options)
    http: dict[str, Any] = {"transport": InProcessTransport(cloud)}
    if clock.speed == 0:
        http |= {"sleep": clock.advance, "clock": clock.now}
    return Simulated(cloud, _provider(name, cloud, "http://127.0.0.1", {"http": http, **config}))


@contextlib.contextmanager
def served(
    name: str, *, hosts: Hosts | None = None, speed: float = 1.0, **options: Any
) -> Iterator[Simulated]:
    """On a loopback port; with `hosts`, real SSH servers stand behind the instances."""
    cloud = cloud_class(name)(clock=Clock(speed), hosts=hosts, **options)
    server = Served(cloud)
    server.start()
    http = {"pace": 1.0 / speed} if speed > 1 else {}
    simulated = Simulated(cloud, _provider(name, cloud, server.url, {"http": http}), server.url)
    try:
        yield simulated
    finally:
        simulated.provider.close()
        server.stop()


def _provider(name: str, cloud: Cloud, url: str, options: dict[str, Any]) -> Provider:
    options = {**OPTIONS.get(name, {}), **options}
    return provider_class(name)(ProviderConfig(base_url=url, key=SecretStr(cloud.key), options=options))

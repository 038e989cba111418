"""The contract of all providers, on the simulated Vast over a real socket."""

from __future__ import annotations

import time

import pytest
from pydantic import SecretStr

from gpunb.providers.base import OfferQuery, ProviderConfig
from gpunb.providers.contract import ProviderContract
from gpunb.providers.vast import VastProvider
from gpunb.providers.vast.base import VastBase
from gpunb.sim.clock import Clock
from gpunb.sim.serving.runner import Served
from gpunb.sim.vast import VastCloud

SPEED = 200.0


@pytest.fixture(scope="module")
def served():
    made = Served(VastCloud(clock=Clock(SPEED), balance=1e6))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def provider(served):
    config = ProviderConfig(base_url=served.url, key=SecretStr(served.cloud.key), options={"pace": 1 / SPEED})
    made = VastProvider(config)
    yield made
    made.close()


class TestVast(ProviderContract):
    @pytest.fixture
    def provider(self, provider, monkeypatch):
        monkeypatch.setitem(VastBase._pages.__kwdefaults__, "limit", 2)  # rows in a page, so that 3 are two
        return provider

    @pytest.fixture
    def query(self):
        return OfferQuery(disk_gb=10)


def test_the_server_s_own_limits_are_kept_over_the_wire_too(served, provider):
    time.sleep(60 / SPEED)  # the searches of the tests before
    before = len(served.cloud.calls)
    for _ in range(6):
        provider.search(OfferQuery())
        provider.instances()
        provider.check()
    statuses = [call.status for call in list(served.cloud.calls)[before:]]
    assert len(statuses) >= 18
    assert 429 not in statuses

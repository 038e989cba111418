"""The search over all clouds, as they answer on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from gpunb.offers import explain, normalise, parse_query, pick, query_from_flags, search
from gpunb.sim.serving.runner import CLOUDS
from tests.support.rentals.simulated import in_process

if TYPE_CHECKING:
    from gpunb.providers import Provider

NAMES = tuple(CLOUDS)


@pytest.fixture
def clouds(tmp_path, monkeypatch) -> dict[str, Provider]:
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path))
    return {name: in_process(name).provider for name in NAMES}


def test_every_clouds_offers_make_sense_and_have_known_gpus(clouds):
    result = search(clouds, parse_query("available >= 0"))
    assert result.failed == []
    assert result.refused == []
    assert {row.offer.provider for row in result.rows} == set(NAMES)
    assert sorted({offer.gpu for offer in result.offers if not normalise(offer.gpu).known}) == []
    assert [offer.id for offer in result.offers if offer.gpus and not offer.vram_gb] == []
    for row in result.rows:
        assert row.why()
        assert row.total == pytest.approx(row.gpu_usd + row.disk_usd + row.traffic_usd)


@pytest.mark.parametrize(
    "text",
    [
        "gpu = H100",
        "gpu in (A100, RTX 4090)",
        "gpu = RTX 6000 Ada or gpu = L40S",
        "gpu in (H100, RTX 6000 Ada, RTX 4070 Ti SUPER, A100 SXM)",
        "region = US and gpus = 1..2",
        "region in (EU, Canada)",
        "vram >= 80",
        "kind = vm and price <= 5",
        "total <= 3",
        "disk >= 100 and gpus = 8",
    ],
)
def test_what_clouds_are_told_never_costs_an_offer_that_fits(clouds, text):
    query = parse_query(text)
    told = search(clouds, query)
    everything = search(clouds, parse_query("available >= 0", disk=query.ask.disk_gb or None)).offers
    assert told.failed == []
    assert told.rows
    expected = {(row.offer.provider, row.offer.id) for row in pick(everything, query).rows}
    assert {(row.offer.provider, row.offer.id) for row in told.rows} == expected


def test_one_cloud_down_does_not_hold_the_others_back(clouds):
    def down(_request: httpx.Request) -> httpx.Response:
        msg = "no route to host"
        raise httpx.ConnectError(msg)

    http = {"transport": httpx.MockTransport(down), "sleep": lambda _seconds: None}
    clouds["vast"] = in_process("vast", config={"http": http}).provider
    result = search(clouds, query_from_flags(gpu="H100"))
    assert [answer.provider for answer in result.failed] == ["vast"]
    assert result.rows
    assert any(line.startswith("vast: Vast.ai can't be reached") for line in explain(result))

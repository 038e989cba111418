"""RunPod against its simulation; each test names the fact of RunPod's own pages that it holds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from support.rentals.simulated import PUBLIC_KEY, Simulated, in_process, served

from gpunb.errors import AuthFailed, BadInput, NoFunds, OfferGone, OutcomeUnknown
from gpunb.providers import InstanceState, OfferQuery, Presence
from gpunb.providers.contract import ProviderContract
from gpunb.providers.runpod import DISK_USD_GB_H

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sim(home: Path) -> Simulated:
    return in_process("runpod")


class TestContract(ProviderContract):
    unknown_id: ClassVar[str] = "7h9k2m4n6p"

    @pytest.fixture
    def provider(self, home: Path) -> Iterator[Any]:
        with served("runpod", boot_s=0.2) as sim:
            yield sim.provider


class TestOffers:
    def test_the_price_of_one_gpu_is_multiplied(self, sim: Simulated) -> None:
        for offer in sim.provider.search(OfferQuery()):
            tier, count, place, ident = offer.id.split(":")
            _, row = sim.cloud.types[offer.raw["id"]]
            assert row[tier], "the catalogue prices a cloud, too, that lacks the type"
            assert (ident, offer.gpus) == (row["id"].replace(" ", "_"), int(count))
            assert offer.usd_h == pytest.approx(row["price"][tier] * int(count))
            assert offer.gpus <= row["maxCount"][tier]
            assert offer.trust == ("datacenter" if tier == "secure" else "stranger")
            assert offer.region == place
            assert offer.disk_usd_gb_h * 720 == pytest.approx(0.10)

    @pytest.mark.parametrize(
        ("place", "country"), [("US-TX-3", "US"), ("EU-RO-1", "RO"), ("AP-JP-1", "JP"), ("CA-MTL-1", "CA")]
    )
    def test_a_data_centre_names_its_country(self, sim: Simulated, place: str, country: str) -> None:
        found = [one for one in sim.provider.search(OfferQuery()) if one.region == place]
        assert found
        assert {one.country for one in found} == {country}

    def test_only_the_counts_that_are_asked_for_are_asked(self, sim: Simulated) -> None:
        found = sim.provider.search(OfferQuery(count_min=3, count_max=4))
        assert {one.gpus for one in found} == {3, 4}
        assert sim.calls("search") == 4, "two counts, two clouds"

    def test_what_is_sold_out_is_shown_so(self, sim: Simulated) -> None:
        ident = next(iter(sim.cloud.types))
        sim.cloud.sold_out.add(ident)
        found = [one for one in sim.provider.search(OfferQuery()) if one.raw["id"] == ident]
        assert found
        assert {one.available for one in found} == {0}

    @pytest.mark.parametrize("row", [7, None, {"id": "x"}])
    def test_a_row_that_cannot_be_read_is_left_out(
        self, sim: Simulated, row: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = sim.provider.http.call
        monkeypatch.setattr(
            sim.provider.http, "call", lambda *words, **more: {"gpus": [row, *real(*words, **more)["gpus"]]}
        )
        with caplog.at_level(logging.WARNING):
            assert sim.provider.search(OfferQuery())
        assert "left out" in caplog.text


class TestCreate:
    def test_our_key_replaces_those_of_the_account(self, sim: Simulated) -> None:
        offer = next(one for one in sim.provider.search(OfferQuery()) if one.region and one.gpus == 2)
        made = sim.rent(offer, env={"NOTE": "a"}, disk_gb=30.5)
        body = sim.machine(made).data["body"]
        assert body.env == {"NOTE": "a", "PUBLIC_KEY": PUBLIC_KEY}
        assert (body.startSsh, body.ports, body.args) == (True, ["22/tcp"], "")
        assert (body.gpu.id, body.gpu.count, body.dataCenterIds) == (offer.raw["id"], 2, [offer.region])
        assert body.disk == 31
        assert sim.calls("create") == 1

    def test_an_image_that_is_not_runpods_gets_an_ssh_server(self, sim: Simulated) -> None:
        args = sim.machine(sim.rent(image="ubuntu:24.04")).data["body"].args
        assert "openssh-server" in args
        assert "$PUBLIC_KEY" in args

    def test_refusals_are_read_by_their_words(self, sim: Simulated) -> None:
        for fault, error in (("offer-gone", OfferGone), ("zero-balance", NoFunds)):
            sim.cloud.faults.add(fault)
            with pytest.raises(error) as caught:
                sim.rent()
            assert caught.value.effect == "none"
        offer = sim.offer()
        offer.raw = {**offer.raw, "id": "a cow"}
        with pytest.raises(BadInput, match="a cow"):
            sim.rent(offer)
        offer.raw = {}
        with pytest.raises(BadInput, match="search again"):
            sim.rent(offer)
        with pytest.raises(BadInput, match="1 to 191"):
            sim.rent(label="")
        assert sim.cloud.machines == {}

    def test_an_answer_of_another_version_is_an_unknown_outcome(self, sim: Simulated) -> None:
        sim.cloud.faults.add("wrong-shape", "create")
        with pytest.raises(OutcomeUnknown):
            sim.rent()
        assert len(sim.provider.find("gpunb-test")) == 1


class TestLife:
    def test_states_address_bill_and_usage(self, sim: Simulated) -> None:
        made = sim.rent()
        seen = [made.raw_state]
        for _ in range(3):
            sim.clock.advance(25)
            seen.append(sim.provider.get(made.id).raw_state)
        assert seen == ["PROVISIONING", "PROVISIONING", "STARTING", "RUNNING"]
        found = sim.provider.get(made.id)
        assert (found.state, found.user) == (InstanceState.RUNNING, "root")
        sim.clock.advance(3600 - 15)
        assert sim.bill(made) == pytest.approx(found.usd_h), "GPU and disk, by the second"
        lines = {one.kind: one.usd for one in sim.provider.usage(made.id)}
        assert lines["disk"] == pytest.approx(20 * DISK_USD_GB_H)
        assert sum(lines.values()) == pytest.approx(sim.bill(made))
        sim.provider.destroy(made.id)
        assert sim.provider.instances() == []
        sim.clock.advance(10)
        assert sim.provider.presence(made.id) is Presence.GONE

    @pytest.mark.parametrize(
        ("word", "state"),
        [
            ("EXITED", InstanceState.STOPPED),
            ("ERROR", InstanceState.FAILED),
            ("TERMINATED", InstanceState.GONE),
            ("HIBERNATING", InstanceState.UNKNOWN),
        ],
    )
    def test_other_states(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch, word: str, state: InstanceState
    ) -> None:
        made = sim.rent()
        monkeypatch.setattr(sim.cloud, "status", lambda machine: word)
        assert sim.provider.get(made.id).state is state

    def test_a_stopped_pod_of_yours_bills_its_volume(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = sim.rent()
        row = sim.cloud.row
        volume = {"persistent": {"size": 100, "path": "/workspace"}}
        monkeypatch.setattr(
            sim.cloud,
            "row",
            lambda machine: {**row(machine), "mounts": volume, "status": "EXITED", "cost": 0.0},
        )
        found = sim.provider.get(made.id)
        assert found.stopped_usd_h * 720 == pytest.approx(20.0), "$0.20 a GB and month"

    def test_running_without_a_published_port_is_not_ready(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = sim.rent()
        sim.clock.advance(70)
        row = sim.cloud.row
        monkeypatch.setattr(sim.cloud, "row", lambda machine: {**row(machine), "ssh": {"direct": None}})
        assert sim.provider.get(made.id).state is InstanceState.CREATING


def test_a_wrong_key_is_401_and_says_nothing_of_a_pod(sim: Simulated) -> None:
    made = sim.rent()
    sim.cloud.accounts = {"another": next(iter(sim.cloud.accounts.values()))}
    with pytest.raises(AuthFailed) as caught:
        sim.provider.check()
    assert caught.value.hint == "gpunb login runpod"
    assert sim.provider.presence(made.id) is Presence.UNKNOWN

"""Shadeform against its simulation; each test names the fact of Shadeform's own pages that it holds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from support.rentals.simulated import PUBLIC_KEY, Simulated, in_process, served

from gpunb.errors import AuthFailed, BadInput, NoFunds, NotSupported, OfferGone
from gpunb.providers import InstanceState, OfferQuery, Presence
from gpunb.providers.contract import ProviderContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sim(home: Path) -> Simulated:
    return in_process("shadeform")


class TestContract(ProviderContract):
    unknown_id: ClassVar[str] = "d290f1ee-6c54-4b01-90e6-d701748f0851"

    @pytest.fixture
    def provider(self, home: Path) -> Iterator[Any]:
        with served("shadeform", boot_s=0.2) as sim:
            yield sim.provider


class TestOffers:
    def test_one_offer_for_each_cloud_region_and_type(self, sim: Simulated) -> None:
        found = {offer.id: offer for offer in sim.provider.search(OfferQuery())}
        for (cloud, kind), (rig, row) in sim.cloud.types.items():
            for place in row["availability"]:
                offer = found.pop(f"{cloud}/{place['region']}/{kind}")
                assert offer.usd_h == row["hourly_price"] / 100, "cents for the machine"
                assert (offer.available, offer.gpus) == (int(place["available"]), rig.gpus)
                assert offer.trust == ("stranger" if cloud == "tensordock" else "datacenter")
                assert offer.increment_s == 3600.0, "no page says a step"
        assert found == {}

    @pytest.mark.parametrize("row", [7, None, {"cloud": "x"}])
    def test_a_row_that_cannot_be_read_is_left_out(
        self, sim: Simulated, row: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = next(iter(sim.cloud.types))
        whole = len(sim.provider.search(OfferQuery()))
        sim.cloud.types[first] = (sim.cloud.types[first][0], row)
        with caplog.at_level(logging.WARNING):
            assert len(sim.provider.search(OfferQuery())) == whole - 3
        assert "left out" in caplog.text


class TestCreate:
    def test_the_sessions_key_goes_through_the_account_and_leaves_it(self, sim: Simulated) -> None:
        made = sim.rent()
        (key,) = sim.provider.ssh_keys()
        assert (key["public_key"], key["name"][:6]) == (PUBLIC_KEY, "gpunb-")
        assert sim.provider.get(made.id).ssh_key == key["id"]
        second = sim.rent(label="another")
        assert len(sim.provider.ssh_keys()) == 1, "the same key is not added twice"
        sim.provider.destroy(made.id)
        assert len(sim.provider.ssh_keys()) == 1, "another machine uses it"
        sim.provider.destroy(second.id)
        assert sim.provider.ssh_keys() == []

    def test_a_key_of_the_users_own_is_left(self, sim: Simulated) -> None:
        keys = sim.cloud._keys(next(iter(sim.cloud.accounts.values())))
        keys.append({"id": "mine", "name": "laptop", "public_key": "ssh-rsa A", "is_default": True})
        made = sim.rent()
        sim.machine(made).data["body"].ssh_key_id = "mine"
        sim.provider.destroy(made.id)
        assert "mine" in {one["id"] for one in sim.provider.ssh_keys()}

    def test_a_script_runs_when_it_is_active(self, sim: Simulated) -> None:
        assert sim.machine(sim.rent(onstart="echo done")).data["script"] == "echo done"

    def test_the_system_is_one_of_the_offers(self, sim: Simulated) -> None:
        assert sim.machine(sim.rent()).data["body"].os == "ubuntu24.04_cuda12.8_shade_os"
        with pytest.raises(BadInput, match="one of the offer's systems"):
            sim.rent(label="other", image="windows")
        with pytest.raises(NotSupported, match="env"):
            sim.rent(label="other", env={"A": "1"})
        with pytest.raises(BadInput, match="1 to 64"):
            sim.rent(label="")
        assert sim.calls("create") == 1

    def test_refusals_are_read_by_their_words_and_leave_no_key(self, sim: Simulated) -> None:
        for fault, error in (("offer-gone", OfferGone), ("zero-balance", NoFunds)):
            sim.cloud.faults.add(fault)
            with pytest.raises(error) as caught:
                sim.rent()
            assert caught.value.effect == "none"
            assert sim.provider.ssh_keys() == []
        assert sim.cloud.machines == {}


class TestLife:
    def test_states_address_and_bill(self, sim: Simulated) -> None:
        made = sim.rent()
        seen = []
        for _ in range(3):
            seen.append(sim.provider.get(made.id).raw_state)
            sim.clock.advance(50)
        assert seen == ["creating", "pending", "active"]
        found = sim.provider.get(made.id)
        assert (found.state, found.user) == (InstanceState.RUNNING, "shadeform")
        sim.provider.rename(made.id, "another")
        assert [one.id for one in sim.provider.find("another")] == [made.id]
        sim.provider.reboot(made.id)
        sim.clock.advance(40)
        assert sim.provider.get(made.id).state is InstanceState.RUNNING
        sim.provider.destroy(made.id)
        assert sim.provider.presence(made.id) is Presence.PRESENT, "deleting is not gone"
        paid = sim.bill(made)
        sim.clock.advance(10)
        assert sim.provider.instances() == []
        assert sim.provider.get(made.id).state is InstanceState.GONE
        assert sim.provider.presence(made.id) is Presence.GONE
        assert sim.bill(made) == paid, "nothing is billed from deleting on"

    @pytest.mark.parametrize(
        ("word", "state"),
        [
            ("pending_provider", InstanceState.CREATING),
            ("error", InstanceState.FAILED),
            ("hibernating", InstanceState.UNKNOWN),
        ],
    )
    def test_other_states(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch, word: str, state: InstanceState
    ) -> None:
        made = sim.rent()
        monkeypatch.setattr(sim.cloud, "status", lambda machine: word)
        assert sim.provider.get(made.id).state is state
        assert sim.provider.presence(made.id) is Presence.PRESENT


def test_a_wrong_key_is_401_and_says_nothing_of_a_machine(sim: Simulated) -> None:
    made = sim.rent()
    sim.cloud.accounts = {"another": next(iter(sim.cloud.accounts.values()))}
    with pytest.raises(AuthFailed) as caught:
        sim.provider.check()
    assert caught.value.hint == "gpunb login shadeform"
    assert sim.provider.presence(made.id) is Presence.UNKNOWN

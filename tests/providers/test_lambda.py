"""Lambda Cloud against its simulation; each test names the fact of Lambda's own pages that it holds."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from support.rentals.simulated import PUBLIC_KEY, Simulated, in_process, served

from gpunb.errors import AuthFailed, BadInput, NoFunds, OfferGone
from gpunb.offers import normalise
from gpunb.providers import InstanceState, OfferQuery, Presence
from gpunb.providers.contract import ProviderContract
from gpunb.ssh.keys import generate_host_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sim(home: Path) -> Simulated:
    return in_process("lambda")


class TestContract(ProviderContract):
    unknown_id: ClassVar[str] = "0123456789abcdef0123456789abcdef"

    @pytest.fixture
    def provider(self, home: Path) -> Iterator[Any]:
        with served("lambda", boot_s=0.2, speed=200.0) as sim:  # a launch each 12 s of Lambda's clock
            yield sim.provider


def types(sim: Simulated) -> dict[str, Any]:
    return {name: row for name, (_, row) in sim.cloud.types.items()}


class TestOffers:
    def test_one_offer_for_each_region_with_capacity(self, sim: Simulated) -> None:
        found = {offer.id: offer for offer in sim.provider.search(OfferQuery())}
        for name, row in types(sim).items():
            places = [one["name"] for one in row["regions_with_capacity_available"]] or [""]
            for place in places:
                offer = found.pop(f"{place}:{name}")
                assert offer.usd_h == row["instance_type"]["price_cents_per_hour"] / 100, (
                    "cents for the machine"
                )
                assert offer.available == bool(place)
                assert offer.gpus == row["instance_type"]["specs"]["gpus"]
                assert (offer.increment_s, offer.bills_boot) == (60.0, False)
        assert found == {}

    @pytest.mark.parametrize(
        ("said", "name", "vram"),
        [
            ("A10 (24 GB PCIe)", "A10", 24.0),
            ("A100 (40 GB SXM4)", "A100 SXM", 40.0),
            ("H100 (80 GB SXM5)", "H100 SXM", 80.0),
            ("GH200 (96 GB)", "GH200", 96.0),
            ("RTX A6000 (48 GB)", "RTX A6000", 48.0),
            ("Tesla V100 (16 GB)", "V100", 16.0),
        ],
    )
    def test_gpu_description_is_model_memory_and_form(
        self, sim: Simulated, said: str, name: str, vram: float
    ) -> None:
        kind = next(iter(types(sim).values()))["instance_type"]
        kind["gpu_description"] = said
        offer = next(one for one in sim.provider.search(OfferQuery()) if one.id.endswith(f":{kind['name']}"))
        assert (normalise(offer.gpu_raw).name, offer.vram_gb) == (name, vram)

    @pytest.mark.parametrize("row", [7, None, {"instance_type": {"name": "x"}}, "description"])
    def test_a_row_that_cannot_be_read_is_left_out(
        self, sim: Simulated, row: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        kinds = len({one.id.partition(":")[2] for one in sim.provider.search(OfferQuery())})
        name, (rig, good) = next(iter(sim.cloud.types.items()))
        if row == "description":
            row = {**good, "instance_type": {**good["instance_type"], "gpu_description": "a cow"}}
        sim.cloud.types[name] = (rig, row)
        with caplog.at_level(logging.WARNING):
            found = {one.id.partition(":")[2] for one in sim.provider.search(OfferQuery())}
        assert len(found) == kinds - 1
        assert "left out" in caplog.text


class TestCreate:
    def test_cloud_init_carries_key_host_key_lease_and_environment(self, sim: Simulated) -> None:
        private, public = generate_host_key()
        made = sim.rent(
            host_key=private,
            env={"NOTE": "it's"},
            onstart="echo done",
            deadline=1_800_007_200.0,
            hostname="box",
        )
        assert sim.calls("create") == 1
        data = sim.machine(made).data
        config = json.loads(data["user_data"].partition("\n")[2])
        assert config["ssh_authorized_keys"] == [PUBLIC_KEY]
        assert config["ssh_keys"]["ed25519_private"] == private
        assert '"deadline": 1800007200.0' in config["runcmd"][0][2]
        assert config["runcmd"][1] == ["/bin/bash", "-c", "echo done"]
        assert made.host_key is not None
        assert made.host_key.split()[:2] == public.split()[:2]
        assert (data["hostname"], made.user, made.state) == ("box", "ubuntu", InstanceState.CREATING)

    def test_the_one_key_that_a_launch_needs_is_nobodys_and_made_once(self, sim: Simulated) -> None:
        keys = sim.cloud._keys(next(iter(sim.cloud.accounts.values())))
        keys.append({"id": "c0ffee", "name": "a colleague's", "public_key": PUBLIC_KEY})
        first, second = sim.rent(label="one"), sim.rent(label="two")
        assert [sim.provider.get(one.id).ssh_key for one in (first, second)] == ["gpunb", "gpunb"]
        assert [one["name"] for one in sim.provider.ssh_keys()] == ["a colleague's", "gpunb"]
        assert sim.provider.get(sim.rent(label="three", ssh_key="c0ffee").id).ssh_key == "a colleague's"
        with pytest.raises(BadInput, match="c0ffee"):
            sim.rent(label="four", ssh_key="another")
        sim.provider.delete_ssh_key("c0ffee")
        assert [one["name"] for one in sim.provider.ssh_keys()] == ["gpunb"]

    def test_another_process_made_the_key_meanwhile(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, asked = sim.provider.ssh_keys, []

        def late() -> list[dict[str, Any]]:
            asked.append(0)
            if len(asked) == 1:
                other = sim.again()
                other._key_name("")
                return []
            return real()  # type: ignore[no-any-return]

        monkeypatch.setattr(sim.provider, "ssh_keys", late)
        assert sim.rent().id
        assert len(asked) == 2

    @pytest.mark.parametrize(
        ("image", "field"),
        [("lambda-stack-24-04", "family"), ("0" * 8 + "-0000-0000-0000-" + "0" * 12, "id")],
    )
    def test_an_image_is_a_family_or_an_id(self, sim: Simulated, image: str, field: str) -> None:
        assert sim.machine(sim.rent(image=image)).data["image"] == {field: image}

    @pytest.mark.parametrize("label", ["", "x" * 65])
    def test_a_name_has_1_to_64_characters(self, sim: Simulated, label: str) -> None:
        with pytest.raises(BadInput, match="1 to 64"):
            sim.rent(label=label)
        assert sim.calls("create") == 0

    def test_refusals_are_read_by_their_codes(self, sim: Simulated) -> None:
        offer = sim.offer()
        for fault, error in (("offer-gone", OfferGone), ("zero-balance", NoFunds)):
            sim.cloud.faults.add(fault)
            with pytest.raises(error) as caught:
                sim.rent(sim.offer())
            assert caught.value.effect == "none"
        with pytest.raises(BadInput, match="does not exist"):
            offer.id = offer.id.partition(":")[0] + ":gpu_9x_cow"
            sim.rent(offer)
        assert sim.cloud.machines == {}


class TestLife:
    def test_states_address_and_bill(self, sim: Simulated) -> None:
        made = sim.rent()
        assert sim.provider.get(made.id).state is InstanceState.CREATING
        sim.clock.advance(121)
        found = sim.provider.get(made.id)
        assert (found.state, found.user, found.host.count(":")) == (InstanceState.RUNNING, "ubuntu", 0)
        sim.clock.advance(90)
        assert sim.bill(made) == pytest.approx(made.usd_h * 2 / 60), "begun minutes; the boot is free"
        sim.provider.destroy(made.id)
        assert sim.provider.presence(made.id) is Presence.PRESENT, "terminating is not gone"
        sim.clock.advance(10)
        assert sim.provider.instances() == []
        assert sim.provider.presence(made.id) is Presence.GONE

    @pytest.mark.parametrize(
        ("word", "state"),
        [
            ("unhealthy", InstanceState.OFFLINE),
            ("preempted", InstanceState.INTERRUPTED),
            ("terminated", InstanceState.GONE),
            ("hibernating", InstanceState.UNKNOWN),
        ],
    )
    def test_other_states(
        self, sim: Simulated, monkeypatch: pytest.MonkeyPatch, word: str, state: InstanceState
    ) -> None:
        made = sim.rent()
        monkeypatch.setattr(sim.cloud, "state_word", lambda machine: word)
        assert sim.provider.get(made.id).state is state
        gone = Presence.GONE if state is InstanceState.GONE else Presence.PRESENT
        assert sim.provider.presence(made.id) is gone

    def test_a_restart_is_billed_through(self, sim: Simulated) -> None:
        made = sim.rent()
        sim.clock.advance(180)
        sim.provider.reboot(made.id)
        assert sim.provider.get(made.id).state is InstanceState.CREATING
        sim.clock.advance(60)
        assert sim.provider.get(made.id).state is InstanceState.RUNNING
        assert sim.bill(made) == pytest.approx(made.usd_h * 2 / 60)


def test_a_wrong_key_is_a_code_and_says_nothing_of_an_instance(sim: Simulated) -> None:
    made = sim.rent()
    sim.cloud.accounts = {"another": next(iter(sim.cloud.accounts.values()))}
    with pytest.raises(AuthFailed) as caught:
        sim.provider.check()
    assert caught.value.hint == "gpunb login lambda"
    assert sim.provider.presence(made.id) is Presence.UNKNOWN

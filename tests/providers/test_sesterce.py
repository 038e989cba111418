"""Sesterce against its simulation; each test names the fact of its reference or its client that it holds."""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.rentals.schemas import check
from support.rentals.simulated import PUBLIC_KEY, Simulated, in_process, served

from gpunb.errors import AuthFailed, BadInput, InstanceGone, NotSupported, OfferGone, OutcomeUnknown
from gpunb.providers import CreateSpec, InstanceState, OfferQuery, Presence
from gpunb.providers.contract import ProviderContract
from gpunb.providers.sesterce import create, mapping
from gpunb.ssh.keys import generate_host_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sim(home: Path) -> Simulated:
    return in_process("sesterce")


class TestContract(ProviderContract):
    @pytest.fixture
    def provider(self, home: Path) -> Iterator[Any]:
        with served("sesterce", boot_s=0.2) as sim:
            yield sim.provider


class TestOffers:
    def test_one_offer_for_each_region(self, sim: Simulated) -> None:
        found = sim.provider.search(OfferQuery())
        rows = sim.provider.http.call("GET", "/gpu-cloud/instances/offers", expect=list)
        assert len(found) == sum(len(row["availability"]) for row in rows) > len(rows)
        offer = found[0]
        assert offer.id == f"{offer.raw['instanceId']}/{offer.region}/{offer.host_id}"
        assert offer.host_id == offer.raw["cloud"]["name"]

    def test_a_region_that_is_taken_is_shown_as_not_available(self, sim: Simulated) -> None:
        assert {offer.available for offer in sim.provider.search(OfferQuery())} == {0, 1}
        assert {offer.available for offer in sim.provider.offers(available="true")} == {1}

    def test_every_query_parameter(self, sim: Simulated) -> None:
        region = sim.offer().region
        assert {offer.region for offer in sim.provider.offers(region=region)} == {region}
        assert {offer.gpus for offer in sim.provider.offers(numGpus="4")} == {4}
        assert {offer.gpu for offer in sim.provider.offers(gpuType="h100")} == {"H100"}
        assert {offer.kind for offer in sim.provider.offers(deploymentType="baremetal")} == {"bare-metal"}
        prices = [offer.usd_h for offer in sim.provider.offers(sort="price")]
        assert prices == sorted(prices)
        with pytest.raises(BadInput, match="parameter colour"):
            sim.provider.offers(colour="red")

    def test_what_the_api_filters_exactly_is_passed_on(self, sim: Simulated) -> None:
        region = sim.offer("vm").region
        query = OfferQuery(regions=[region], kinds=["vm"], count_min=1, count_max=1)
        for offer in sim.provider.search(query):
            assert (offer.region, offer.kind, offer.gpus) == (region, "vm", 1)
        assert sim.provider.search(OfferQuery(regions=["EU"])), "a continent is not a region of Sesterce's"

    @pytest.mark.parametrize(
        "harm", [{"hourlyPrice": None}, {"cloud": {}}, {"availability": "everywhere"}, {"gpuCount": "many"}]
    )
    def test_an_offer_that_cannot_be_read_is_left_out_and_told(
        self, sim: Simulated, harm: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        rows = list(sim.cloud.offers.values())
        rows[0][1].update(harm)
        transport = sim.provider.config.options["http"]["transport"]
        answer = [row for _, row in rows]
        transport.handle_request = lambda request: httpx.Response(200, json=answer, request=request)
        with caplog.at_level(logging.WARNING):
            found = sim.provider.search(OfferQuery())
        assert rows[0][1]["instanceId"] not in {offer.raw["instanceId"] for offer in found}
        assert found
        assert "an offer is left out: sesterce" in caplog.text


class TestCreate:
    def test_the_offers_id_its_cloud_and_one_region_are_sent(self, sim: Simulated) -> None:
        offer = sim.offer("vm")
        made = sim.rent(offer)
        data = sim.machine(made).data
        assert (data["offer"]["instanceId"], data["place"]["region"]) == (
            offer.raw["instanceId"],
            offer.region,
        )
        assert data["key"] == PUBLIC_KEY

    @pytest.mark.parametrize("kind", ["vm", "baremetal", "container"])
    def test_all_three_kinds(self, sim: Simulated, kind: str) -> None:
        made = sim.rent(sim.offer(deploymentType=kind))
        sim.clock.advance(120)
        found = sim.provider.get(made.id)
        assert found.state is InstanceState.RUNNING
        assert (found.host, found.port) == sim.machine(made).address
        assert found.user == ("root" if kind == "container" else "ubuntu")

    def test_the_os_must_be_one_of_the_offers_and_cuda_is_the_default(self, sim: Simulated) -> None:
        offer = sim.offer("vm")
        made = sim.rent(offer)
        assert sim.machine(made).data["os"] == "ubuntu24.04_cuda12.4_shade_os"
        with pytest.raises(BadInput, match="os 'dos' must be one of the offer's: ubuntu"):
            sim.rent(offer, extra={"os": "dos"})

    def test_cloud_init_only_where_the_offer_has_it(self, sim: Simulated) -> None:
        private, public = generate_host_key()
        offer = sim.offer(cloudInitAvailable=True)
        made = sim.rent(offer, host_key=private, env={"A": "1"}, onstart="ls", deadline=1_800_000_000.0)
        assert made.host_key is not None
        assert made.host_key.split()[:2] == public.split()[:2]
        spec = sim.machine(made).spec
        assert spec is not None
        assert spec.host_key == private
        assert spec.env == {"A": "1"}
        assert "lease.json" in spec.onstart
        without = sim.offer(cloudInitAvailable=False)
        made = sim.rent(without, host_key=private)
        assert made.host_key is None, "nobody vouches for the key that this one will show"
        for field, value in (("env", {"A": "1"}), ("onstart", "ls")):
            with pytest.raises(NotSupported, match=field):
                sim.rent(without, **{field: value})

    def test_the_script_is_base64(self, sim: Simulated) -> None:
        offer = sim.offer(cloudInitAvailable=True)
        body, _ = create.body(sim.provider, offer, CreateSpec(label="a", public_key=PUBLIC_KEY))
        text = base64.b64decode(body["vm"]["base64CloudInitScript"], validate=True).decode()
        assert json.loads(text.partition("\n")[2])["ssh_authorized_keys"] == [PUBLIC_KEY]
        own, _ = create.body(
            sim.provider,
            offer,
            CreateSpec(label="a", public_key=PUBLIC_KEY, extra={"cloud_init": "#!/bin/sh\nls\n"}),
        )
        assert base64.b64decode(own["vm"]["base64CloudInitScript"]) == b"#!/bin/sh\nls\n"

    def test_a_container_needs_image_and_tag(self, sim: Simulated) -> None:
        offer = sim.offer("container")
        with pytest.raises(BadInput, match="image:tag"):
            sim.rent(offer, image="registry:5000/pytorch")
        assert (
            sim.machine(sim.rent(offer, image="pytorch/pytorch:2.4")).data["image"] == "pytorch/pytorch:2.4"
        )

    def test_a_key_by_its_id(self, sim: Simulated) -> None:
        key_id = sim.provider.add_ssh_key("laptop", PUBLIC_KEY)
        with pytest.raises(NotSupported, match="takes one SSH key there"):  # it would keep gpunb out
            sim.rent(sim.offer("vm", cloudInitAvailable=False), ssh_key=key_id)
        offer = sim.offer("vm", cloudInitAvailable=True)
        made = sim.rent(offer, ssh_key=key_id, public_key="ssh-ed25519 AAAA other")
        assert sim.machine(made).data["key"] == PUBLIC_KEY
        sim.provider.delete_ssh_key(key_id)
        assert sim.provider.ssh_keys() == []

    def test_an_answer_without_an_id_is_an_unknown_outcome(self, sim: Simulated) -> None:
        offer = sim.offer()
        sim.cloud.faults.add("wrong-shape", "create")
        with pytest.raises(OutcomeUnknown, match="field _id") as caught:
            sim.rent(offer)
        assert caught.value.bill == "an instance may be running and billed"

    def test_there_is_no_idempotency_key_so_the_name_finds_it(self, sim: Simulated) -> None:
        sim.cloud.faults.add("timeout-after", "create")
        offer = sim.offer()
        with pytest.raises(OutcomeUnknown):
            sim.rent(offer, label="gpunb-unique")
        assert [found.label for found in sim.provider.find("gpunb-unique")] == ["gpunb-unique"]

    def test_an_offer_that_is_not_there_any_more(self, sim: Simulated) -> None:
        offer = sim.offer()
        sim.cloud.offers.clear()
        with pytest.raises(OfferGone, match="Offer not found"):
            sim.rent(offer)


class TestLife:
    def test_ip_and_port_are_null_until_it_is_active(self, sim: Simulated) -> None:
        made = sim.rent()
        assert made.raw["ip"] is made.raw["sshPort"] is None
        assert (made.state, made.host, made.port) == (InstanceState.CREATING, "", 0)

    @pytest.mark.parametrize(
        "forwards", [[{"internalPort": 22, "externalPort": 4022}], ["22:4022"], ["22 -> 4022/tcp", "80:81"]]
    )
    def test_port_forwards_are_objects_or_texts(self, sim: Simulated, forwards: list[Any]) -> None:
        row = {"_id": "a", "status": "active", "ip": "203.0.113.1", "sshPort": None, "portForwards": forwards}
        assert mapping.instance(row).port == 4022

    def test_every_status(self, sim: Simulated) -> None:
        words = ("pending", "active", "error", "deleting", "deleted", "sleeping")
        rows = [{"_id": "a", "status": word, "ip": "203.0.113.1", "sshPort": 22} for word in words]
        states = [mapping.instance(row).state.value for row in rows]
        assert states == ["creating", "running", "failed", "ending", "gone", "unknown"]

    def test_no_stop_and_no_rename(self, sim: Simulated) -> None:
        for call in (lambda: sim.provider.stop("a"), lambda: sim.provider.rename("a", "b")):
            with pytest.raises(NotSupported, match="Sesterce"):
                call()

    def test_delete_and_then_gone(self, sim: Simulated) -> None:
        made = sim.rent()
        sim.clock.advance(120)
        sim.provider.destroy(made.id)
        assert sim.provider.get(made.id).state is InstanceState.ENDING
        assert sim.provider.presence(made.id) is Presence.PRESENT
        sim.clock.advance(30)
        assert sim.provider.presence(made.id) is Presence.GONE
        with pytest.raises(InstanceGone):
            sim.provider.destroy(made.id)

    def test_a_wrong_key_is_403_with_the_same_body_as_404(self, sim: Simulated) -> None:
        made = sim.rent()
        sim.cloud.accounts = {"other": next(iter(sim.cloud.accounts.values()))}
        with pytest.raises(AuthFailed, match="API key invalid"):
            sim.provider.check()
        assert sim.provider.presence(made.id) is Presence.UNKNOWN

    def test_a_proxys_404_is_not_the_end_of_an_instance(self, sim: Simulated) -> None:
        transport = sim.provider.config.options["http"]["transport"]
        transport.handle_request = lambda request: httpx.Response(404, text="nginx", request=request)
        with pytest.raises(Exception, match="404") as caught:
            sim.provider.get("abc")
        assert not isinstance(caught.value, InstanceGone)


class TestVolumes:
    def test_they_are_billed_until_they_are_deleted_also_after_the_instance(self, sim: Simulated) -> None:
        offer = sim.offer("vm")
        cloud = offer.raw["cloud"]["_id"]
        (price,) = [row for row in sim.provider.volume_offers() if row["cloudProvider"]["_id"] == cloud]
        assert offer.region in price["regions"]
        volume = sim.provider.create_volume(cloud=cloud, region=offer.region, name="gpunb-data", size_gb=100)
        made = sim.rent(offer, volumes={volume: "/data"})
        assert sim.machine(made).data["volume"]["_id"] == volume
        for sim.cloud.strict in (True, False):  # lists of lists, or objects
            assert [one.instances for one in sim.provider.volumes()] == [(made.id,)]
        sim.clock.advance(120)
        sim.provider.destroy(made.id)
        sim.clock.advance(3600)
        assert sim.provider.presence(made.id) is Presence.GONE
        hourly = float(price["pricePerGbPerHour"]) * 100
        (kept,) = sim.provider.volumes()
        assert kept.instances == ()
        assert (kept.name, kept.usd_h) == ("gpunb-data", pytest.approx(hourly)), "an orphan sweep must see it"
        account = next(iter(sim.cloud.accounts.values()))
        assert account.bill(volume).billed()
        sim.provider.delete_volume(volume)
        assert sim.provider.volumes() == []
        assert not account.bill(volume).billed()
        cost = float(price["pricePerGbPerHour"]) * 100 * 3720 / 3600
        assert account.bill(volume).total(sim.clock.now()) == pytest.approx(cost, rel=0.01)

    def test_a_begun_hour_is_counted_whole(self, sim: Simulated) -> None:
        offer = sim.offer("vm")
        assert offer.total(0.2) == pytest.approx(offer.usd_h), "no page says the step: the safe side"
        assert offer.total(1.5) == pytest.approx(2 * offer.usd_h)

    def test_another_region_is_refused(self, sim: Simulated) -> None:
        offer = sim.offer("vm")
        cloud = offer.raw["cloud"]["_id"]
        volume = sim.provider.create_volume(cloud=cloud, region="elsewhere-1", name="v", size_gb=10)
        with pytest.raises(BadInput, match="another cloud or region"):
            sim.rent(offer, extra={"volume_id": volume})
        with pytest.raises(BadInput, match="mounts one"):
            sim.rent(offer, volumes={"a": "/a", "b": "/b"})
        with pytest.raises(BadInput, match="size_gb 0"):
            sim.provider.create_volume(cloud=cloud, region="x", name="v", size_gb=0)


def test_the_simulations_answers_fit_sesterces_published_schemas(home: Path) -> None:
    sim = in_process("sesterce", strict=True)
    client = httpx.Client(
        transport=sim.provider.config.options["http"]["transport"],
        base_url="http://127.0.0.1",
        headers={"x-api-key": sim.cloud.key},
    )
    offers = client.get("/gpu-cloud/instances/offers")
    check("sesterce", "GET /gpu-cloud/instances/offers", 200, offers.json())
    for kind in ("vm", "container", "baremetal"):
        offer = sim.offer(deploymentType=kind)
        body, _ = create.body(sim.provider, offer, CreateSpec(label=f"gpunb-{kind}", public_key=PUBLIC_KEY))
        answer = client.post("/gpu-cloud/instances", json=body)
        assert answer.status_code == 201
        check("sesterce", "POST /gpu-cloud/instances", 201, answer.json())
        path = f"/gpu-cloud/instances/{answer.json()['_id']}"
        for seconds in (0, 200):
            sim.clock.advance(seconds)
            check("sesterce", "GET /gpu-cloud/instances", 200, client.get("/gpu-cloud/instances").json())
            check("sesterce", "GET /gpu-cloud/instances/{id}", 200, client.get(path).json())
        assert client.delete(path).status_code == 204
        sim.clock.advance(60)
        check("sesterce", "GET /gpu-cloud/instances/{id}", 200, client.get(path).json())
    wrong = client.get("/gpu-cloud/instances", headers={"x-api-key": "no"})
    check("sesterce", "GET /gpu-cloud/instances", 403, wrong.json())
    missing = client.get("/gpu-cloud/instances/none")
    assert missing.status_code == 404
    check("sesterce", "GET /gpu-cloud/instances/{id}", 404, missing.json())

"""Vast's create: the order, what is refused before it goes, lost answers, and offers that are gone."""

from __future__ import annotations

import random

import pytest
from pydantic import SecretStr

from gpunb.errors import BadInput, NoFunds, OfferGone, OutcomeUnknown
from gpunb.providers.base import CreateSpec, InstanceState, OfferQuery, Presence, RegistryLogin
from gpunb.providers.vast import create
from tests.support.rentals.vast_cloud import PUBLIC_KEY


def body_of(w, offer=None, **more):
    spec = {"label": "gpunb-x", "public_key": PUBLIC_KEY, "disk_gb": 20, **more}
    return create.body(offer or w.offer(), CreateSpec(**spec), options={}, base_url="https://console.vast.ai")


def test_the_order_says_everything(w):
    body = body_of(
        w, env={"A": "b"}, ports=(8080, "9000/udp", 70000, 22), deadline=1.9e9, onstart="echo mine"
    )
    assert body["client_id"] == "me"
    assert body["price"] is None
    assert body["cancel_unavail"] is True  # else a stopped, billed instance (default false for interruptible)
    assert body["runtype"] == "ssh_direc ssh_proxy"  # "direc", as the client spells it
    assert body["env"] == {
        "A": "b",
        "-p 8080:8080": "1",
        "-p 9000:9000/udp": "1",
        "-p 70000:70000": "1",
    }
    assert body["image"] == "vastai/pytorch:@vastai-automatic-tag"
    assert ".no_auto_tmux" in body["onstart"]
    assert "1900000000" in body["onstart"]
    assert body["onstart"].rstrip().endswith("echo mine")
    assert body_of(w, hostname="trainer-1")["env"] == {"-h": "trainer-1"}
    assert body_of(w, extra={"connection": "proxy"})["runtype"] == "ssh_proxy"
    template = body_of(w, template="a33b72bd045341cfcd678ce7c932a614")
    assert "image" not in template
    assert template["template_hash_id"] == "a33b72bd045341cfcd678ce7c932a614"
    assert body_of(w, volumes={"77": "/data"})["volume_info"] == {
        "create_new": False,
        "volume_id": 77,
        "mount_path": "/data",
    }


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"label": ""}, "label"),
        ({"label": "x" * 257}, "label: 257"),
        ({"disk_gb": 1e6}, "disk: 1e"),
        ({"disk_gb": float("nan")}, "disk: nan"),
        ({"bid_usd_h": 1.0}, "only interruptible ones take a bid"),
        ({"env": {"A B": "c"}}, "env: 'A B'"),
        ({"env": {"A": "x" * 257}}, "env A: 257"),
        ({"env": {"A": "a\nb"}}, "env A"),
        ({"env": {f"V{n}": "x" * 256 for n in range(200)}}, "in all"),
        ({"ports": (0,)}, "port '0'"),
        ({"ports": tuple(range(1, 70))}, "ports: 68 and SSH's own"),
        ({"ports": ("8000/icmp",)}, "port '8000/icmp'"),
        ({"login": RegistryLogin(server="ghcr.io", user="a b", password=SecretStr("x"))}, "login"),
        ({"login": RegistryLogin(server="ghcr.io", user="a", password=SecretStr("x 'y"))}, "login"),
        ({"volumes": {"1": "/a", "2": "/b"}}, "volumes: 2"),
        ({"volumes": {"1": "/root"}}, "'/root'"),
        ({"volumes": {"x": "/a"}}, "id 'x'"),
        ({"extra": {"connection": "smoke"}}, "connection: 'smoke'"),
        ({"template": "../x"}, "template"),
        ({"onstart": random.Random(1).randbytes(9_000).hex()}, "onstart"),
    ],
)
def test_what_vast_would_refuse_is_refused_before(w, more, message):
    with pytest.raises(BadInput, match=message) as caught:
        body_of(w, **more)
    assert caught.value.bill == "nothing was rented"


def test_a_long_start_script_travels_compressed(w):
    body = body_of(w, onstart="echo hello world\n" * 900)
    assert len(body["onstart"]) <= 4048
    assert "gunzip" in body["onstart"]


def test_spot_always_sends_a_price(w):
    # vast-cli#403: a bid search and a create without a price rents on-demand, at twice the cost
    offer = w.offer(rental="spot")
    assert body_of(w, offer)["price"] == offer.usd_h
    assert body_of(w, offer, bid_usd_h=offer.usd_h * 2)["price"] == offer.usd_h * 2
    with pytest.raises(BadInput, match="below the lowest"):
        body_of(w, offer, bid_usd_h=offer.usd_h / 2)
    with pytest.raises(BadInput, match="at most"):
        body_of(w, offer, bid_usd_h=32.5 * offer.gpus)
    assert w.rent("spot", offer).rental == "spot"


@pytest.mark.parametrize("rental", ["on-demand", "spot"])
def test_a_premium_is_in_the_price_from_the_search_on_and_in_no_bid(w, rental):
    plain = w.offer(rental=rental)
    w.cloud.offers[plain.id]["search"] = {"slaPremiumPerHour": 0.25}
    offer = next(one for one in w.provider.search(OfferQuery(rental=rental)) if one.id == plain.id)
    assert offer.usd_h == pytest.approx(plain.usd_h + 0.25)
    assert body_of(w, offer)["price"] == (plain.usd_h if rental == "spot" else None)
    made = w.rent("premium", offer)
    assert w.provider.get(made.id).usd_h == pytest.approx(offer.hourly(20)), "as the offer said"


def asks_with(w, **other):
    """What is sent to rent says something else than it should."""
    send = w.provider._call

    def call(method, path, **more):
        if path.startswith("/asks/"):
            more["json"] = {**more["json"], **other}
        return send(method, path, **more)

    w.provider._call = call


def test_another_rental_type_than_asked_for_is_ended_again(w):
    # vast-cli#403 from the other side: the answer does not echo the type, so the first look decides
    offer = w.offer(rental="spot")
    asks_with(w, price=None)
    with pytest.raises(OfferGone, match="as on-demand, not as spot") as caught:
        w.rent("trap", offer)
    assert "is gone" in caught.value.bill
    assert w.billed() == []


def test_success_false_with_a_contract_is_a_stopped_billed_instance_and_is_ended(w):
    # dstack#4036
    offer = w.offer(rental="spot")
    asks_with(w, price=0.0001, cancel_unavail=False)
    with pytest.raises(OfferGone, match="Bid is too low") as caught:
        w.rent("low", offer)
    assert "is gone" in caught.value.bill
    assert len(w.cloud.machines) == 1
    assert w.billed() == []


def test_a_clean_up_that_can_not_be_confirmed_is_not_called_clean(w):
    w.cloud.faults.add("destroy-ignored", "destroy", times=None)
    offer = w.offer(rental="spot")
    asks_with(w, price=None)
    with pytest.raises(OutcomeUnknown, match="not as spot") as caught:
        w.rent("trap", offer)
    (ident,) = w.billed()
    assert f"instance {ident} could not be confirmed gone" in caught.value.bill


@pytest.mark.parametrize("kind", ["timeout-after", "drop-after", "error-after", "wrong-shape", "not-json"])
def test_a_lost_answer_to_create_is_unknown_and_found_by_its_label(w, kind):
    w.cloud.faults.add(kind, "create")
    with pytest.raises(OutcomeUnknown) as caught:
        w.rent("gpunb-lost")
    assert caught.value.effect == "unknown"
    assert len(w.billed()) == 1, "the create was sent again"
    (found,) = w.provider.find("gpunb-lost")
    assert w.billed() == [found.id]


@pytest.mark.parametrize("kind", ["timeout-before", "error-before", "gateway"])
def test_an_unknown_outcome_that_was_nothing_shows_as_nothing(w, kind):
    w.cloud.faults.add(kind, "create")
    with pytest.raises(OutcomeUnknown):
        w.rent("gpunb-lost")
    assert w.provider.find("gpunb-lost") == []
    assert w.billed() == []


def test_an_offer_that_is_gone(w):
    offer = w.offer()
    w.cloud.faults.add("offer-gone", "create")
    with pytest.raises(OfferGone) as caught:
        w.rent("a", offer)
    assert caught.value.bill == "nothing was rented"
    w.rent("b", offer)
    with pytest.raises(OfferGone):  # 410, since it is taken and cancel_unavail is set
        w.rent("c", offer)


def test_two_buys_of_one_offer_are_both_accepted_and_one_fails_later(w):
    # skypilot#9117
    offer = w.offer()
    w.cloud.faults.add("double-buy", "create")
    first, second = w.rent("a", offer), w.rent("b", offer)
    w.wait(120)
    assert w.provider.get(first.id).state is InstanceState.RUNNING
    failed = w.provider.get(second.id)
    assert failed.state is InstanceState.FAILED
    assert "already allocated" in failed.message
    assert set(w.billed()) == {first.id, second.id}, "the failed one's disk is billed until it is destroyed"
    w.provider.destroy(second.id)
    w.wait(10)
    assert w.billed() == [first.id]


def test_an_offer_changed_its_price_between_search_and_create(w):
    offer = w.offer()
    w.cloud.faults.add("price-increase", "create", factor=3)
    instance = w.rent("a", offer)
    assert instance.usd_h == pytest.approx(offer.usd_h * 3 + 20 * offer.disk_usd_gb_h, rel=1e-4)


def test_no_credit(w):
    w.cloud.faults.add("zero-balance", "create")
    with pytest.raises(NoFunds) as caught:
        w.rent()
    assert (caught.value.bill, "billing" in caught.value.hint) == ("nothing was rented", True)


@pytest.mark.parametrize("card", [True, False])
def test_without_credit_and_card_instances_and_data_are_deleted(w, card):
    made = w.rent()
    w.running(made)
    w.cloud.afflict("zero-balance", card=card)
    for _ in range(3):
        w.wait(3600)
        w.provider.instances()
    assert w.provider.presence(made.id) is (Presence.PRESENT if card else Presence.GONE)
    assert bool(w.cloud.billed_now()) is card, "a disk is never free"


def test_no_credit_later_stops_everything_and_disks_are_billed_on(w):
    instance = w.rent()
    w.running(instance)
    w.cloud.afflict("zero-balance")
    assert w.provider.get(instance.id).state is InstanceState.STOPPED
    assert w.billed() == [instance.id]

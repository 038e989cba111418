"""Every fault, on each cloud: what the user sees, what was rented, and what the bill is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rentals.simulated import Simulated, in_process

from gpunb.errors import (
    BadAnswer,
    InstanceGone,
    NoFunds,
    OfferGone,
    OutcomeUnknown,
    QuotaExhausted,
    RateLimited,
    Unavailable,
)
from gpunb.providers import InstanceState, OfferQuery, Presence
from gpunb.sim.serving import runner

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.providers import Instance

CLOUDS = tuple(name for name in runner.CLOUDS if name != "vast")  # whose own are in test_sim_vast.py


@pytest.fixture(params=CLOUDS)
def sim(request: pytest.FixtureRequest, home: Path) -> Simulated:
    return in_process(request.param)


def end_all(sim: Simulated) -> None:
    """What the supervisor does: end what carries the label, and look until it is gone."""
    for found in sim.provider.find("gpunb-test"):
        sim.provider.destroy(found.id)
    for _ in range(20):
        sim.clock.advance(60)
        if all(sim.provider.presence(found.id) is Presence.GONE for found in sim.provider.find("gpunb-test")):
            break
    assert sim.cloud.billed_now() == []


def has_failed(sim: Simulated, made: Instance) -> bool:
    """Whether it is shown as failed, or is gone where the cloud has no such state."""
    try:
        return sim.provider.get(made.id).state is InstanceState.FAILED
    except InstanceGone:
        return sim.provider.presence(made.id) is Presence.GONE


LOST = {
    "timeout-before": 0,
    "timeout-after": 1,
    "drop-after": 1,
    "error-before": 0,
    "error-after": 1,
    "gateway": 0,
    "wrong-shape": 1,
    "not-json": 1,
}


@pytest.mark.parametrize("kind", LOST)
def test_a_create_with_a_lost_answer_is_unknown_and_never_sent_twice(sim: Simulated, kind: str) -> None:
    offer = sim.offer()
    sim.cloud.faults.add(kind, "create", times=None)
    with pytest.raises(OutcomeUnknown) as caught:
        sim.rent(offer)
    assert caught.value.effect == "unknown"
    assert caught.value.bill
    assert sim.calls("create") == 1
    assert len(sim.cloud.machines) == LOST[kind]
    assert len(sim.provider.find("gpunb-test")) == LOST[kind], "what was rented is found by its label"
    end_all(sim)


@pytest.mark.parametrize(
    ("kind", "error", "wait"),
    [
        ("rate-limit", RateLimited, 7.0),
        ("rate-limit-bare", RateLimited, None),
        ("quota", QuotaExhausted, None),
    ],
)
def test_too_many_calls(sim: Simulated, kind: str, error: type[RateLimited], wait: float | None) -> None:
    offer = sim.offer()
    sim.cloud.faults.add(kind, "create", times=None, retry_after=7)
    with pytest.raises(error) as caught:
        sim.rent(offer)
    assert caught.value.effect == "none"
    assert caught.value.retry_after == wait
    assert sim.calls("create") == 1
    assert sim.cloud.machines == {}


def test_a_listing_is_tried_again_after_429_and_after_an_error(sim: Simulated) -> None:
    sim.rent()
    sim.cloud.faults.add("rate-limit", "list", retry_after=3)
    assert len(sim.provider.find("gpunb-test")) == 1
    sim.cloud.faults.add("error-before", "list")
    assert len(sim.provider.find("gpunb-test")) == 1
    end_all(sim)


def test_a_used_up_quota_is_not_tried_again(sim: Simulated) -> None:
    sim.cloud.faults.add("quota", "list", times=None)
    with pytest.raises(QuotaExhausted):
        sim.provider.instances()
    assert sim.calls("list") == 1


def test_the_cloud_is_down(sim: Simulated) -> None:
    made = sim.rent()
    sim.cloud.faults.add("gateway", "list", times=None)
    with pytest.raises(Unavailable):
        sim.provider.instances()
    assert sim.provider.presence(made.id) is Presence.UNKNOWN, "a list that fails says nothing"
    sim.cloud.faults.clear()
    end_all(sim)


@pytest.mark.parametrize("kind", ["wrong-shape", "not-json"])
def test_a_list_of_another_shape_is_not_an_empty_list(sim: Simulated, kind: str) -> None:
    made = sim.rent()
    sim.cloud.faults.add(kind, "list", times=None)
    with pytest.raises(BadAnswer, match=r"(?i)" + sim.provider.name):
        sim.provider.instances()
    assert sim.provider.presence(made.id) is Presence.UNKNOWN
    sim.cloud.faults.clear()
    end_all(sim)


def test_an_offer_goes_between_search_and_create(sim: Simulated) -> None:
    offer = sim.offer()
    sim.cloud.faults.add("offer-gone")
    with pytest.raises(OfferGone) as caught:
        sim.rent(offer)
    assert caught.value.bill == "nothing was rented"
    assert sim.cloud.machines == {}
    with pytest.raises(OfferGone):
        sim.rent(offer)


def test_no_money(sim: Simulated) -> None:
    offer = sim.offer()
    sim.cloud.afflict("zero-balance")
    with pytest.raises(NoFunds) as caught:
        sim.rent(offer)
    assert caught.value.effect == "none"
    assert sim.cloud.machines == {}


def test_the_money_is_used_up_while_it_runs(sim: Simulated) -> None:
    made = sim.rent()
    sim.clock.advance(600)
    assert sim.provider.get(made.id).state is InstanceState.RUNNING
    sim.cloud.afflict("zero-balance")
    sim.clock.advance(2 * 3600)
    assert sim.provider.presence(made.id) is Presence.GONE
    assert sim.cloud.billed_now() == []
    assert sim.bill(made) <= 2 * made.usd_h


def test_the_price_goes_up_before_the_create(sim: Simulated) -> None:
    offer = sim.offer()
    sim.cloud.faults.add("price-increase", factor=2.0)
    made = sim.rent(offer)
    assert sim.provider.get(made.id).usd_h == pytest.approx(2 * offer.usd_h, rel=0.02), (
        "the real price is shown, with the disk where a cloud has a price for it"
    )
    end_all(sim)


def test_stuck_in_its_first_state(sim: Simulated) -> None:
    sim.cloud.faults.add("stuck-loading", seconds=7200)
    made = sim.rent()
    sim.clock.advance(3700)
    assert sim.provider.get(made.id).state is InstanceState.CREATING
    sim.provider.destroy(made.id)
    sim.clock.advance(4000)
    end_all(sim)
    if sim.cloud.name == "fluence":
        # only an ACTIVE instance can be ended: it was remembered, and ended at the first list after that
        assert sim.bill(made) <= 4 * made.usd_h
    else:
        assert sim.bill(made) == 0


def test_an_image_that_is_not_there(sim: Simulated) -> None:
    sim.cloud.faults.add("wrong-image")
    containers = [one for one in sim.provider.search(OfferQuery()) if one.kind == "container"]
    made = sim.rent(sim.offer("container") if containers and sim.cloud.name != "sesterce" else None)
    sim.clock.advance(300)
    if sim.cloud.name == "fluence":
        found = sim.provider.get(made.id)
        assert found.state is InstanceState.CREATING
        assert "not started" in found.message
        assert any("Failed" in line for line in sim.provider.events(made.id))
    else:
        assert has_failed(sim, made)
        assert sim.bill(made) == 0
    end_all(sim)


def test_two_buys_of_one_offer(sim: Simulated) -> None:
    offer = sim.offer()
    first = sim.rent(offer)
    sim.cloud.faults.add("double-buy")
    second = sim.rent(offer, label="gpunb-second")
    sim.clock.advance(300)
    assert sim.provider.get(first.id).state is InstanceState.RUNNING
    assert has_failed(sim, second)
    assert sim.bill(second) == pytest.approx(0)
    end_all(sim)


def test_a_container_that_never_starts(sim: Simulated) -> None:
    sim.cloud.faults.add("never-starts")
    made = sim.rent(sim.offer("container") if sim.cloud.name == "fluence" else None)
    sim.clock.advance(300)
    found = sim.provider.get(made.id)
    if sim.cloud.name == "fluence":
        assert found.state is InstanceState.CREATING
    else:
        assert (found.host, found.port) == ("127.0.0.1", 1), "it says that it runs, and nothing listens there"
    assert sim.bill(made) > 0
    end_all(sim)


def test_a_list_that_lags_behind(sim: Simulated) -> None:
    sim.cloud.faults.add("list-lag")
    made = sim.rent()
    assert sim.provider.find("gpunb-test") == []
    assert sim.provider.presence(made.id) is Presence.PRESENT, "absent from the list alone is not gone"
    sim.clock.advance(61)
    assert [found.id for found in sim.provider.find("gpunb-test")] == [made.id]
    end_all(sim)


def test_a_destroy_that_does_nothing(sim: Simulated) -> None:
    made = sim.rent()
    sim.clock.advance(300)
    sim.cloud.faults.add("destroy-ignored", "destroy")
    sim.provider.destroy(made.id)
    sim.clock.advance(60)
    assert sim.machine(made).bill.billed()
    assert sim.provider.presence(made.id) is Presence.PRESENT
    end_all(sim)


def test_a_destroy_whose_answer_is_lost_is_sent_again(sim: Simulated) -> None:
    made = sim.rent()
    sim.clock.advance(300)
    sim.cloud.faults.add("error-before", "destroy")
    sim.provider.destroy(made.id)
    assert sim.calls("destroy") == 2
    sim.clock.advance(60)
    assert sim.provider.presence(made.id) is Presence.GONE


def test_a_host_that_goes_offline_is_billed_on(sim: Simulated) -> None:
    made = sim.rent()
    sim.clock.advance(300)
    sim.provider.get(made.id)
    assert sim.cloud.afflict("host-offline", sim.machine(made).id) == 1
    before = sim.bill(made)
    sim.clock.advance(7200)
    assert sim.bill(made) > before, "these clouds don't say that a host is offline, and bill on"
    assert sim.provider.presence(made.id) is Presence.PRESENT
    end_all(sim)


def test_a_host_is_away_for_a_while_and_a_bid_wins_again(home: Path) -> None:
    sim = in_process("vast")
    offers = sim.provider.search(OfferQuery(rental="spot"))
    made = sim.rent(offers[0])
    sim.clock.advance(300)
    for kind, state in (("host-offline", InstanceState.OFFLINE), ("outbid", InstanceState.INTERRUPTED)):
        before = sim.provider.get(made.id)
        assert before.state is InstanceState.RUNNING
        sim.cloud.afflict(kind, made.id, seconds=120.0)
        paid = sim.bill(made)
        sim.clock.advance(100)
        assert sim.provider.get(made.id).state is state
        assert (sim.bill(made) == paid) is (kind == "host-offline")
        sim.clock.advance(60)
        sim.provider.get(made.id)
        sim.clock.advance(60)
        assert sim.provider.get(made.id).state is InstanceState.RUNNING
        paid = sim.bill(made)
        sim.clock.advance(3600)
        assert sim.bill(made) - paid == pytest.approx(before.usd_h, rel=0.01)
    end_all(sim)


@pytest.mark.parametrize("name", CLOUDS)
def test_the_key_is_in_no_error_and_no_repr(name: str, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    sim = in_process(name)
    key = sim.cloud.key
    said = [repr(sim.provider), repr(sim.provider.config), repr(sim.provider.http)]
    for kind in ("gateway", "not-json", "timeout-before", "error-before"):
        sim.cloud.faults.add(kind, "list", times=None)
        with pytest.raises((Unavailable, BadAnswer)) as caught:
            sim.provider.instances()
        said += [str(caught.value), repr(caught.value), str(caught.value.__cause__)]
        sim.cloud.faults.clear()
    assert key not in "\n".join(said) + caplog.text

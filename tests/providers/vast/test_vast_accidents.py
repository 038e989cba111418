"""Vast's accidents: lists that lie, ends that do nothing, hosts that stay silent, prices that rise."""

from __future__ import annotations

import pytest

from gpunb.errors import BadAnswer, BadInput, InstanceGone, OutcomeUnknown, ProviderError, Unavailable
from gpunb.providers.base import InstanceState, OfferQuery, Presence


def test_an_odd_list_is_not_an_empty_list(w):
    # skypilot#10517: an error taken for "no instances" launched more and more
    instance = w.rent()
    for kind in ("wrong-shape", "not-json"):
        w.cloud.faults.add(kind, "list", times=3)
        with pytest.raises(BadAnswer):
            w.provider.instances()
        w.cloud.faults.clear()
        w.cloud.faults.add(kind, "list", times=3)
        assert w.provider.presence(instance.id) is Presence.UNKNOWN
        w.cloud.faults.clear()


def test_pages_that_do_not_end_are_an_error(w):
    w.provider._call = lambda *_, **__: {"instances": [], "next_token": "same"}
    with pytest.raises(BadAnswer, match="do not end"):
        w.provider.instances()


def test_a_list_that_lags_does_not_make_an_instance_gone(w):
    w.cloud.faults.add("list-lag", "create", seconds=60)
    instance = w.rent("lags")
    assert w.provider.find("lags") == []
    assert w.provider.presence(instance.id) is Presence.PRESENT
    w.wait(61)
    assert [found.id for found in w.provider.find("lags")] == [instance.id]


def test_one_that_is_no_more(w):
    with pytest.raises(InstanceGone):
        w.provider.get("12345")
    assert w.provider.presence("12345") is Presence.GONE
    with pytest.raises(InstanceGone):
        w.provider.stop("12345")
    w.provider.destroy("12345")


@pytest.mark.parametrize("ident", ["", "abc", "../1", "1 ", "\uff11"])
def test_ids_are_numbers(w, ident):
    with pytest.raises(BadInput, match="instance"):
        w.provider.destroy(ident)


def test_a_destroy_that_does_nothing_stays_present(w):
    instance = w.rent()
    w.cloud.faults.add("destroy-ignored", "destroy")
    w.provider.destroy(instance.id)
    w.wait(60)
    assert w.provider.presence(instance.id) is Presence.PRESENT
    w.provider.destroy(instance.id)
    w.wait(60)
    assert w.provider.presence(instance.id) is Presence.GONE


@pytest.mark.parametrize("kind", ["timeout-after", "error-after", "rate-limit", "gateway"])
def test_destroy_is_repeated_since_that_is_safe(w, kind):
    instance = w.rent()
    w.cloud.faults.add(kind, "destroy")
    w.provider.destroy(instance.id)
    w.wait(60)
    assert w.provider.presence(instance.id) is Presence.GONE


# accidents of a running one


def test_stuck_in_loading_is_creating_and_its_disk_is_billed(w):
    # base-image#220: status_msg is not liveness
    w.cloud.faults.add("stuck-loading", "create")
    instance = w.rent()
    w.wait(3600)
    found = w.provider.get(instance.id)
    assert (found.state, found.raw_state) == (InstanceState.CREATING, "loading")
    assert set(w.bill(instance.id)) == {"disk"}


def test_a_wrong_image_fails_with_the_daemon_s_words(w):
    w.cloud.faults.add("wrong-image", "create")
    instance = w.rent()
    w.wait(120)
    found = w.provider.get(instance.id)
    assert found.state is InstanceState.FAILED
    assert "manifest unknown" in found.message
    assert "manifest unknown" in w.provider.instance_log(instance.id, daemon=True)
    assert w.billed() == [instance.id]


def test_outbid_is_a_state_of_its_own_and_a_higher_bid_brings_it_back(w):
    offer = w.offer(rental="spot")
    instance = w.rent("spot", offer)
    w.running(instance)
    w.cloud.afflict("outbid", instance.id)
    found = w.provider.get(instance.id)
    assert found.state is InstanceState.INTERRUPTED
    assert found.stopped_usd_h > 0
    w.provider.change_bid(instance.id, offer.usd_h * 2)
    assert w.running(instance).usd_h == pytest.approx(offer.usd_h * 2 + 20 * offer.disk_usd_gb_h, rel=1e-3)


def test_a_host_that_is_offline_costs_nothing_and_is_not_gone(w):
    instance = w.rent()
    w.running(instance)
    w.cloud.afflict("host-offline", instance.id)
    assert w.provider.get(instance.id).state is InstanceState.OFFLINE
    assert w.provider.presence(instance.id) is Presence.PRESENT
    assert w.billed() == []


def test_a_start_that_vast_queues_is_taken_back(w):
    # V8009-8013, and three users' logs: 200, success false, and the wish is kept
    offer = w.offer()
    instance = w.rent("a", offer)
    w.running(instance)
    w.provider.stop(instance.id)
    w.cloud.faults.add("gpu-taken", "state", seconds=60)
    with pytest.raises(ProviderError, match="was cancelled") as caught:
        w.provider.start(instance.id)
    assert caught.value.effect == "none"
    w.wait(3600)
    assert w.provider.get(instance.id).state is InstanceState.STOPPED, "nothing starts and bills hours later"


def test_a_queued_start_that_stays_starts_and_bills_later(w):
    instance = w.rent("a")
    w.running(instance)
    w.provider.stop(instance.id)
    w.cloud.faults.add("gpu-taken", "state", seconds=600)
    w.cloud.faults.add("error-before", "state", times=None, after=1)
    with pytest.raises(OutcomeUnknown, match="is taken"):
        w.provider.start(instance.id)
    w.cloud.faults.clear()
    found = w.provider.get(instance.id)
    assert (found.state, "waits for its GPU" in found.message) == (InstanceState.STOPPED, True)
    w.wait(700)
    w.provider.get(instance.id)
    w.wait(60)
    assert w.provider.get(instance.id).state is InstanceState.RUNNING


def test_a_contract_that_ends_stops_and_is_deleted_two_days_later(w):
    instance = w.rent("a")
    w.running(instance)
    w.cloud.afflict("contract-end", instance.id)
    w.wait(1)
    assert w.provider.get(instance.id).state is InstanceState.STOPPED
    with pytest.raises(ProviderError, match="expired"):
        w.provider.start(instance.id)
    w.wait(49 * 3600)
    w.provider.instances()
    w.wait(60)
    assert w.provider.presence(instance.id) is Presence.GONE


def test_price_increases_are_shown_accepted_and_rejected(w):
    instance = w.rent()
    w.running(instance)
    before = w.provider.get(instance.id).usd_h
    for accept in (False, True):
        w.cloud.afflict("price-increase", instance.id, factor=2)
        (asked,) = w.provider.price_increases()
        assert asked.instance_id == instance.id
        assert asked.new_gpu_usd_h == pytest.approx(2 * asked.old_gpu_usd_h)
        w.provider.answer_price_increase(asked.id, accept=accept)
        assert w.provider.price_increases() == []
    assert w.provider.get(instance.id).usd_h > before * 1.5
    with pytest.raises(ProviderError, match="No pending price increase"):
        w.provider.answer_price_increase(asked.id, accept=True)


def test_a_search_that_breaks_is_named(w):
    w.cloud.faults.add("timeout-before", "search", times=None)
    with pytest.raises(Unavailable, match=r"Vast.ai did not answer POST /api/v0/bundles/"):
        w.provider.search(OfferQuery())
    w.cloud.faults.clear()
    w.cloud.faults.add("wrong-shape", "search", times=None)
    with pytest.raises(BadAnswer, match="field offers must be a list"):
        w.provider.search(OfferQuery())


def test_a_container_that_never_starts_looks_as_if_it_ran_and_is_billed_as_if(w):
    # only SSH tells; the bill goes on until it is destroyed
    w.cloud.faults.add("never-starts", "create")
    instance = w.rent()
    found = w.running(instance)
    assert (found.host, found.port) == ("127.0.0.1", 1)
    w.wait(3600)
    assert set(w.bill(instance.id)) == {"disk", "gpu"}
    w.provider.destroy(instance.id)
    w.wait(10)
    assert w.billed() == []

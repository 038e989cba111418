"""The Vast provider against the simulated Vast: the story of a rental, keys, searches, limits."""

from __future__ import annotations

import json
import threading

import pytest

from gpunb.errors import AuthFailed, BadInput, QuotaExhausted, RateLimited
from gpunb.providers.base import CreateSpec, InstanceState, OfferQuery, Presence, ProviderConfig
from gpunb.providers.vast import VastProvider
from gpunb.sim.faults import Fault
from tests.support.rentals.vast_cloud import PUBLIC_KEY, provider, world

# the story


def test_rent_stop_start_label_end_and_the_bill_to_the_cent(w):
    offer = w.offer(gpus=["RTX 4090"], disk_gb=100)
    assert offer.gpu.startswith("RTX 4090")
    instance = w.rent("gpunb-one", offer, disk_gb=100)
    assert (instance.state, instance.label) == (InstanceState.CREATING, "gpunb-one")
    live = w.running(instance)
    assert live.host
    assert live.usd_h == pytest.approx(offer.hourly(100))
    w.wait(3600)
    w.provider.stop(instance.id)
    stopped = w.provider.get(instance.id)
    assert stopped.state is InstanceState.STOPPED
    assert stopped.stopped_usd_h == pytest.approx(100 * offer.disk_usd_gb_h)
    w.wait(3600)
    w.provider.start(instance.id)
    assert w.running(instance).state is InstanceState.RUNNING
    w.provider.rename(instance.id, "gpunb-two")
    assert [found.id for found in w.provider.find("gpunb-two")] == [instance.id]
    assert w.provider.find("gpunb-one") == []
    w.provider.destroy(instance.id)
    w.wait(10)
    assert w.provider.presence(instance.id) is Presence.GONE
    assert w.billed() == []
    said = {line.kind: line.usd for line in w.provider.usage(instance.id)}
    assert said == pytest.approx(w.bill(instance.id))
    hours = sum(said.values())
    assert hours > offer.usd_h  # an hour of GPU at least, and two of disk
    w.provider.destroy(instance.id)  # once more is fine


def test_offers_are_shown_without_a_key(w, monkeypatch, tmp_path):
    monkeypatch.delenv("VAST_API_KEY", raising=False)
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    options = w.provider.config.options
    keyless = VastProvider(ProviderConfig(base_url="http://127.0.0.1", options=options))
    monkeypatch.setattr("gpunb.providers.keys.find", lambda *_: None)
    assert keyless.search(OfferQuery())
    with pytest.raises(AuthFailed, match="no key for Vast") as caught:
        keyless.instances()
    assert "gpunb login vast" in caught.value.hint


def test_check_says_who_and_how_much(w):
    account = w.provider.check()
    assert (account.user, account.balance_usd) == ("sim@example.org", 100.0)


def test_every_limit_is_kept_without_a_single_429(w):
    # x-rate-limit table, vast-ai/docs#61
    instance = w.rent()
    for _ in range(3):
        w.provider.get(instance.id)
        w.provider.instances()
        w.provider.rename(instance.id, "again")
        w.provider.search(OfferQuery(gpus=("H100 SXM",)))
    w.provider.destroy(instance.id)
    w.rent("second")
    assert [call.status for call in w.cloud.calls if call.status == 429] == []


def test_the_eleventh_search_in_a_minute_waits(w):
    before = w.cloud.clock.now()
    for _ in range(10):
        w.provider.search(OfferQuery(gpus=("H100 SXM",)))
    assert w.cloud.clock.now() - before < 60
    with pytest.raises(RateLimited) as caught:
        w.provider.search(OfferQuery(gpus=("H100 SXM",)))
    assert 30 < caught.value.retry_after <= 60
    assert 429 not in [call.status for call in w.cloud.calls]


# keys and refusals


def test_a_wrong_key_is_a_404_and_not_gone(w):
    # AIonDemandCluster#1: 404 with auth_error
    instance = w.rent()
    stranger = w.another("wrong-key-0123456789")
    for call in (
        stranger.check,
        stranger.instances,
        lambda: stranger.get(instance.id),
        lambda: stranger.destroy(instance.id),
    ):
        with pytest.raises(AuthFailed) as caught:
            call()
        assert "wrong-key" not in str(caught.value)
    assert stranger.presence(instance.id) is Presence.UNKNOWN
    assert w.provider.presence(instance.id) is Presence.PRESENT


def test_a_key_without_a_scope_says_so_and_nothing_is_rented(w):
    key = w.provider.create_scoped_key("reader")
    w.cloud.scopes[key.get_secret_value()] = (frozenset({"instance_read", "misc", "user_read"}), None)
    reader = w.another(key.get_secret_value())
    assert reader.instances() == []
    with pytest.raises(AuthFailed, match="lacks permission") as caught:
        reader.create(w.offer(), CreateSpec(label="x", public_key=PUBLIC_KEY))
    assert "--scoped" in caught.value.hint
    assert w.billed() == []


def test_the_scoped_key_is_enough_for_a_whole_rental(w):
    key = w.provider.create_scoped_key()
    assert key.get_secret_value() not in repr(key)
    small = w.another(key.get_secret_value())
    small.check()
    offer = small.search(OfferQuery())[0]
    instance = small.create(offer, CreateSpec(label="gpunb-s", public_key=PUBLIC_KEY))
    small.stop(instance.id)
    small.logs(instance.id)
    small.usage(instance.id)
    small.destroy(instance.id)
    with pytest.raises(AuthFailed):
        small.create_scoped_key("more")
    assert [found.name for found in w.provider.api_keys()] == ["gpunb"]
    w.provider.delete_api_key(w.provider.api_keys()[0].id)
    with pytest.raises(AuthFailed):
        w.another(key.get_secret_value()).check()


def test_the_instance_s_own_key_ends_that_instance_and_no_other(w):
    one, two = w.rent("one"), w.rent("two")
    own = w.cloud.machines[one.id].data["api_key"]
    inside = w.another(own)
    with pytest.raises(AuthFailed):
        inside.destroy(two.id)
    inside.destroy(one.id)
    w.wait(10)
    assert w.provider.presence(one.id) is Presence.GONE
    assert w.provider.presence(two.id) is Presence.PRESENT


def test_the_daily_quota_is_not_a_rate(w):
    w.cloud.faults.add("quota", "search", times=None)
    with pytest.raises(QuotaExhausted) as caught:
        w.provider.search(OfferQuery())
    assert caught.value.retry_after is not None
    assert [call.endpoint for call in w.cloud.calls].count("search") == 1


def test_both_kinds_of_429_are_waited_out_where_it_is_safe(w):
    for kind in ("rate-limit", "rate-limit-bare"):
        w.cloud.faults.add(kind, "list")
        assert w.provider.instances() == []
        w.cloud.faults.add(kind, "create")
        with pytest.raises(RateLimited, match="too soon") as caught:
            w.rent()
        # a bare one tells its threshold in the text only
        assert caught.value.retry_after == 2.0
    assert w.billed() == []


# keys on the host


def test_the_key_goes_through_the_api_since_vast_rewrites_the_file(w):
    # skypilot#10730
    instance = w.rent()
    assert [key.line for key in w.provider.attached_keys(instance.id)] == [PUBLIC_KEY]
    w.provider.attach_key(instance.id, PUBLIC_KEY)  # again is fine
    (key,) = w.provider.attached_keys(instance.id)
    w.provider.detach_key(instance.id, key.id)
    assert w.provider.attached_keys(instance.id) == []


def test_a_key_that_can_not_be_attached_yet_is_tried_again_and_the_id_is_not_lost(w):
    w.cloud.faults.add("error-before", "attach-key", times=3)
    instance = w.rent()
    assert "key is not attached yet" in instance.message
    assert w.provider.attached_keys(instance.id) == []
    w.provider.get(instance.id)
    assert len(w.provider.attached_keys(instance.id)) == 1


@pytest.mark.parametrize("line", ["hello", "ssh-ed25519", "ssh-rsa AAAA\nssh-rsa BBBB"])
def test_what_is_no_key_is_not_sent_and_rents_nothing(w, line):
    with pytest.raises(BadInput, match="public key"):
        w.provider.attach_key("1", line)
    with pytest.raises(BadInput, match="public key"):
        w.rent(public_key=line)
    assert w.billed() == []


# lists and searches


def test_all_pages_of_the_list_are_read():
    # the v1 list gives 25 at most
    made = world(limits=False, balance=1e6)
    offers = made.provider.search(OfferQuery())[:31]
    for number, offer in enumerate(offers):
        made.cloud.clock.advance(10)
        made.rent(f"n{number}", offer)
    assert len(made.provider.instances()) == 31
    assert [found.label for found in made.provider.find("n30")] == ["n30"]
    made.provider.close()


def test_other_kinds_and_rentals(w):
    assert w.provider.search(OfferQuery(kinds=("vm",))) == []
    with pytest.raises(BadInput, match="rental 'leasing'"):
        w.provider.search(OfferQuery(rental="leasing"))
    assert all(found.rental == "reserved" for found in w.provider.search(OfferQuery(rental="reserved")))


def test_filters_of_the_settings_reach_the_search(w):
    picky = provider(w.cloud, w.cloud.key, filters={"compute_cap": {"gte": 900}, "verified": "any"})
    found = picky.search(OfferQuery())
    assert found
    assert all(offer.raw["compute_cap"] >= 900 for offer in found)
    assert any(not offer.verified for offer in found)
    picky.close()


def test_searches_in_many_threads_share_one_client(w):
    w.cloud.limiter.enabled = False
    out: list[int] = []
    wanted = OfferQuery(gpus=("H100 SXM",))
    threads = [threading.Thread(target=lambda: out.append(len(w.provider.search(wanted)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(out) == 8
    assert len(set(out)) == 1


def test_nothing_of_the_account_s_key_reaches_the_host(w):
    w.rent(deadline=1.9e9)
    (machine,) = w.cloud.machines.values()
    assert w.cloud.key not in json.dumps(
        [machine.data["onstart"], machine.data["env"], dict(machine.spec.env)]
    )


def test_a_fault_of_a_kind_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no fault kind"):
        Fault(kind="meteor")


def test_the_address_is_the_setting_then_vast_s_own_variable_then_the_real_one(monkeypatch):
    monkeypatch.setenv("VAST_URL", "http://127.0.0.1:9/")
    assert VastProvider(ProviderConfig(base_url="https://x.test")).base_url == "https://x.test"
    assert VastProvider().base_url == "http://127.0.0.1:9/"
    monkeypatch.delenv("VAST_URL")
    assert VastProvider().base_url == "https://console.vast.ai"

"""The Vast provider against the simulated Vast: each quirk and each accident has a test that names it."""

from __future__ import annotations

import json
import random
import threading

import pytest
from pydantic import SecretStr

from gpunb.errors import (
    AuthFailed,
    BadAnswer,
    BadInput,
    InstanceGone,
    NoFunds,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Unavailable,
)
from gpunb.providers.base import CreateSpec, InstanceState, OfferQuery, Presence, ProviderConfig
from gpunb.providers.vast import VastProvider, create
from gpunb.sim.faults import Fault
from tests.support.vast_cloud import PUBLIC_KEY, provider, world


@pytest.fixture
def w():
    made = world()
    yield made
    made.provider.close()
    made.cloud.close()


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
        w.provider.search(OfferQuery())
    w.provider.destroy(instance.id)
    w.rent("second")
    assert [call.status for call in w.cloud.calls if call.status == 429] == []


def test_the_eleventh_search_in_a_minute_waits(w):
    before = w.cloud.clock.now()
    for _ in range(10):
        w.provider.search(OfferQuery())
    assert w.cloud.clock.now() - before < 60
    with pytest.raises(RateLimited) as caught:
        w.provider.search(OfferQuery())
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


# create


def body_of(w, offer=None, **more):
    spec = {"label": "gpunb-x", "public_key": PUBLIC_KEY, "disk_gb": 20, **more}
    return create.body(offer or w.offer(), CreateSpec(**spec), options={}, base_url="https://console.vast.ai")


def test_the_order_says_everything(w):
    body = body_of(w, env={"A": "b"}, ports=(8080, 70000), deadline=1.9e9, onstart="echo mine")
    assert body["client_id"] == "me"
    assert body["price"] is None
    assert body["cancel_unavail"] is True  # else a stopped, billed instance (default false for interruptible)
    assert body["runtype"] == "ssh_direc ssh_proxy"  # "direc", as the client spells it
    assert body["env"] == {"A": "b", "-p 8080:8080": "1", "-p 70000:70000": "1"}
    assert body["image"] == "vastai/pytorch:@vastai-automatic-tag"
    assert ".no_auto_tmux" in body["onstart"]
    assert "1900000000" in body["onstart"]
    assert body["onstart"].rstrip().endswith("echo mine")
    assert body_of(w, extra={"connection": "proxy"})["runtype"] == "ssh_proxy"
    template = body_of(w, extra={"template_hash": "a33b72bd045341cfcd678ce7c932a614"})
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
        ({"ports": (0,)}, "ports: 0"),
        ({"ports": tuple(range(1, 70))}, "ports: 69"),
        ({"volumes": {"1": "/a", "2": "/b"}}, "volumes: 2"),
        ({"volumes": {"1": "/root"}}, "'/root'"),
        ({"volumes": {"x": "/a"}}, "id 'x'"),
        ({"extra": {"connection": "smoke"}}, "connection: 'smoke'"),
        ({"extra": {"template_hash": "../x"}}, "template_hash"),
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


def test_another_rental_type_than_asked_for_is_ended_again(w):
    # vast-cli#403 from the other side: the answer does not echo the type, so the first look decides
    offer = w.offer(rental="spot")
    send = w.provider._call

    def lose_the_price(method, path, **more):
        if path.startswith("/asks/"):
            more["json"] = {**more["json"], "price": None}
        return send(method, path, **more)

    w.provider._call = lose_the_price
    with pytest.raises(OfferGone, match="as on-demand, not as spot") as caught:
        w.rent("trap", offer)
    assert "is gone" in caught.value.bill
    assert w.billed() == []


def test_success_false_with_a_contract_is_a_stopped_billed_instance_and_is_ended(w):
    # dstack#4036
    offer = w.offer(rental="spot")
    send = w.provider._call

    def bid_low(method, path, **more):
        if path.startswith("/asks/"):
            more["json"] = {**more["json"], "price": 0.0001, "cancel_unavail": False}
        return send(method, path, **more)

    w.provider._call = bid_low
    with pytest.raises(OfferGone, match="Bid is too low") as caught:
        w.rent("low", offer)
    assert "is gone" in caught.value.bill
    assert len(w.cloud.machines) == 1
    assert w.billed() == []


def test_a_clean_up_that_can_not_be_confirmed_is_not_called_clean(w):
    w.cloud.faults.add("destroy-ignored", "destroy", times=None)
    offer = w.offer(rental="spot")
    send = w.provider._call

    def lose_the_price(method, path, **more):
        if path.startswith("/asks/"):
            more["json"] = {**more["json"], "price": None}
        return send(method, path, **more)

    w.provider._call = lose_the_price
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


def test_no_credit_later_stops_everything_and_disks_are_billed_on(w):
    instance = w.rent()
    w.running(instance)
    w.cloud.afflict("zero-balance")
    assert w.provider.get(instance.id).state is InstanceState.STOPPED
    assert w.billed() == [instance.id]


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


# list


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


def test_a_restart_without_a_gpu_says_that_it_waits(w):
    offer = w.offer()
    instance = w.rent("a", offer)
    w.running(instance)
    w.provider.stop(instance.id)
    w.cloud.offers[offer.id]["_holder"] = "somebody else"
    w.provider.start(instance.id)
    found = w.provider.get(instance.id)
    assert (found.state, "waits for its GPU" in found.message) == (InstanceState.STOPPED, True)


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


# the rest of the API


def test_reboot_and_recycle_keep_the_gpu(w):
    instance = w.rent()
    w.running(instance)
    for verb in (w.provider.reboot, w.provider.recycle):
        verb(instance.id)
        found = w.provider.get(instance.id)
        assert found.state is InstanceState.CREATING
        assert found.raw_state in ("rebooting", "recycling")
        w.running(instance)
    kinds = [part.kind for part in w.cloud.machines[instance.id].bill.segments if part.end is None]
    assert sorted(kinds) == ["disk", "gpu"]


def test_logs_are_fetched_when_they_are_there(w):
    instance = w.rent()
    w.running(instance)
    assert w.provider.logs(instance.id, tail=2).splitlines() == ["line 4", "onstart done"]
    assert w.provider.instance_log(instance.id, pattern="sshd").strip() == "starting sshd"


def test_execute_works_on_a_stopped_one_and_lets_through_three_commands(w):
    instance = w.rent()
    w.running(instance)
    w.provider.stop(instance.id)
    # the host's own path to the files is taken out
    assert w.provider.execute(instance.id, "ls /root").split() == ["/root/onstart.sh", "/root/hasbooted"]
    assert "/root/onstart.sh" in w.provider.execute(instance.id, "du /root")
    w.provider.execute(instance.id, "rm /root/hasbooted")
    assert w.provider.execute(instance.id, "ls /root").split() == ["/root/onstart.sh"]
    for command in ("nvidia-smi", "ls; reboot", "ls $(reboot)", "ls 'x", "", "ls " + "x" * 600, "ls\nrm x"):
        with pytest.raises(BadInput, match="command"):
            w.provider.execute(instance.id, command)


def test_volumes_live_and_are_billed_until_deleted(w):
    offers = w.provider.search_volumes(20)
    assert offers == sorted(offers, key=lambda offer: offer.usd_gb_h)
    volume = w.provider.create_volume(offers[0].id, 20, "data")
    (found,) = w.provider.volumes()
    assert (found.id, found.name, found.size_gb, found.machine_id) == (
        volume,
        "data",
        20,
        offers[0].machine_id,
    )
    assert found.usd_h == pytest.approx(20 * offers[0].usd_gb_h)
    instance = w.rent(volumes={volume: "/data"})
    assert w.provider.volumes()[0].instances == (instance.id,)
    with pytest.raises(ProviderError, match="Destroy the instances"):
        w.provider.delete_volume(volume)
    w.provider.destroy(instance.id)
    w.wait(10)
    w.provider.clone_volume(volume, offers[1].id)
    for one in w.provider.volumes():
        w.provider.delete_volume(one.id)
    assert w.provider.volumes() == []
    for name in ("", "a b", "x" * 65, "ö"):
        with pytest.raises(BadInput, match="volume name"):
            w.provider.create_volume(offers[0].id, 20, name)
    assert [offer.machine_id for offer in w.provider.search_volumes(5, machine_id=found.machine_id)] == [
        found.machine_id
    ]


def test_a_volume_is_never_ordered_twice(w):
    w.cloud.faults.add("error-after", "create-volume")
    offer = w.provider.search_volumes(20)[0]
    with pytest.raises(OutcomeUnknown):
        w.provider.create_volume(offer.id, 20, "data")
    assert len(w.provider.volumes()) == 1


def test_account_variables_are_in_capitals(w):
    assert w.provider.set_env_var("hf_token", SecretStr("abc")) == "HF_TOKEN"
    w.provider.set_env_var("HF_TOKEN", SecretStr("def"))
    found = w.provider.env_vars()
    assert found["HF_TOKEN"].get_secret_value() == "def"
    assert "def" not in repr(found)
    w.provider.delete_env_var("hf_token")
    assert w.provider.env_vars() == {}
    with pytest.raises(BadInput):
        w.provider.set_env_var("1x", SecretStr("a"))


def test_prepay_deposit_snapshot_templates_reports(w):
    instance = w.rent()
    w.running(instance)
    said = w.provider.prepay(instance.id, 20)
    assert said["discount_rate"] in (0.0, 0.2, 0.3)
    assert w.provider.deposit(instance.id)["balance"] == 20
    for usd in (0, -1, float("nan")):
        with pytest.raises(BadInput, match="amount"):
            w.provider.prepay(instance.id, usd)
    w.provider.snapshot(instance.id, repository="me/x", user="me", password=SecretStr("p"))
    (template,) = w.provider.search_templates({"name": {"eq": "PyTorch (Vast)"}})
    assert template.image == "vastai/pytorch"
    reports = [w.provider.machine_reports(str(number)) for number in (3, 4)]
    assert [len(found) for found in reports] == [1, 0]
    assert w.provider.connections() == []
    assert w.provider.ssh_keys() == []


def test_a_prepayment_is_never_sent_twice(w):
    instance = w.rent()
    w.cloud.faults.add("error-after", "prepay")
    with pytest.raises(OutcomeUnknown):
        w.provider.prepay(instance.id, 20)
    assert w.provider.deposit(instance.id)["balance"] == 20


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
    threads = [
        threading.Thread(target=lambda: out.append(len(w.provider.search(OfferQuery())))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(out) == 8
    assert len(set(out)) == 1


def test_a_search_that_breaks_is_named(w):
    w.cloud.faults.add("timeout-before", "search", times=None)
    with pytest.raises(Unavailable, match=r"Vast.ai did not answer POST /api/v0/bundles/"):
        w.provider.search(OfferQuery())
    w.cloud.faults.clear()
    w.cloud.faults.add("wrong-shape", "search", times=None)
    with pytest.raises(BadAnswer, match="field offers must be a list"):
        w.provider.search(OfferQuery())


def test_nothing_of_the_account_s_key_reaches_the_host(w):
    w.rent(deadline=1.9e9)
    (machine,) = w.cloud.machines.values()
    assert w.cloud.key not in json.dumps(
        [machine.data["onstart"], machine.data["env"], dict(machine.spec.env)]
    )


def test_a_fault_of_a_kind_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="no fault kind"):
        Fault(kind="meteor")


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


def test_the_address_is_the_setting_then_vast_s_own_variable_then_the_real_one(monkeypatch):
    monkeypatch.setenv("VAST_URL", "http://127.0.0.1:9/")
    assert VastProvider(ProviderConfig(base_url="https://x.test")).base_url == "https://x.test"
    assert VastProvider().base_url == "http://127.0.0.1:9/"
    monkeypatch.delenv("VAST_URL")
    assert VastProvider().base_url == "https://console.vast.ai"

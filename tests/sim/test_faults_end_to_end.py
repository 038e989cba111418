"""Every fault that the simulated clouds know, met by a whole rental: what the user sees, what the bill is.

The cloud's own books are the truth. They are held against the ledger's: never less than the
cloud bills, never more than the booting that clouds do not say they give for free.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import (
    NoFunds,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Unavailable,
    Unreachable,
)
from gpunb.providers import InstanceState, OfferQuery
from gpunb.sessions import lifecycle
from gpunb.sessions.lifecycle.agreement import Agreement
from gpunb.sessions.model import OVER, SessionState
from gpunb.sessions.supervisor.sweep import Supervision
from gpunb.sim.faults import KINDS
from tests.sim.world import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# one of each way to bill and to list; a further cloud has the contract and test_faults.py
CLOUDS = ("vast", "deepinfra", "fluence", "sesterce")
CENT = 0.01

#: an answer that is lost: whether the create took place all the same
LOST = {
    "timeout-before": False,
    "timeout-after": True,
    "drop-after": True,
    "error-before": False,
    "error-after": True,
    "gateway": False,
    "wrong-shape": True,
    "not-json": True,
}
#: a refusal: the offers that are tried before the rental stands
REFUSED = {"rate-limit": 2, "rate-limit-bare": 2, "offer-gone": 2}
#: a machine that never comes up
DEAD = ("stuck-loading", "wrong-image", "never-starts")
#: faults of a machine that runs, by what the ledger says of it then; None: it runs on
RUNNING = ("outbid", "host-offline", "price-increase", "zero-balance", "destroy-lag", "destroy-ignored")
ELSEWHERE = {
    "quota",
    "double-buy",
    "list-lag",
    "key-late",  # over real SSH: tests/sim/test_sim_vast_hosts.py
    "gpu-taken",  # Vast's alone: tests/providers/vast/test_vast_accidents.py, and below
    "contract-end",
    # what the start check finds, over real SSH: tests/sim/test_not_as_offered.py
    "gpu-missing",
    "gpu-other",
    "gpu-half-memory",
    "gpu-old-driver",
    "gpu-dead",
    "gpu-lost",
}


def test_no_kind_of_fault_is_forgotten_here() -> None:
    assert set(KINDS) == {*LOST, *REFUSED, *DEAD, *RUNNING, *ELSEWHERE}


@pytest.fixture(params=CLOUDS)
def w(request: pytest.FixtureRequest, home: Path) -> Iterator[World]:
    made = world(request.param, home)
    yield made
    made.ledger.close()


def over(w: World) -> None:
    """End what is left, and hold the books against each other."""
    for session in w.ledger.sessions():
        w.down(session)
    assert w.billed() == [], "the cloud bills nothing any more"
    assert all(session.state in OVER for session in w.ledger.sessions(alive=False))
    assert w.ours() >= w.theirs() - CENT / 2, "never less than the cloud"


def close_to(w: World, spare: float) -> None:
    """The ledger counts at most `spare` dollars more than the cloud, a step for each machine, and a cent.

    Whether Sesterce bills begun hours whole is not proven: the ledger counts them whole, its simulation not.
    """
    offers = [session.offer for session in w.ledger.sessions(alive=False)]
    step = max(
        (one["usd_h"] * one["increment_s"] / 3600 for one in offers if not one["clock_hours"]), default=0
    )
    assert w.ours() <= w.theirs() + spare + len(w.sim.cloud.machines) * step + CENT


def boot_usd(w: World, usd_h: float, machines: int = 1) -> float:
    """What five minutes of boot cost, where the cloud does not say that they are free."""
    return machines * usd_h * 300 / 3600


@pytest.mark.parametrize("kind", LOST)
def test_a_lost_answer_never_makes_a_second_bill(w: World, kind: str) -> None:
    w.sim.cloud.faults.add(kind, "create")
    session = w.rent()
    assert session.state is SessionState.READY
    assert any(event.kind == "answer-lost" for event in w.ledger.events(session.id))
    if not LOST[kind]:  # found at once, there is nothing to wait for
        assert any("the answer was lost" in line and "looking for gpunb-" in line for line in w.said)
    assert len(w.sim.cloud.machines) == 1, "one machine, whatever was lost"
    assert w.sim.calls("create") == (1 if LOST[kind] else 2)
    w.sim.clock.advance(1800)
    usd_h = session.usd_h
    over(w)
    close_to(w, boot_usd(w, usd_h))


@pytest.mark.parametrize("kind", [kind for kind, done in LOST.items() if not done])
def test_a_create_that_did_nothing_says_so_once_that_is_certain(w: World, kind: str) -> None:
    w.sim.cloud.faults.add(kind, "create")
    _, err = w.try_rent(w.offers(1))
    assert isinstance(err, Unavailable)
    assert "no instance came of it" in err.message
    assert err.bill == "confirmed: nothing is rented"
    assert w.sim.cloud.machines == {}
    assert w.ours() == w.theirs() == 0


@pytest.mark.parametrize("kind", ["timeout-after", "error-after"])
def test_a_list_that_fails_too_leaves_the_bill_open_and_says_so(w: World, kind: str) -> None:
    w.sim.cloud.faults.add(kind, "create")
    w.sim.cloud.faults.add("gateway", "list", times=None)
    _, err = w.try_rent()
    assert isinstance(err, OutcomeUnknown)
    assert "costs $" in str(err.bill) or "may be billed" in str(err.bill)
    assert w.sim.calls("create") == 1, "no second bill on an unknown first"
    assert w.session().state is SessionState.UNKNOWN
    assert len(w.billed()) <= 1
    w.sim.cloud.faults.clear()
    supervise(w)
    over(w)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_leads_to_the_next_offer(w: World, kind: str) -> None:
    w.sim.cloud.faults.add(kind, *([] if kind == "offer-gone" else ["create"]))
    session = w.rent(w.offers(6))
    assert any("trying the next offer" in line for line in w.said)
    assert len(w.sim.cloud.machines) == 1
    assert w.sim.calls("create") >= REFUSED[kind]
    usd_h = session.usd_h
    over(w)
    close_to(w, boot_usd(w, usd_h))


@pytest.mark.parametrize(
    ("kind", "error"),
    [("rate-limit", RateLimited), ("rate-limit-bare", RateLimited), ("quota", QuotaExhausted)],
)
def test_too_many_calls_rent_nothing(w: World, kind: str, error: type[Exception]) -> None:
    w.sim.cloud.faults.add(kind, "create", times=None)
    _, err = w.try_rent(w.offers(1))
    assert isinstance(err, error)
    assert "429" in err.message or "too soon" in err.message
    assert "nothing" in str(err.bill)
    assert w.sim.cloud.machines == {}
    assert w.ours() == 0
    assert w.session().state is SessionState.FAILED


def test_a_used_up_quota_is_not_tried_on_further_offers(w: World) -> None:
    w.sim.cloud.faults.add("quota", "create", times=None)
    _, err = w.try_rent()
    assert isinstance(err, QuotaExhausted)
    assert w.sim.calls("create") == 1


def test_every_offer_is_gone(w: World) -> None:
    w.sim.cloud.faults.add("offer-gone", times=None)
    _, err = w.try_rent()
    assert isinstance(err, OfferGone)
    assert err.bill == "confirmed: nothing is rented"
    assert "tried 3 of 3 offers" in err.message
    assert w.sim.cloud.machines == {}


@pytest.mark.parametrize("kind", DEAD)
def test_a_machine_that_never_comes_up_is_ended_before_the_next_is_rented(w: World, kind: str) -> None:
    w.sim.cloud.faults.add(kind, **({"seconds": 7200} if kind == "stuck-loading" else {}))
    session, err = w.try_rent()
    if w.sim.cloud.name == "fluence" and kind == "stuck-loading":
        # Fluence ends only what is ACTIVE: nothing more is rented on top, and the user is told
        assert isinstance(err, OutcomeUnknown)
        assert str(err.bill).startswith("NOT confirmed: instance ")
        assert "tries no further offer" not in err.message
        assert "tries no further offer" in str(err.hint)
        assert len(w.sim.cloud.machines) == 1
        w.sim.clock.advance(6000)
        supervise(w)
        over(w)
        return
    assert session is not None, err
    assert any("; ending it" in line for line in w.said), "the user is told why, and that it is ended"
    assert len(w.sim.cloud.machines) == 2
    assert len(w.billed()) == 1, "the first was ended before the second was made"
    usd_h = session.usd_h
    over(w)
    # twenty minutes of waiting for the first are counted where the cloud does not say that they are free
    close_to(w, usd_h * 1500 / 3600 + boot_usd(w, usd_h, 2))


def test_nothing_ever_comes_up(w: World) -> None:
    w.sim.cloud.faults.add("never-starts", times=None)
    _, err = w.try_rent()
    assert isinstance(err, OfferGone | Unreachable)
    assert "none came up" in err.message
    assert "confirmed: nothing is rented (it cost $" in str(err.bill)
    over(w)


def test_two_buys_of_one_offer(w: World) -> None:
    offers = w.offers(4)
    first = w.rent(offers[:1], name="first")
    w.sim.cloud.faults.add("double-buy")
    second = w.rent(offers, name="second")
    assert {one.name for one in w.ledger.sessions()} == {"first", "second"}
    assert first.instance_id != second.instance_id
    assert len(w.billed()) == 2
    over(w)


def test_a_list_that_lags_behind_the_create(w: World) -> None:
    w.sim.cloud.faults.add("list-lag", seconds=60)
    session = w.rent()
    assert session.state is SessionState.READY
    assert w.sim.calls("create") == 1, "absent from a young list is not absent"
    assert len(w.sim.cloud.machines) == 1
    over(w)


def test_a_lost_answer_and_a_list_that_lags(w: World) -> None:
    w.sim.cloud.faults.add("list-lag", seconds=60)
    w.sim.cloud.faults.add("error-after", "create")
    session = w.rent()
    assert session.state is SessionState.READY
    assert len(w.sim.cloud.machines) == 1, "a lookup that gave up early would have rented a second"
    over(w)


# -- while it runs -----------------------------------------------------------------------------


def test_an_interruptible_machine_is_outbid(home: Path) -> None:
    w = world("vast", home)
    offers = [one for one in w.sim.provider.search(OfferQuery(rental="spot", disk_gb=20)) if one.available]
    session = w.rent(offers[:3])
    w.sim.clock.advance(1800)
    w.sim.cloud.afflict("outbid")
    session = w.refresh(session)
    assert session.state is SessionState.STOPPED
    assert session.cloud_state == "interrupted"
    assert 0 < session.hourly < session.usd_h, "the disk is still billed, and that is what ps shows"
    w.sim.clock.advance(3600)
    over(w)
    close_to(w, 0)
    w.ledger.close()


def test_the_key_of_a_machine_whose_answer_was_lost_is_attached_when_it_is_found(home: Path) -> None:
    w = world("vast", home)
    w.sim.cloud.faults.add("error-after", "create")
    session = w.rent()
    (kept,) = w.sim.cloud.machines[session.instance_id].data["key_ids"].values()
    assert kept == w.host.prepare(session.id, session.label), (
        "Vast rewrites authorized_keys with what it knows"
    )
    over(w)
    w.ledger.close()


def test_a_host_goes_offline(w: World) -> None:
    session = w.rent()
    w.sim.clock.advance(600)
    w.sim.cloud.afflict("host-offline")
    session = w.refresh(session)
    if w.sim.cloud.name == "vast":
        assert session.cloud_state == "offline", "only Vast says so; ps shows it"
    assert session.state is SessionState.READY, "it may come back: nothing is ended without being asked"
    w.sim.clock.advance(600)
    over(w)


def test_a_price_that_goes_up_while_it_runs(w: World) -> None:
    session = w.rent()
    w.sim.clock.advance(1800)
    before = w.theirs()
    w.sim.cloud.afflict("price-increase", factor=2.0)
    w.sim.clock.advance(1800)
    w.refresh(session)
    over(w)
    assert w.theirs() >= before


def test_a_price_that_went_up_before_the_create(w: World) -> None:
    offers = w.offers(3)
    w.sim.cloud.faults.add("price-increase", factor=2.0)
    session = w.rent(offers)
    assert session.usd_h > 1.5 * min(one.hourly(20) for one in offers), "the real price is shown"
    w.sim.clock.advance(3000)
    usd_h = session.usd_h
    over(w)
    close_to(w, boot_usd(w, usd_h))


def test_a_price_that_nobody_agreed_to_is_not_kept(w: World) -> None:
    w.sim.cloud.faults.add("price-increase", factor=2.0)
    offers = w.offers(1)
    with pytest.raises(OfferGone, match="was agreed to") as caught:
        w.rent(offers, agreed=Agreement.to(offers[0], hours=6, disk_gb=20))
    assert w.billed() == [], "it is gone, for certain"
    assert "nothing is rented" in (caught.value.bill or "")
    over(w)


def test_the_money_is_used_up_while_it_runs(w: World) -> None:
    session = w.rent()
    w.sim.clock.advance(900)
    w.sim.cloud.afflict("zero-balance")
    w.sim.clock.advance(2 * 3600)
    session = w.refresh(session)
    if w.sim.cloud.name == "vast":
        assert session.state is SessionState.STOPPED
        assert "no credit" in session.detail
        assert session.hourly > 0, "the disk is billed on"
    else:
        assert session.state is SessionState.GONE
        assert "gpunb did not end it" in session.detail
    over(w)


def test_no_money_before_the_create(w: World) -> None:
    offers = w.offers(1)
    w.sim.cloud.afflict("zero-balance")
    _, err = w.try_rent(offers)
    assert isinstance(err, NoFunds)
    assert "nothing" in str(err.bill)
    assert w.sim.cloud.machines == {}


def test_a_destroy_that_does_nothing_is_repeated_until_the_cloud_agrees(w: World) -> None:
    session = w.rent()
    w.sim.clock.advance(600)
    w.sim.cloud.faults.add("destroy-ignored", "destroy", times=2)
    usd_h = session.usd_h
    receipt = w.down(session)
    assert receipt.confirmed is not None
    assert w.sim.calls("destroy") >= 3
    assert w.billed() == []
    over(w)
    close_to(w, boot_usd(w, usd_h))


def test_what_is_destroyed_and_still_listed_is_waited_for(w: World) -> None:
    session = w.rent()
    w.sim.clock.advance(600)
    w.sim.cloud.faults.add("destroy-lag", "destroy", seconds=40)
    began = w.sim.clock.now()
    receipt = w.down(session)
    took = w.sim.clock.now() - began
    assert receipt.confirmed is not None
    assert 40 <= took < 120, "gone is said when the cloud says so, and not later"
    assert w.session().state is SessionState.GONE
    assert all(w.sim.provider.ended(one) for one in w.sim.provider.instances())
    over(w)
    close_to(w, boot_usd(w, session.usd_h))


def test_a_destroy_that_is_ignored_for_ever_is_never_called_done(w: World) -> None:
    session = w.rent()
    w.sim.cloud.faults.add("destroy-ignored", "destroy", times=None)
    with pytest.raises(OutcomeUnknown) as caught:
        w.down(session)
    assert "has not confirmed" in caught.value.message
    assert str(caught.value.bill).startswith("NOT confirmed")
    assert "gpunb supervise" in str(caught.value.hint), "no supervisor is alive here, and that is said"
    kept = w.session()
    assert kept.state is SessionState.ENDING
    assert "may still cost" in kept.alarm, "ps shouts"
    assert len(w.billed()) == 1
    w.sim.cloud.faults.clear()
    supervise(w)
    over(w)


@pytest.mark.parametrize("w", ["vast"], indirect=True)
def test_a_contract_that_ends_is_ended_before_with_its_files(w: World) -> None:
    session = w.rent(hours=3, idle_s=math.inf)
    w.sim.cloud.machines[session.instance_id].data["offer"]["end_date"] = w.sim.clock.now() + 3600
    supervise(w)
    receipt = w.ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.why == "deadline"
    assert receipt.seconds < 3600
    over(w)


@pytest.mark.parametrize("w", ["vast"], indirect=True)
def test_a_start_that_the_cloud_queues_leaves_the_session_stopped(w: World) -> None:
    session = w.rent(hours=3)
    session = lifecycle.stop(w.ledger, w.sim.provider, session, host=w.host)
    w.sim.cloud.faults.add("gpu-taken", "state", seconds=600)
    with pytest.raises(ProviderError, match="was cancelled") as caught:
        lifecycle.start(w.ledger, w.sim.provider, session, host=w.host)
    assert "stays stopped" in str(caught.value.bill)
    assert w.session().state is SessionState.STOPPED
    w.sim.clock.advance(7200)
    assert {one.id for one in w.sim.provider.instances() if one.state is InstanceState.RUNNING} == set()
    over(w)


def supervise(w: World, hours: float = 3.0) -> None:
    """What the supervisor does until nothing is left, for at most `hours` of the cloud's time."""
    watch = Supervision(w.ledger, lambda name: w.sim.provider, host=w.host)
    until = w.sim.clock.now() + hours * 3600
    while w.ledger.sessions() and w.sim.clock.now() < until:
        watch.tick()
        w.sim.clock.advance(15)
    assert threading.active_count() < 50

"""From rent to receipt, and everything that can break in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import (
    BadInput,
    Cancelled,
    LedgerUnwritable,
    NotSupported,
    OutcomeUnknown,
    SessionNotFound,
    SyncError,
    Unreachable,
    WrongState,
)
from gpunb.providers.base import Capability, InstanceState
from gpunb.sessions import lifecycle
from gpunb.sessions.model import ALLOWED, OVER, IntentState, SessionState, allowed
from tests.sessions.scripted import Crash, raising

if TYPE_CHECKING:
    from tests.sessions.conftest import World

S = SessionState


def history(world: World, session_id: str) -> list[str]:
    return [event.new or event.kind for event in world.ledger.events(session_id)]


def test_every_state_has_its_ways_and_the_ended_ones_none() -> None:
    assert set(ALLOWED) == set(SessionState)
    assert not ALLOWED[S.GONE]
    assert not ALLOWED[S.FAILED]
    assert all(any(allowed(old, new) for old in SessionState) for new in set(SessionState) - {S.REQUESTED})
    for state in set(SessionState) - OVER:  # from wherever: the end can be reached
        assert allowed(state, S.ENDING) or state is S.ENDING


def test_a_machine_of_another_kind_than_ordered_is_ended_again(world: World) -> None:
    with pytest.raises(Unreachable, match="rented it as on-demand, not as spot") as caught:
        world.rent(world.cloud.offer(rental="spot"))  # this cloud rents everything on demand
    assert "confirmed: nothing is rented" in str(caught.value.bill)
    assert world.cloud.billed() == []


def test_where_booting_is_free_the_gpu_is_counted_from_where_it_ran(world: World) -> None:
    world.cloud.script.boot_s = 600.0
    session = world.rent(world.cloud.offer(bills_boot=False))
    assert world.ledger.cost(session.id).gpu <= 2.0 * 15 / 3600, "ten minutes of boot cost nothing"
    world.clock.sleep(3600)
    world.down(world.ledger.get(session.id))
    assert world.ledger.cost(session.id).gpu == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(
    ("mbps", "image_gb"), [(100.0, 0.0), (400.0, 30.0)], ids=["slow line", "large image"]
)
def test_an_image_may_take_its_time(world: World, mbps: float, image_gb: float) -> None:
    # Vast's page: "fresh pulls may take 10-60 minutes"
    world.cloud.script.boot_s = 1500.0
    offer = world.cloud.offer(inet_down_mbps=mbps)
    assert world.rent(offer, image_gb=image_gb).state is S.READY


def test_a_usual_image_over_a_usual_line_may_not(world: World) -> None:
    world.cloud.script.boot_s = 1500.0
    with pytest.raises(Unreachable, match="not running after 15 min"):
        world.rent(world.cloud.offer(inet_down_mbps=400.0))
    assert world.cloud.billed() == []


def test_a_rental_from_beginning_to_receipt(world: World) -> None:
    session = world.rent(hours=2, save=["out"], save_to="/x")
    assert (session.name, session.state, session.instance_id) == ("h100-1", S.READY, "i1")
    assert session.label == f"gpunb-{world.ledger.installation[:8]}-{session.id}"
    assert session.lease.budget_usd == pytest.approx(2 * 2.0 * 1.2)
    assert session.lease.idle_s == 1800
    assert world.host.armed == [(session.id, session.lease.deadline, 1800.0)]
    world.clock.sleep(3600 - (world.clock.now - session.created))
    world.cloud.script.usage = 1.98
    receipt = world.down(session)
    assert world.cloud.billed() == []
    assert receipt.confirmed is not None
    assert receipt.why == "down"
    assert receipt.saved == ["out"]
    assert [str(target) for _, target in world.host.fetched] == ["/x/out"]
    assert receipt.cost.gpu == pytest.approx(2.0, rel=0.01)
    assert receipt.provider_usd == 1.98
    assert world.ledger.receipt(session.id) == receipt
    assert world.down(session) == receipt  # once more, from wherever
    assert history(world, session.id)[:5] == ["requested", "creating", "booting", "reachable", "ready"]
    assert world.ledger.sessions() == []
    assert world.cloud.creates == 1


def test_intent_is_committed_before_the_call(world: World) -> None:
    seen: list[Any] = []
    world.cloud.script.create_before = [lambda: seen.extend(world.open("other").intents(unresolved=True))]
    session = world.rent()
    assert [(one.label, one.state) for one in seen] == [(session.label, IntentState.SENT)]
    assert world.ledger.intents()[0].state is IntentState.ANSWERED


@pytest.mark.parametrize("step", ["create_before", "create_after", "wait", "arm"])
def test_ctrl_c_ends_what_was_rented_and_says_so(world: World, step: str) -> None:
    if step.startswith("create"):
        setattr(world.cloud.script, step, [raising(KeyboardInterrupt())])
    else:
        world.host.hook = lambda now: raising(KeyboardInterrupt())() if now == step else None
    try:
        with pytest.raises(Cancelled) as caught:
            world.rent()
    finally:
        world.host.hook = lambda now: None
    assert caught.value.exit_code == 130
    live = world.ledger.sessions()
    if live:  # only where the list has to be awaited longer than people wait
        assert step == "create_before"
        assert "NOT confirmed" in str(caught.value)
        world.clock.sleep(120)
        world.resume(live[0])
    else:
        assert "confirmed: nothing" in str(caught.value)
    assert world.ledger.sessions() == []
    assert world.cloud.billed() == []


def test_ctrl_c_twice_leaves_a_record_that_resume_finishes(world: World) -> None:
    world.host.hook = lambda step: raising(KeyboardInterrupt())() if step == "wait" else None
    world.cloud.script.destroy_before = [raising(KeyboardInterrupt())]
    with pytest.raises(Cancelled, match="NOT confirmed: instance i1"):
        world.rent()
    (session,) = world.ledger.sessions()
    assert session.state is S.ENDING
    world.clock.sleep(10)
    assert world.resume(session).state is S.FAILED
    assert world.cloud.billed() == []


def test_destroy_that_answers_200_and_does_nothing_is_asked_again(world: World) -> None:
    # dstack#1551, LibreYOLO#505: "destroyed" that was not
    session = world.rent()
    world.cloud.script.destroy_ignored = 2
    receipt = world.down(session)
    assert receipt.confirmed is not None
    assert world.cloud.calls.count("destroy i1") == 3
    assert world.cloud.billed() == []


def test_an_end_that_is_not_confirmed_stays_ending_and_is_loud(world: World) -> None:
    session = world.rent()
    world.cloud.script.list_fails_until = world.clock.now + 3600
    world.cloud.script.destroy_ignored = 100
    with pytest.raises(OutcomeUnknown, match="has not confirmed"):
        world.down(session)
    stuck = world.ledger.get(session.id)
    assert stuck.state is S.ENDING
    assert "after" in stuck.alarm
    provisional = world.ledger.receipt(session.id)
    assert provisional is not None
    assert provisional.confirmed is None
    world.cloud.script.destroy_ignored = 0
    world.clock.sleep(3600)
    receipt = world.down(stuck)
    assert receipt.confirmed is not None
    assert receipt.why == "down"


def test_a_404_of_a_lagging_list_is_not_gone(world: World) -> None:
    # peters/horizon#372: early 404s are propagation
    world.cloud.script.list_lag_s = 60.0
    world.cloud.script.create_after = [raising(KeyboardInterrupt())]
    with pytest.raises(Cancelled, match="NOT confirmed"):
        world.rent()
    assert len(world.cloud.billed()) == 1
    (session,) = world.ledger.sessions()
    assert world.resume(session).state is S.FAILED
    assert world.cloud.billed() == []


def test_a_404_right_after_the_answer_is_not_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.cloud.script.list_lag_s = 60.0
    with monkeypatch.context() as patch:
        patch.setattr(world.cloud, "get", lambda instance_id: raising(Crash())())
        with pytest.raises(Crash):
            world.rent()
    world.restart()
    (session,) = world.ledger.sessions()
    assert (session.state, session.seen) == (S.BOOTING, False)
    assert world.down(session).confirmed is not None
    assert world.cloud.billed() == []
    assert world.cloud.calls.count("destroy i1") > 1


def test_a_404_from_a_replica_that_lags_is_not_gone(world: World) -> None:
    session = world.rent()
    world.cloud.script.list_lag_s = 60.0  # from here on another replica answers
    assert world.down(session).confirmed is not None
    assert world.cloud.billed() == []


def test_down_from_another_process_while_rent_waits(world: World) -> None:
    other = world.open("other")
    lifecycle_down: list[Any] = []

    def hook(step: str) -> None:
        if step == "wait" and not lifecycle_down:
            session = other.sessions()[0]
            lifecycle_down.append(lifecycle.down(other, world.cloud, session, host=world.host))

    world.host.hook = hook
    with pytest.raises(Cancelled, match="was ended while it was being rented"):
        world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"))
    other.close()
    assert world.cloud.creates == 1
    assert world.cloud.billed() == []
    assert world.ledger.sessions() == []


def test_what_could_not_be_saved_stops_the_end(world: World) -> None:
    session = world.rent(save=["out", "/data/model.pt"])
    world.host.fetch_fails = SyncError("no space left here")
    with pytest.raises(SyncError, match="out: no space left here") as caught:
        world.down(session)
    assert "goes on and costs $2.00 an hour" in str(caught.value)
    assert world.ledger.get(session.id).state is S.READY
    receipt = world.down(session, save=False)
    assert receipt.unsaved[0] == ("out", "no space left here")
    assert receipt.confirmed is not None


def test_stop_and_start_count_the_disk_meanwhile(world: World) -> None:
    offer = world.cloud.offer(disk_usd_gb_h=0.001)
    session = world.rent(offer, disk_gb=100, hours=10)
    assert session.usd_h == pytest.approx(2.1)
    before = world.ledger.cost(session.id)
    stopped = lifecycle.stop(world.ledger, world.cloud, session, host=world.host)
    assert stopped.state is S.STOPPED
    assert stopped.hourly == pytest.approx(0.1)
    world.clock.sleep(3600)
    after = world.ledger.cost(session.id)
    assert after.gpu - before.gpu < 0.01
    assert after.disk - before.disk == pytest.approx(0.1, rel=0.01)
    back = lifecycle.start(world.ledger, world.cloud, stopped, host=world.host)
    assert back.state is S.READY
    assert len(world.host.armed) == 2
    world.clock.sleep(3600)
    assert world.ledger.cost(session.id).gpu - after.gpu == pytest.approx(2.0, rel=0.02)
    assert world.down(back).confirmed is not None


def test_a_start_that_fails_destroys_nothing(world: World) -> None:
    session = lifecycle.stop(world.ledger, world.cloud, world.rent(), host=world.host)
    world.cloud.script.boot_s = 1e6
    with pytest.raises(Unreachable, match="did not come up") as caught:
        lifecycle.start(world.ledger, world.cloud, session, host=world.host)
    assert "until its lease ends" in str(caught.value)
    assert len(world.cloud.billed()) == 1
    assert world.ledger.get(session.id).alive


def test_a_cloud_that_can_not_stop_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = world.rent()
    monkeypatch.setattr(type(world.cloud), "capabilities", frozenset[Capability]())
    with pytest.raises(NotSupported, match="can't stop"):
        lifecycle.stop(world.ledger, world.cloud, session, host=world.host)
    assert world.ledger.get(session.id).state is S.READY


def test_outbid_is_seen_and_the_gpu_is_not_billed_on(world: World) -> None:
    session = world.rent()
    world.cloud.machines["i1"].state = InstanceState.INTERRUPTED
    session = lifecycle.refresh(world.ledger, world.cloud, session, host=world.host)
    assert (session.state, session.cloud_state) == (S.STOPPED, "interrupted")
    assert all(one.end is not None for one in world.ledger.segments(session.id) if one.kind == "gpu")


def test_an_instance_that_vanished_is_gone_with_a_receipt(world: World) -> None:
    session = world.rent()
    world.cloud.machines["i1"].gone = True
    # a replica that has not heard of a new instance looks just like this
    assert lifecycle.refresh(world.ledger, world.cloud, session, host=world.host).state is S.READY
    world.clock.sleep(120)
    session = lifecycle.refresh(world.ledger, world.cloud, session, host=world.host)
    assert session.state is S.GONE
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.why == "vanished"


def test_a_provider_that_is_down_changes_nothing(world: World) -> None:
    session = world.rent()
    world.cloud.script.get_fails_until = world.cloud.script.list_fails_until = world.clock.now + 60
    assert lifecycle.refresh(world.ledger, world.cloud, session, host=world.host).state is S.READY


def test_ledger_that_fills_up_between_call_and_answer_ends_the_instance(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise LedgerUnwritable("the ledger can't be written: database or disk is full")

    monkeypatch.setattr(world.ledger, "answer_create", full)
    with pytest.raises(LedgerUnwritable) as caught:
        world.rent()
    assert "i1 was rented and is confirmed gone again" in str(caught.value)
    assert world.cloud.billed() == []


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"name": "No Spaces"}, "--name 'No Spaces'"),
        ({"hours": -1}, "lease of -1 h"),
        ({"hours": float("nan")}, "lease of nan h"),
        ({"idle_s": 5}, "idle time of 5 s"),
        ({"budget_usd": 0.5}, r"budget of \$0.50 is too small: one hour of it costs \$2.00"),
        ({"disk_gb": -1}, "disk of -1 GB"),
        ({"save": [""]}, "save path ''"),
    ],
)
def test_bad_input_names_field_value_and_rule(world: World, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        world.rent(**request_)
    assert world.cloud.creates == 0
    assert world.ledger.sessions(alive=False) == []


def test_no_offers_and_foreign_offers_are_refused(world: World) -> None:
    with pytest.raises(BadInput, match="no offer"):
        lifecycle.rent(world.ledger, world.cloud, [], lifecycle.RentRequest(), host=world.host)
    foreign = world.cloud.offer()
    foreign.provider = "vast"
    with pytest.raises(BadInput, match="is of vast"):
        world.rent(foreign)


def test_names_are_unique_among_the_living(world: World) -> None:
    first = world.rent(name="train")
    with pytest.raises(BadInput, match="'train' is taken"):
        world.rent(name="train")
    world.down(first)
    assert world.rent(name="train").id != first.id
    assert [world.rent().name, world.rent().name] == ["h100-1", "h100-2"]


def test_verbs_on_an_ended_session_are_refused(world: World) -> None:
    session = world.rent()
    world.down(session)
    for verb in (lifecycle.stop, lifecycle.start):
        with pytest.raises(WrongState, match="gone"):
            verb(world.ledger, world.cloud, session, host=world.host)
    with pytest.raises(SessionNotFound):
        world.ledger.one()


@pytest.mark.parametrize("stopped", [False, True])
def test_an_offline_host_is_counted_as_the_cloud_bills_it(world: World, stopped: bool) -> None:
    def after(bills: bool) -> float:
        offer = world.cloud.offer(bills_offline=bills, disk_usd_gb_h=0.01)
        session = world.rent(offer, hours=100, budget_usd=1_000.0, disk_gb=100.0)
        machine = world.cloud.machines[session.instance_id]
        if stopped:
            session = lifecycle.stop(world.ledger, world.cloud, session, host=world.host)
        before = world.ledger.cost(session.id).total
        shown, machine.state = machine.state, InstanceState.OFFLINE
        session = lifecycle.refresh(world.ledger, world.cloud, session, host=world.host)
        assert stopped or (session.hourly == 0.0) is not bills
        world.clock.sleep(10 * 3600)
        assert (world.ledger.cost(session.id).total == pytest.approx(before, abs=0.01)) is not bills
        machine.state = shown
        session = lifecycle.refresh(world.ledger, world.cloud, session, host=world.host)
        assert stopped or session.hourly > 0.0
        world.clock.sleep(3600)
        total = world.ledger.cost(session.id).total
        world.down(session)
        return total

    free, billed = after(bills=False), after(bills=True)
    assert 0 < free < billed / 5

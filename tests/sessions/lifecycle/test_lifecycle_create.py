"""A rental that meets lost answers, refusals, and hosts that do not boot: never a second bill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import AuthFailed, NoFunds, OfferGone, OutcomeUnknown, RateLimited, Unavailable, Unreachable
from gpunb.sessions.model import IntentState, SessionState
from tests.sessions.scripted import raising, timed_out

if TYPE_CHECKING:
    from tests.sessions.conftest import World

S = SessionState


@pytest.mark.parametrize(
    "error",
    [timed_out(), Unavailable("500", provider="scripted"), TimeoutError("socket"), ValueError("a bug")],
)
def test_answer_lost_after_the_effect_is_adopted_by_label(world: World, error: Exception) -> None:
    # transformerlab#2305: a 500 after the pod was made
    world.cloud.script.create_after = [raising(error)]
    world.cloud.script.list_lag_s = 60.0
    session = world.rent()
    assert session.state is S.READY
    assert world.cloud.creates == 1
    assert len(world.cloud.billed()) == 1


def test_answer_lost_before_the_effect_tries_the_next_offer_only_when_absence_is_certain(
    world: World,
) -> None:
    world.cloud.script.create_before = [raising(timed_out())]
    world.cloud.script.list_lag_s = 60.0
    begin = world.clock.now
    session = world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"))
    assert session.state is S.READY
    assert world.clock.now - begin >= 120
    assert [one.state for one in world.ledger.intents(session.id)] == [
        IntentState.ABSENT,
        IntentState.ANSWERED,
    ]
    assert session.label.endswith("-2")
    assert len(world.cloud.billed()) == 1


def test_answer_lost_with_one_offer_says_that_nothing_came_of_it(world: World) -> None:
    world.cloud.script.create_before = [raising(timed_out())]
    with pytest.raises(Unavailable, match="no instance came of it") as caught:
        world.rent()
    assert "confirmed: nothing is rented" in str(caught.value)
    assert world.ledger.sessions() == []


def test_answer_lost_and_no_list_is_unknown_and_never_a_second_create(world: World) -> None:
    world.cloud.script.create_after = [raising(timed_out())]
    world.cloud.script.list_fails_until = world.clock.now + 3600
    with pytest.raises(OutcomeUnknown) as caught:
        world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"))
    assert world.cloud.creates == 1
    (session,) = world.ledger.sessions()
    assert session.state is S.UNKNOWN
    assert session.label in str(caught.value)
    assert "$2.00/h" in session.alarm
    with pytest.raises(OutcomeUnknown):
        world.resume(session)
    world.clock.sleep(3600)
    # found again: it was told as unknown, so nobody waits for it
    assert world.resume(session).state is S.FAILED
    assert world.cloud.billed() == []
    assert world.unknown_bills() == []


@pytest.mark.parametrize("kind", [OfferGone, NoFunds, RateLimited])
def test_a_refusal_leads_to_the_next_offer(world: World, kind: Any) -> None:
    world.cloud.script.create_before = [raising(kind("no", provider="scripted"))]
    session = world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"))
    assert session.state is S.READY
    assert session.offer["id"] == "o2"
    assert [c for c in world.cloud.calls if c.startswith("create")] == ["create o1", "create o2"]
    assert world.ledger.intents(session.id)[0].state is IntentState.REFUSED


def test_a_wrong_key_stops_at_once(world: World) -> None:
    world.cloud.script.create_before = [raising(AuthFailed("401", provider="scripted"))]
    with pytest.raises(AuthFailed, match="401"):
        world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"))
    assert world.cloud.creates == 1
    assert world.ledger.sessions() == []


def test_a_refusal_that_may_have_had_an_effect_is_looked_up(world: World) -> None:
    world.cloud.script.create_after = [raising(RateLimited("429", provider="scripted", effect="unknown"))]
    assert world.rent().state is S.READY
    assert len(world.cloud.billed()) == 1


def test_all_offers_fail_with_a_reason_each(world: World) -> None:
    gone = OfferGone("taken", provider="scripted")
    world.cloud.script.create_before = [raising(gone), raising(gone)]
    with pytest.raises(OfferGone, match=r"tried 2 of 2 offers.*o1: taken; o2: taken"):
        world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"))
    assert [one.state for one in world.ledger.sessions(alive=False)] == [S.FAILED]


def test_a_boot_that_never_ends_is_ended_for_certain_before_the_next_offer(world: World) -> None:
    # skypilot#7336: unbounded wait; dstack#2809: the same bad host again
    world.cloud.script.never_boots = {"o1"}
    session = world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"))
    assert session.state is S.READY
    assert [one.id for one in world.cloud.billed()] == [session.instance_id] == ["i2"]
    assert [one.machine_id for one in world.ledger.failures()] == ["m-o1"]
    calls = [c for c in world.cloud.calls if c != "list"]
    assert calls == ["create o1", "destroy i1", "create o2"]
    first, second = world.ledger.intents(session.id)
    assert (first.state, second.state) == (IntentState.GONE, IntentState.ANSWERED)
    # the failed quarter of an hour was billed, and is counted
    assert world.ledger.cost(session.id).gpu == pytest.approx(2.0 * 900 / 3600, rel=0.2)


def test_a_failed_boot_whose_end_is_not_confirmed_stops_everything(world: World) -> None:
    # never stack a second bill on an unknown first
    world.cloud.script.never_boots = {"o1"}
    world.cloud.script.destroy_ignored = 1000
    with pytest.raises(OutcomeUnknown, match="not confirmed") as caught:
        world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"))
    assert "NOT confirmed: instance i1" in str(caught.value)
    assert world.cloud.creates == 1
    (session,) = world.ledger.sessions()
    assert session.state is S.ENDING
    assert "may still cost $2.00/h" in session.alarm
    world.cloud.script.destroy_ignored = 0
    world.clock.sleep(600)
    assert world.resume(session).state is S.FAILED
    assert world.cloud.billed() == []


def test_rent_gives_up_after_three_hosts_that_do_not_boot(world: World) -> None:
    names = ["o1", "o2", "o3", "o4"]
    world.cloud.script.never_boots = set(names)
    with pytest.raises(OfferGone, match="tried 3 of 4"):
        world.rent(*(world.cloud.offer(name) for name in names))
    assert world.cloud.billed() == []
    (receipt,) = world.ledger.receipts()
    assert receipt.cost.gpu > 1.0


def test_a_host_that_never_answers_ssh_is_ended(world: World) -> None:
    def hook(step: str) -> None:
        if step == "wait":
            raise Unreachable("no login within 900 s", bill="the instance may run and be billed")

    world.host.hook = hook
    with pytest.raises(Unreachable) as caught:
        world.rent()
    assert "confirmed: nothing is rented" in str(caught.value)
    assert "may run" not in str(caught.value)
    assert world.cloud.billed() == []


def test_a_boot_is_not_awaited_past_the_lease(world: World) -> None:
    world.cloud.script.never_boots = {"o1"}
    begin = world.clock.now
    with pytest.raises(Unreachable, match="not running after"):
        world.rent(hours=0.1)
    assert world.cloud.billed() == []
    assert world.clock.now - begin < 400


def test_one_call_two_machines_leaves_one_session_and_one_orphan(world: World) -> None:
    world.cloud.script.twice = True
    world.cloud.script.create_after = [raising(timed_out())]
    session = world.rent()
    assert session.instance_id == "i1"
    assert [(one.instance_id, one.ours) for one in world.ledger.orphans()] == [("i2", True)]

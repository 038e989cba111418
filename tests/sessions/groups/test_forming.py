"""A group is rented whole, or nothing of it stays; one lease ends all; a death leaves no half of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.groups import ready_group

from gpunb.errors import Cancelled, OfferGone, OutcomeUnknown
from gpunb.sessions import lifecycle
from gpunb.sessions.access.host_access import Pulse
from gpunb.sessions.groups.forming import form
from gpunb.sessions.ledger.sessions import label_for, new_id
from gpunb.sessions.lifecycle.agreement import Agreement
from gpunb.sessions.model import Group, Lease, RunNote, Session, SessionState
from gpunb.sessions.supervisor.sweep import Supervision
from tests.sessions.scripted import Crash, raising, timed_out, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import World

S = SessionState
TICK = 15.0


def recorded(world: World, count: int = 3, *, at_least: int | None = None, **lease: Any) -> Group:
    ledger = world.ledger
    values = {"deadline": world.clock.now + 3 * 3600.0, "idle_s": 1800.0, **lease}
    members = []
    for _ in range(count):
        ident = new_id()
        label = label_for(ledger.installation, ident)
        members.append(
            Session(id=ident, name="", provider="scripted", label=label, lease=Lease(**values), save=["out"])
        )
    group = Group(id=new_id(), name="team", wanted=count, at_least=at_least or count)
    return ledger.add_group(group, members, claim_s=900.0)


def rented(world: World, group: Group, *, at_once: int = 1) -> Group:
    offers = [world.cloud.offer(f"o{rank}") for rank in range(group.wanted)]

    def one(member: Session) -> Session:
        offer = offers[member.rank]
        request = lifecycle.RentRequest(
            requested=member.id, lease=member.lease, agreed=Agreement.to(offer, hours=3.0, disk_gb=0.0)
        )
        return lifecycle.rent(world.ledger, world.cloud, [offer], request, host=world.host)

    return form(world.ledger, group, one, provider=lambda name: world.cloud, at_once=at_once)


def watch(world: World, seconds: float, until: Callable[[], bool] = lambda: False) -> Supervision:
    watcher = Supervision(world.ledger, lambda name: world.cloud, host=world.host, tick_s=TICK)
    end = world.clock.now + seconds
    while world.clock.now < end and not until():
        watcher.tick()
        world.clock.sleep(TICK)
    return watcher


def states(world: World) -> list[str]:
    return [one.state.value for one in world.ledger.group("team").members]


@pytest.mark.parametrize("at_once", [1, 3])
def test_all_come_with_one_lease(world: World, at_once: int) -> None:
    group = rented(world, recorded(world, budget_usd=20.0, budget_set=True), at_once=at_once)
    assert group.formed is not None
    assert states(world) == ["ready"] * 3
    assert len(world.cloud.billed()) == 3
    assert len({one.lease.mark for one in group.members}) == 1
    assert {one.lease.budget_usd for one in group.members} == {20.0}
    assert len({one.label for one in world.cloud.billed()}) == 3
    assert all(not world.ledger.in_hand(one.id) for one in group.members)


def test_one_that_does_not_come_up_ends_all(world: World) -> None:
    world.cloud.script.never_boots = {"o1"}
    with pytest.raises(OfferGone, match=r"team needs all 3 members, and 1 came.*team\.1: ") as caught:
        rented(world, recorded(world))
    assert "nothing is rented (it cost $" in (caught.value.bill or "")
    assert world.cloud.billed() == []
    assert set(states(world)) <= {"failed", "gone"}
    assert world.cloud.creates == 2, "the third is of no use any more"


def test_enough_of_them_is_a_group(world: World) -> None:
    world.cloud.script.never_boots = {"o1"}
    group = rented(world, recorded(world, at_least=2))
    assert [one.rank for one in group.live] == [0, 2]
    assert group.formed is not None
    assert len(world.cloud.billed()) == 2
    watch(world, 600)
    assert len(world.cloud.billed()) == 2


def test_no_create_call_on_top_of_an_unknown_one(world: World) -> None:
    world.cloud.script.create_after = [raising(timed_out())]
    world.cloud.script.list_fails_until = world.clock.now + 3600.0
    with pytest.raises(OutcomeUnknown) as caught:
        rented(world, recorded(world, at_least=1))
    assert world.cloud.creates == 1
    assert "NOT confirmed: team.0" in (caught.value.bill or "")
    watch(world, 5400)
    assert world.cloud.billed() == []
    assert set(states(world)) <= {"failed", "gone"}


def test_a_lost_answer_that_is_found_holds_nobody_up(world: World) -> None:
    world.cloud.script.create_after = [raising(timed_out())]
    assert rented(world, recorded(world)).formed is not None
    assert len(world.cloud.billed()) == 3


def test_ctrl_c_ends_what_came(world: World) -> None:
    steps = iter(range(100))

    def hook(step: str) -> None:
        if step == "wait" and next(steps) == 1:  # the second member's
            raise KeyboardInterrupt

    world.host.hook = hook
    with pytest.raises(Cancelled, match="team was cancelled"):
        rented(world, recorded(world))
    watch(world, 600)
    assert world.cloud.billed() == []
    assert world.cloud.creates == 2


def test_a_member_that_is_ended_meanwhile_ends_the_group(world: World) -> None:
    group = recorded(world)

    def hook(step: str) -> None:
        if step == "wait":
            first = world.ledger.get(group.members[0].id)
            if first.state is S.READY:
                lifecycle.down(world.ledger, world.cloud, first, save=False, host=world.host)

    world.host.hook = hook
    with pytest.raises(OfferGone, match="team needs all 3"):
        rented(world, group)
    assert world.cloud.billed() == []


def crash_at(world: World, step: str, number: int) -> Callable[[str], None]:
    seen = iter(range(100))

    def hook(now: str) -> None:
        if now == step and next(seen) == number:
            raise Crash

    return hook


@pytest.mark.parametrize("number", [0, 1, 2])
def test_half_a_group_whose_process_died_is_ended(world: World, number: int) -> None:
    group = recorded(world)
    world.host.hook = crash_at(world, "wait", number)
    with pytest.raises(Crash):
        rented(world, group)
    world.restart()
    world.host.hook = lambda step: None
    last = number == 2
    watch(world, 900)
    if last:  # all machines are there: the supervisor completes it
        assert states(world) == ["ready"] * 3
        assert world.ledger.group("team").formed is not None
    else:
        assert world.cloud.billed() == []
        assert set(states(world)) <= {"failed", "gone"}


@pytest.mark.parametrize("before", [True, False])
def test_a_death_around_a_create_call_leaves_nothing_billed(world: World, before: bool) -> None:
    group = recorded(world)
    faults = [lambda: None, raising(Crash())]
    if before:
        world.cloud.script.create_before = faults
    else:
        world.cloud.script.create_after = faults
    with pytest.raises(Crash):
        rented(world, group)
    world.restart()
    watch(world, 1800)
    assert world.cloud.billed() == []
    assert world.unknown_bills() == []


def test_enough_members_of_a_dead_process_are_completed(world: World) -> None:
    group = recorded(world, at_least=2)
    world.host.hook = crash_at(world, "wait", 1)
    with pytest.raises(Crash):
        rented(world, group)
    world.restart()
    world.host.hook = lambda step: None
    watch(world, 900)
    assert states(world) == ["ready", "ready", "failed"]
    assert world.ledger.group("team").formed is not None


def test_the_lease_ends_all_with_their_results(world: World) -> None:
    rented(world, recorded(world))
    deadline = world.ledger.group("team").members[0].lease.deadline or 0.0
    world.ledger.add_run(RunNote(id="aaaaaaaa", session_id=world.ledger.one("team.0").id))
    world.host.beat = Pulse(told("aaaaaaaa"))
    watch(world, 4 * 3600)
    assert world.cloud.billed() == []
    assert len(world.host.fetched) == 3
    assert all((one.ended or 0.0) <= deadline + 4 * TICK for one in world.cloud.machines.values())
    receipts = [world.ledger.receipt(one.id) for one in world.ledger.group("team").members]
    assert [one.why for one in receipts if one is not None] == ["deadline"] * 3


def test_the_budget_is_that_of_all_together(world: World) -> None:
    rented(world, recorded(world, budget_usd=7.0, budget_set=True, idle_s=None))
    watch(world, 3 * 3600)  # three machines at $2.00/h spend $7.00 in 70 minutes
    assert world.cloud.billed() == []
    assert len(world.host.fetched) >= 3
    spent = sum(world.ledger.cost(one.id).total for one in world.ledger.group("team").members)
    assert 6.5 < spent < 7.1


def test_idle_is_what_all_are(world: World) -> None:
    rented(world, recorded(world, idle_s=600.0))
    run = world.ledger.one("team.1").id
    world.ledger.add_run(RunNote(id="aaaaaaaa", session_id=run))
    world.host.beat = Pulse(told("aaaaaaaa"))
    watch(world, 3000)
    assert states(world) == ["ready"] * 3, "one works, so all stay"
    world.host.beat = Pulse(told("aaaaaaaa", "ok", ended=world.clock.now))
    watch(world, 1200)
    assert states(world) == ["gone"] * 3


def test_members_that_are_lost_leave_the_others(world: World) -> None:
    group = ready_group(world.ledger, lease=Lease(deadline=world.clock.now + 3600.0))
    lost = world.ledger.transition(world.ledger.one("team.1"), S.ENDING)
    world.ledger.transition(lost, S.GONE)
    assert [one.rank for one in world.ledger.group(group.name).live] == [0, 2]

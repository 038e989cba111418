"""Real accidents of other launchers, one test each, under the name of its thread.

Those that other tests hold already:

- transformerlab#2305, skypilot#656, dstack#3453 (a create whose answer was lost): test_lifecycle_create.
- skypilot#7336, #7321, dstack#2809, #1976 (waiting without end; the same bad host): test_lifecycle_create.
- dstack#1551, #3241, LibreYOLO#505, peters/horizon#372 ("destroyed" that was not): test_lifecycle.
- skypilot's and brev's Ctrl-C and readiness time-outs that leave a bill: test_lifecycle, tests/chaos.
- jupyter/notebook#3932, #3896, skypilot#6787, #4431, verda sdk#79, laurenceday#5: test_supervisor.
- dstack#1047 (nothing ends what a dead server rented): test_supervisor, tests/chaos/test_real.
- vast-cli#403 (a spot order filled on demand): test_lifecycle.
- runpodctl#330 (a provider's own time limit that nothing enforces): we rely on none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BootstrapFailed, OfferGone, OutcomeUnknown, Unavailable, Unreachable
from gpunb.providers.base import InstanceState
from gpunb.sessions import lifecycle
from gpunb.sessions.cost import lease
from gpunb.sessions.model import SessionState
from gpunb.sessions.supervisor import process
from gpunb.sessions.supervisor.orphans import strays
from gpunb.sessions.supervisor.sweep import Supervision
from tests.sessions.scripted import Crash, Machine

if TYPE_CHECKING:
    from conftest import World

S = SessionState
TICK = 15.0
DAY = 86400.0


def ticks(world: World, seconds: float) -> None:
    watcher = Supervision(world.ledger, lambda name: world.cloud, host=world.host, tick_s=TICK)
    end = world.clock.now + seconds
    while world.clock.now < end:
        watcher.tick()
        world.clock.sleep(TICK)


def test_skypilot_4170_the_lease_is_armed_before_anything_is_copied(world: World) -> None:
    # rsync failed before the autostop was armed: six hours
    steps: list[str] = []
    world.host.hook = steps.append
    world.rent(hours=1, save=["out"])
    assert steps[:3] == ["prepare", "wait", "arm"]
    assert "fetch" not in steps


def test_skypilot_4170_a_host_that_takes_no_lease_is_not_kept(world: World) -> None:
    def hook(step: str) -> None:
        if step == "arm":
            msg = "no Python on the host"
            raise BootstrapFailed(msg)

    world.host.hook = hook
    with pytest.raises((OfferGone, BootstrapFailed)):
        world.rent(hours=1)
    assert world.cloud.billed() == []


def test_skypilot_2768_the_deadline_holds_from_the_create_call_on(world: World) -> None:
    # armed only when everything was up: what never came up never ended
    world.host.hook = lambda step: (_ for _ in ()).throw(Crash()) if step == "wait" else None
    with pytest.raises(Crash):
        world.rent(hours=0.25, boot_s=7200.0)
    world.restart()
    world.host.hook = lambda step: (_ for _ in ()).throw(Unreachable("no")) if step == "wait" else None
    (session,) = world.ledger.sessions()
    assert session.lease.deadline is not None
    world.clock.now = max(world.clock.now, session.lease.deadline)
    ticks(world, 2 * TICK)
    assert world.cloud.billed() == []


def test_skypilot_5946_looking_does_not_change_the_lease(world: World) -> None:
    # a status refresh cleared the autostop
    session = world.rent(hours=1, idle_s=900.0, budget_usd=50.0)
    for _ in range(3):
        world.clock.sleep(60)
        after = lifecycle.refresh(world.ledger, world.cloud, session, host=world.host)
    assert after.lease == session.lease
    assert after.armed == session.armed


def test_edge_endpoint_421_what_the_ledger_does_not_know_is_found_in_the_clouds_list(world: World) -> None:
    # the sweeper walked its own records, not the provider's: 431 days at $2,600 a month
    world.down(world.rent(hours=1))
    label = f"gpunb-{world.ledger.installation[:8]}-forgotten"
    machine = Machine("i77", label, world.clock.now - 431 * DAY, 0.0, state=InstanceState.RUNNING)
    world.cloud.machines["i77"] = machine
    ticks(world, 600)
    assert world.cloud.billed() == []
    (orphan,) = world.ledger.orphans(gone=True)
    assert orphan.instance_id == "i77"


def test_marin_dna_564_another_installations_machine_is_shown_and_left_alone(world: World) -> None:
    # 400 hours, because a new client saw "no existing clusters"
    world.down(world.rent(hours=1))
    machine = Machine("i78", "gpunb-0ther000-abcdefgh", world.clock.now, 0.0, state=InstanceState.RUNNING)
    world.cloud.machines["i78"] = machine
    ticks(world, 900)
    assert [one.id for one in world.cloud.billed()] == ["i78"]
    (orphan,) = world.ledger.orphans()
    assert not orphan.ours
    assert "another gpunb installation" in orphan.detail


def test_yomotsusaka_124_a_wait_that_times_out_knows_what_it_waited_for(world: World) -> None:
    # the time-out path never returned the handle: three pods
    world.cloud.script.never_boots = {"o1"}
    world.cloud.script.destroy_ignored = 10**6
    with pytest.raises(OutcomeUnknown) as err:
        world.rent(hours=1, boot_s=60.0)
    assert "i1" in str(err.value.bill)
    (session,) = world.ledger.sessions()
    assert (session.state, session.instance_id) == (S.ENDING, "i1")


def test_2i2c_1440_a_tab_that_looks_is_no_activity(world: World) -> None:
    # background tabs kept GPU servers alive for days; jupyter/notebook#7260: a reload counted as work
    session = world.rent(hours=10, idle_s=600.0)
    quiet = session.last_activity
    for _ in range(20):
        world.clock.sleep(30)
        world.ledger.sessions()
        world.ledger.cost(session.id)
        lifecycle.refresh(world.ledger, world.cloud, session, host=world.host)
        world.host.pulse(session)
    assert world.ledger.get(session.id).last_activity == quiet
    ticks(world, 60)
    assert world.cloud.billed() == []


def test_dstack_1553_skypilot_2769_the_disk_is_in_the_cost_also_while_stopped(world: World) -> None:
    offer = world.cloud.offer(disk_usd_gb_h=0.002)
    session = world.rent(offer, hours=100, disk_gb=500, idle_s=float("inf"))
    assert session.usd_h == pytest.approx(3.0)
    world.clock.sleep(3600)
    lifecycle.stop(world.ledger, world.cloud, session, host=world.host)
    before = world.ledger.cost(session.id).total
    world.clock.sleep(36000)
    assert world.ledger.cost(session.id).total - before == pytest.approx(10.0, abs=0.1)
    assert world.ledger.get(session.id).hourly == pytest.approx(1.0)


def test_an_outage_is_no_reason_to_forget(world: World) -> None:
    # dstack#3241: marked as terminated after 15 minutes of failing calls
    session = world.rent(hours=0.5)
    begin = world.clock.now
    world.cloud.script.list_fails_until = world.cloud.script.get_fails_until = begin + 2 * DAY

    def refuse() -> None:
        if world.clock.now < begin + 2 * DAY:
            raise Unavailable("503", provider="scripted")

    world.cloud.script.destroy_before = [refuse] * 10**5
    world.clock.sleep(DAY)
    ticks(world, 3600)
    assert world.ledger.get(session.id).state is S.ENDING
    assert "has not confirmed the end" in world.ledger.get(session.id).alarm
    world.clock.now = begin + 2 * DAY
    ticks(world, 600)
    assert world.cloud.billed() == []
    assert world.ledger.get(session.id).state is S.GONE


def test_a_lease_that_was_extended_by_an_hour_too_late_is_not_refused_but_the_end_wins(world: World) -> None:
    # between the deadline and the next look the user may still come back; once it ends, it ends
    session = world.rent(hours=0.5)
    world.clock.sleep(1801)
    assert lease.extend(world.ledger, session, hours=1, host=world.host).state is S.READY
    ticks(world, 60)
    assert len(world.cloud.billed()) == 1
    world.clock.sleep(3601)
    ticks(world, TICK)
    with pytest.raises(Exception, match="can't be extended"):
        lease.extend(world.ledger, session, hours=1, host=world.host)


def test_skypilot_4431_somebody_still_looks_when_a_machine_shows_up_late(world: World) -> None:
    # the list lags by ten minutes, the session is over by then, and no other one lives
    world.cloud.script.list_lag_s = 600.0
    lost = OutcomeUnknown("timeout", provider="scripted")
    world.cloud.script.create_after = [lambda: (_ for _ in ()).throw(lost)]
    with pytest.raises(Unavailable):
        world.rent()
    assert world.ledger.sessions() == []
    assert len(world.cloud.billed()) == 1
    begun = world.clock.now
    process.run(
        world.ledger,
        lambda name: world.cloud,
        host=world.host,
        tick_s=0.001,
        each=lambda looked: world.clock.sleep(20.0),
    )
    assert world.cloud.billed() == []
    assert world.clock.now - begun < 3600.0


def test_marin_dna_564_the_doctor_sees_what_no_session_has(world: World) -> None:
    session = world.rent(hours=1)
    mine = f"gpunb-{world.ledger.installation[:8]}-forgotten"
    for ident, label in (("i90", mine), ("i91", "gpunb-0ther000-abcdefgh"), ("i92", "somebody's")):
        machine = Machine(ident, label, world.clock.now, 0.0, state=InstanceState.RUNNING)
        world.cloud.machines[ident] = machine
    found = [(one.id, ours) for one, ours in strays(world.ledger, world.cloud)]
    assert found == [("i90", True), ("i91", False)]
    assert session.instance_id not in dict(found)

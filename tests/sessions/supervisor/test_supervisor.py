"""The supervisor: what it ends, what it leaves alone, and what happens when things die under it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import (
    AuthFailed,
    OutcomeUnknown,
    ProtocolError,
    SessionError,
    SyncError,
    Unavailable,
    Unreachable,
)
from gpunb.providers.base import InstanceState
from gpunb.sessions import lifecycle
from gpunb.sessions.access.host_access import Pulse
from gpunb.sessions.cost import lease
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import WAITING, RunNote, Session, SessionState
from gpunb.sessions.supervisor import process, watchers
from gpunb.sessions.supervisor.sweep import Looked, Supervision
from tests.sessions.scripted import Crash, Machine, VirtualClock, raising, told

if TYPE_CHECKING:
    from conftest import World

S = SessionState
TICK = 15.0


def watch(world: World, **more: Any) -> Supervision:
    return Supervision(world.ledger, lambda name: world.cloud, host=world.host, tick_s=TICK, **more)


def ticks(world: World, watcher: Supervision, seconds: float) -> list[Looked]:
    out = []
    end = world.clock.now + seconds
    while world.clock.now < end:
        out.append(watcher.tick())
        world.clock.sleep(TICK)
    return out


def run(world: World, session: Session, ident: str) -> None:
    """Start a run: it is in the ledger, and its host says so."""
    world.ledger.add_run(RunNote(id=ident, session_id=session.id))
    world.host.beat = Pulse(told(ident))


def ended(looks: list[Looked]) -> list[tuple[str, str]]:
    return [pair for look in looks for pair in look.ended]


def test_deadline_ends_it_with_its_files_and_a_receipt(world: World) -> None:
    session = world.rent(hours=1, save=["out"])
    run(world, session, "aaaaaaaa")
    looks = ticks(world, watch(world), 3500)
    assert ended(looks) == []
    looks = ticks(world, watch(world), 200)
    assert ended(looks) == [("h100-1", "deadline")]
    assert [path for path, _ in world.host.fetched] == ["out"]
    assert world.host.settled == 1, "kernels flush before the files are fetched"
    assert world.cloud.billed() == []
    assert world.cloud.calls.count("destroy i1") == 1
    (machine,) = world.cloud.machines.values()
    assert machine.ended is not None
    assert machine.ended <= (session.lease.deadline or 0) + 2 * TICK
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert (receipt.why, receipt.saved) == ("deadline", ["out"])
    assert receipt.confirmed is not None


def test_a_save_that_fails_is_told_and_does_not_stop_the_end(world: World) -> None:
    world.host.fetch_fails = SyncError("host went away")
    session = world.rent(hours=0.5, save=["out"])
    ticks(world, watch(world), 1900)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.unsaved == [("out", "host went away")]
    assert world.cloud.billed() == []


def test_idle_ends_it_only_when_the_host_says_so_too(world: World) -> None:
    world.rent(hours=10, idle_s=600)
    looks = ticks(world, watch(world), 700)
    assert ended(looks) == [("h100-1", "idle")]
    assert world.cloud.billed() == []


def test_bringing_results_home_is_no_activity(world: World) -> None:
    world.rent(hours=10, idle_s=600, save=["out"])
    assert ended(ticks(world, watch(world), 700)) == [("h100-1", "idle")]
    assert world.cloud.billed() == []
    assert len(world.host.fetched) == 1


def test_a_kernel_that_computes_silently_is_busy(world: World) -> None:
    # jupyter/notebook#3932
    session = world.rent(hours=10, idle_s=600)
    run(world, session, "aaaaaaaa")
    assert ended(ticks(world, watch(world), 3000)) == []
    # jupyter/notebook#3896: the full idle time starts anew when it ends
    world.host.beat = Pulse(told("aaaaaaaa", "ok", ended=world.clock.now))
    assert ended(ticks(world, watch(world), 570)) == []
    assert ended(ticks(world, watch(world), 120)) == [(session.name, "idle")]


def test_a_host_that_answers_no_more_ages(world: World) -> None:
    session = world.rent(hours=2, idle_s=600)
    world.host.beat = Unreachable("no route to host")
    assert ended(ticks(world, watch(world), 600)) == []
    silence = world.ledger.silences()[session.id]
    assert silence.why == "no route to host"
    assert world.clock.now - silence.since > 300
    assert ended(ticks(world, watch(world), 200)) == [("h100-1", "idle")]
    assert world.cloud.billed() == []


def test_a_blip_when_the_idle_time_is_over_ends_nothing(world: World) -> None:
    # skypilot#6787: one ssh blip tore down a healthy cluster
    session = world.rent(hours=10, idle_s=600)
    watcher = watch(world)
    run(world, session, "aaaaaaaa")
    answer = world.host.beat
    ticks(world, watcher, 580)
    world.host.beat = Unreachable("no route to host")
    assert ended(ticks(world, watcher, 60)) == []
    world.host.beat = answer
    assert ended(ticks(world, watcher, 3000)) == []
    assert world.ledger.silences() == {}


def test_a_run_of_ours_gives_its_silent_host_an_hour_and_no_more(world: World) -> None:
    session = world.rent(hours=10, idle_s=600)
    watcher = watch(world)
    run(world, session, "aaaaaaaa")
    ticks(world, watcher, 60)
    world.host.beat = Unreachable("no route to host")
    assert ended(ticks(world, watcher, 3500)) == []
    assert ended(ticks(world, watcher, 200)) == [(session.name, "idle")]


LIES = {
    "a run that nobody started": Pulse(told("liarliar1")),
    "one that waits for its turn": Pulse(told("liarliar1", "queued")),
    "logins that were not asked for": Pulse(logins=True),
    "a run that we saw end": Pulse(told("ourownrun")),
    "a run that ended in a year": Pulse(told("ourownrun", "ok", ended=4e9)),
    "a question": Pulse(told("liarliar1", waiting="name?", waiting_since=4e9)),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_host_lists_and_nobody_here_started_keeps_nothing_alive(world: World, lie: str) -> None:
    session = world.rent(hours=10, idle_s=600)
    run(world, session, "ourownrun")
    world.ledger.finish_run("ourownrun", "ok")
    world.host.beat = LIES[lie]
    quiet = world.ledger.get(session.id).last_activity
    ticks(world, watch(world), 300)
    assert world.ledger.get(session.id).last_activity == quiet
    assert ended(ticks(world, watch(world), 400)) == [(session.name, "idle")]


def test_an_answer_that_makes_no_sense_is_none(world: World) -> None:
    session = world.rent(hours=10, idle_s=600)
    world.host.beat = ProtocolError("the agent described a run as {}")
    assert ended(ticks(world, watch(world), 900)) == [(session.name, "idle")]


def test_a_run_that_waits_for_an_answer_is_shown_and_is_no_activity(world: World) -> None:
    # ipython#7880: input() in a notebook that nobody looks at
    session = world.rent(hours=10, idle_s=600)
    watcher = watch(world)
    run(world, session, "aaaaaaaa")
    ticks(world, watcher, 400)
    world.host.beat = Pulse(told("aaaaaaaa", waiting="name? ", waiting_since=world.clock.now))
    ticks(world, watcher, 60)
    (note,) = world.ledger.open_runs(session.id)
    assert (note.state, note.active) == (WAITING, False)
    world.host.beat = Pulse(told("aaaaaaaa"))  # answered
    assert ended(ticks(world, watcher, 900)) == []
    assert world.ledger.open_runs(session.id)[0].state == "running"
    world.host.beat = Pulse(told("aaaaaaaa", waiting="name? ", waiting_since=world.clock.now))
    assert ended(ticks(world, watcher, 590)) == []
    assert ended(ticks(world, watcher, 60)) == [(session.name, "idle")]


def test_the_end_of_a_run_that_nobody_follows_is_seen_soon(world: World) -> None:
    session = world.rent(hours=10, idle_s=1800)
    watcher = watch(world)
    ticks(world, watcher, 100)
    run(world, session, "aaaaaaaa")
    ticks(world, watcher, 15)
    at = world.clock.now
    world.host.beat = Pulse(told("aaaaaaaa", "error", ended=at))
    ticks(world, watcher, 45)
    (note,) = world.ledger.runs(session.id)
    assert (note.state, note.ended) == ("error", at)
    # what never came there is no run for ever either, and was no activity
    world.ledger.add_run(RunNote(id="refused1", session_id=session.id))
    begun = world.ledger.get(session.id).last_activity
    ticks(world, watcher, 1000)
    assert world.ledger.open_runs(session.id) == []
    assert world.ledger.get(session.id).last_activity == begun


def test_the_machine_slept_and_a_run_went_on(world: World) -> None:
    session = world.rent(hours=24, idle_s=600)
    watcher = watch(world)
    ticks(world, watcher, 60)
    run(world, session, "aaaaaaaa")
    world.clock.sleep(6 * 3600)  # a clock jump is not idleness
    assert ended(ticks(world, watcher, 120)) == []
    assert world.ledger.get(session.id).state is S.READY


def test_runs_and_transfers_of_the_ledger_are_activity(world: World) -> None:
    session = world.rent(hours=10, idle_s=600)
    watcher = watch(world)
    ticks(world, watcher, 500)
    run(world, session, "aaaaaaaa")
    assert ended(ticks(world, watcher, 300)) == []
    world.ledger.finish_run("aaaaaaaa", "ok")
    assert ended(ticks(world, watcher, 500)) == []


def test_budget_ends_it_before_it_is_overspent(world: World) -> None:
    session = world.rent(hours=100, idle_s=float("inf"), budget_usd=5.0)
    ticks(world, watch(world), 3 * 3600)
    assert world.ledger.get(session.id).state is S.GONE
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.why == "budget"
    assert 4.95 < receipt.cost.total <= 5.0


def test_a_stopped_session_is_ended_when_its_disk_used_up_the_budget(world: World) -> None:
    # laurenceday#5: people stop instead of destroy
    offer = world.cloud.offer(disk_usd_gb_h=0.01)
    session = world.rent(offer, disk_gb=100, hours=100, budget_usd=4.0)
    lifecycle.stop(world.ledger, world.cloud, session, host=world.host)
    looks = ticks(world, watch(world, list_s=600.0), 5 * 3600)
    assert ended(looks) == [(session.name, "budget")]
    assert world.cloud.billed() == []


def test_an_end_is_retried_until_it_is_true(world: World) -> None:
    session = world.rent(hours=0.5)
    world.cloud.script.destroy_ignored = 4
    ticks(world, watch(world), 1800 + 60)
    assert world.ledger.get(session.id).state is S.ENDING
    ticks(world, watch(world), 300)
    assert world.cloud.billed() == []
    assert world.ledger.get(session.id).state is S.GONE
    assert world.cloud.calls.count("destroy i1") == 5


def test_an_outage_over_the_deadline_drops_nothing(world: World) -> None:
    session = world.rent(hours=0.5)
    begin = world.clock.now
    world.cloud.script.list_fails_until = world.cloud.script.get_fails_until = begin + 7200
    down = Unavailable("503", provider="scripted")

    def refuse() -> None:
        if world.clock.now < begin + 7200:
            raise down

    world.cloud.script.destroy_before = [refuse] * 1000
    looks = ticks(world, watch(world), 7100)
    stuck = world.ledger.get(session.id)
    assert stuck.state is S.ENDING
    assert "has not confirmed the end" in stuck.alarm
    assert any("can't be had: 502" in line for look in looks for line in look.errors)
    ticks(world, watch(world), 800)
    assert world.ledger.get(session.id).state is S.GONE
    assert world.cloud.billed() == []


def test_a_provider_without_a_key_is_told_and_the_others_go_on(world: World) -> None:
    world.rent(hours=0.5)

    def providers(name: str) -> Any:
        raise AuthFailed("no key", provider=name)

    watcher = Supervision(world.ledger, providers, host=world.host)
    assert watcher.tick().errors == ["scripted: no key; its sessions can't be ended"]
    assert world.ledger.sessions()


@pytest.mark.parametrize("late", [False, True])
def test_what_was_reported_unknown_is_ended_when_it_shows_up(world: World, late: bool) -> None:
    world.cloud.script.create_after = [raising(OutcomeUnknown("timeout", provider="scripted"))]
    world.cloud.script.list_fails_until = world.clock.now + (3600 if late else 400)
    with pytest.raises(OutcomeUnknown):
        world.rent()
    assert len(world.cloud.billed()) == 1
    ticks(world, watch(world), 4000)
    assert world.cloud.billed() == []
    assert world.ledger.sessions() == []


def test_an_instance_that_shows_up_after_its_absence_was_certain_is_an_orphan_and_ended(world: World) -> None:
    # skypilot#4431: the list lags behind the create, here by ten minutes
    world.cloud.script.list_lag_s = 600.0
    world.cloud.script.create_after = [raising(OutcomeUnknown("timeout", provider="scripted"))]
    with pytest.raises(Unavailable, match="no instance came of it"):
        world.rent()
    assert len(world.cloud.billed()) == 1
    ticks(world, watch(world), 1800)
    assert world.cloud.billed() == []
    (orphan,) = world.ledger.orphans(gone=True)
    assert orphan.ours
    assert orphan.gone is not None


def test_only_our_own_orphans_are_ended(world: World) -> None:
    world.rent(hours=100, idle_s=float("inf"))
    mine = f"gpunb-{world.ledger.installation[:8]}-zzzzzzzz"
    for ident, label in (("i50", mine), ("i51", "gpunb-00000000-aaaaaaaa"), ("i52", "somebody's")):
        machine = Machine(ident, label, world.clock.now, world.clock.now)
        machine.state = InstanceState.RUNNING
        world.cloud.machines[ident] = machine
    ticks(world, watch(world), 900)
    assert sorted(one.id for one in world.cloud.billed()) == ["i1", "i51", "i52"]
    assert [(one.instance_id, one.ours) for one in world.ledger.orphans()] == [("i51", False)]


def test_a_rental_whose_answer_is_on_its_way_is_no_orphan(world: World) -> None:
    # verda sdk#79: a create call that blocks for minutes after its effect
    other = Ledger.open(world.path, clock=world.clock, owner="other", owner_lives=lambda owner: True)

    def slow() -> None:
        watcher = Supervision(other, lambda name: world.cloud, host=world.host, sweep_s=0.0)
        for _ in range(20):
            watcher.tick()
            world.clock.sleep(TICK)

    world.cloud.script.create_after = [slow]
    session = world.rent(hours=2)
    other.close()
    assert session.state is S.READY
    assert [one.id for one in world.cloud.billed()] == [session.instance_id]
    assert world.ledger.orphans(gone=True) == []


def test_a_crashed_rental_is_brought_up_by_the_supervisor(world: World) -> None:
    world.host.hook = lambda step: raising(Crash())() if step == "wait" else None
    with pytest.raises(Crash):
        world.rent(hours=2)
    world.host.hook = lambda step: None
    world.restart()
    ticks(world, watch(world), 60)
    (session,) = world.ledger.sessions()
    assert session.state is S.READY
    assert world.host.armed == [(session.id, session.lease.deadline, 1800.0)]


def test_a_crashed_rental_that_never_boots_is_ended(world: World) -> None:
    world.cloud.script.never_boots = {"o1"}
    world.cloud.script.create_after = [raising(Crash())]
    with pytest.raises(Crash):
        world.rent(hours=2)
    world.restart()
    ticks(world, watch(world), 1200)
    assert world.cloud.billed() == []
    assert [one.state for one in world.ledger.sessions(alive=False)] == [S.FAILED]


@pytest.mark.parametrize("resumes", ["supervisor", "down or attach"])
def test_a_crashed_rental_of_a_large_image_keeps_its_time(world: World, resumes: str) -> None:
    """Only the process that rented knew the image's size: what it allowed is in the ledger."""
    world.cloud.script.boot_s = 1500.0
    world.cloud.script.create_after = [raising(Crash())]
    with pytest.raises(Crash):
        world.rent(world.cloud.offer(inet_down_mbps=400.0), hours=2, image_gb=30.0)
    world.restart()
    if resumes == "supervisor":
        ticks(world, watch(world), 1800)
        (session,) = world.ledger.sessions()
    else:
        session = world.resume(world.ledger.sessions()[0])
    assert session.state is S.READY


def test_a_session_that_somebody_works_on_is_left_alone(world: World) -> None:
    session = world.rent()
    world.ledger.transition(session, S.ENDING, "down")
    other = Ledger.open(world.path, clock=world.clock, owner="other", owner_lives=lambda owner: True)
    assert other.claim(session.id, 600)
    watcher = Supervision(
        Ledger.open(world.path, clock=world.clock, owner="third", owner_lives=lambda owner: True),
        lambda name: world.cloud,
        host=world.host,
    )
    watcher.tick()
    assert "destroy i1" not in world.cloud.calls
    other.close()
    watcher.ledger.close()


def test_a_rental_that_hangs_past_its_lease_is_not_waited_for(world: World) -> None:
    other = Ledger.open(world.path, clock=world.clock, owner="other", owner_lives=lambda owner: True)
    session = world.rent(hours=0.5)
    assert other.claim(session.id, 1e6)
    ticks(world, watch(world), 1900)
    assert world.cloud.billed() == []
    other.close()


def test_a_lease_that_the_host_missed_is_told_later(world: World) -> None:
    session = world.rent(hours=2)

    def hook(step: str) -> None:
        raise Unreachable("away")

    world.host.hook = hook
    with pytest.raises(Unreachable):
        lease.extend(world.ledger, session, hours=1, host=world.host)
    world.host.hook = lambda step: None
    ticks(world, watch(world), 120)
    assert world.host.armed[-1][1] == world.ledger.get(session.id).lease.deadline


def test_extended_while_its_files_were_brought_back(world: World) -> None:
    session = world.rent(hours=0.5, save=["out"])
    world.host.hook = lambda step: (
        (lease.extend(world.ledger, session, hours=1, host=world.host), None)[1] if step == "fetch" else None
    )
    looks = ticks(world, watch(world), 1900)
    assert ended(looks)[0] == (session.name, "deadline")
    assert world.ledger.get(session.id).state is S.READY
    assert len(world.cloud.billed()) == 1


def test_a_vanished_and_an_outbid_instance_are_seen(world: World) -> None:
    first, second = world.rent(hours=10), world.rent(hours=10)
    world.cloud.machines[first.instance_id].gone = True
    world.cloud.machines[second.instance_id].state = InstanceState.INTERRUPTED
    ticks(world, watch(world), 300)
    assert world.ledger.get(first.id).state is S.GONE
    now = world.ledger.get(second.id)
    assert (now.state, now.cloud_state) == (S.STOPPED, "interrupted")


def test_one_list_serves_all_sessions(world: World) -> None:
    for _ in range(30):
        world.rent(hours=10, idle_s=float("inf"))
    world.cloud.calls.clear()
    watcher = watch(world)
    ticks(world, watcher, 600)
    assert world.cloud.calls.count("list") <= 12


def test_ends_with_files_do_not_hold_each_other_up(world: World) -> None:
    gate = threading.Barrier(3, timeout=30)
    for _ in range(3):
        world.rent(hours=0.5, save=["out"])
    world.clock.sleep(1801)
    # all three fetches have to run at once to pass the gate
    world.host.hook = lambda step: (gate.wait(), None)[1] if step == "fetch" else None
    with ThreadPoolExecutor(8) as pool:
        watcher = watch(world, pool=pool)
        assert len(watcher.tick().ended) == 3
    for _ in range(3):
        world.clock.sleep(TICK)
        watcher.tick()
    assert world.cloud.billed() == []


# -- leadership and processes -------------------------------------------------


def test_run_stands_by_takes_over_and_ends_after_the_last_session(world: World) -> None:
    world.rent(hours=0.5)
    world.clock.sleep(1801)
    other = Ledger.open(world.path, clock=world.clock, owner="other", owner_lives=lambda owner: True)
    assert other.lead("server", 3600)
    seen: list[Looked] = []
    mine = Ledger.open(world.path, clock=world.clock, owner="mine", owner_lives=lambda owner: owner != "dead")
    thread = threading.Thread(
        target=process.run,
        args=(mine, lambda name: world.cloud),
        kwargs={"host": world.host, "tick_s": 0.02, "each": seen.append},
    )
    thread.start()
    threading.Event().wait(0.3)
    assert seen == []
    assert len(world.cloud.billed()) == 1
    other.resign()
    thread.join(30)
    assert not thread.is_alive()
    assert world.cloud.billed() == []
    assert ended(seen) == [("h100-1", "deadline")]
    assert mine.leader() is None
    other.close()
    mine.close()


def test_ensure_starts_one_process_that_outlives_us(world: World) -> None:
    marker = world.path.parent / "started"
    command = [
        sys.executable,
        "-c",
        f"open({str(marker)!r}, 'w').write(__import__('os').environ['GPUNB_HOME'])",
    ]
    assert process.ensure(world.ledger, command) is False  # nothing to watch
    world.rent()
    assert process.ensure(world.ledger, command)
    child = watchers._children.pop()
    assert child.wait(30) == 0
    assert marker.read_text() == os.environ["GPUNB_HOME"]
    world.ledger.lead("server", 60)
    assert process.ensure(world.ledger, command) is False
    with pytest.raises(SessionError, match="can't be started"):
        world.ledger.resign()
        process.ensure(world.ledger, ["/nonexistent/gpunb"])


def test_rent_has_a_watcher_before_anything_is_rented(world: World) -> None:
    def no_watcher(ledger: Ledger) -> None:
        raise SessionError("the supervisor can't be started")

    with pytest.raises(SessionError):
        lifecycle.rent(
            world.ledger,
            world.cloud,
            [world.cloud.offer()],
            lifecycle.RentRequest(),
            host=world.host,
            watch=no_watcher,
        )
    assert world.cloud.creates == 0
    assert world.ledger.sessions() == []


HOLDER = """
import sys, time
from gpunb.sessions.ledger.sessions import Ledger
ledger = Ledger.open()
assert ledger.lead("detached", 3600)
assert ledger.claim(sys.argv[1], 3600)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_supervisor_is_replaced_at_once(world: World) -> None:
    session = world.rent()
    real = Ledger.open(world.path, clock=VirtualClock(world.clock.now))
    real.release(session.id)
    world.ledger.release(session.id)
    child = subprocess.Popen([sys.executable, "-c", HOLDER, session.id], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    now = Ledger.open(world.path)
    assert now.leader() is not None
    assert not now.lead("server", 60)
    assert not now.claim(session.id, 60)
    child.kill()
    child.wait(30)
    child.stdout.close()
    assert now.leader() is None
    assert now.lead("server", 60)
    assert now.claim(session.id, 60)
    now.close()
    real.close()


def test_a_session_that_is_rented_while_the_supervisor_leaves_is_watched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    resign, rented, watched = world.ledger.resign, [], []

    def resign_late() -> None:
        if not rented:  # it saw nothing to do; `ensure` still sees a leader, and starts nobody
            rented.append(world.rent(idle_s=600))
            assert process.ensure(world.ledger, ["false"]) is False
        resign()

    def each(looked: process.Looked) -> None:
        watched.append(looked.sessions)
        if looked.sessions:
            world.down(rented[0])

    monkeypatch.setattr(world.ledger, "resign", resign_late)
    process.run(world.ledger, lambda name: world.cloud, host=world.host, tick_s=0.01, each=each)
    assert 1 in watched
    assert world.ledger.sessions() == []
    assert world.ledger.leader() is None


def test_a_cloud_that_does_not_answer_makes_no_look_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look waits for it as long as a tick is; the next one comes at once then."""
    world.rent(hours=4)
    free, pauses, tick = threading.Event(), [], 0.3

    class Halt(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout is not None and timeout <= tick:
                pauses.append(timeout)
                if len(pauses) == 3:
                    free.set()
                    self.set()
            return super().wait(timeout)

    def instances() -> list[Any]:
        free.wait(30)
        return []

    monkeypatch.setattr(world.cloud, "instances", instances)
    process.run(world.ledger, lambda name: world.cloud, host=world.host, tick_s=tick, stop=Halt())
    assert pauses == [tick / 5.0] * 3

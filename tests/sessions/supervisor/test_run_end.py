"""Sessions that end with their run: results first; nothing unsaved ends before its lease."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gpunb.errors import SyncError
from gpunb.sessions.access import kept_output
from gpunb.sessions.access.host_access import Pulse
from gpunb.sessions.lifecycle import run_end
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.model import RunNote, Session, SessionState
from gpunb.sessions.supervisor.sweep import Looked, Supervision
from tests.sessions.scripted import told

if TYPE_CHECKING:
    from conftest import World

TICK = 15.0
RUN = "aaaaaaaa"


def watch(world: World) -> Supervision:
    return Supervision(world.ledger, lambda name: world.cloud, host=world.host, tick_s=TICK)


def ticks(world: World, watcher: Supervision, seconds: float) -> list[Looked]:
    out = []
    end = world.clock.now + seconds
    while world.clock.now < end:
        out.append(watcher.tick())
        world.clock.sleep(TICK)
    return out


def rented(world: World, **more: object) -> Session:
    """A session as `once` rents it: no idle limit, results, and the run that it ends with."""
    wish = {"hours": 2, "idle_s": math.inf, "save": ["out"], "ends_with": RUN, **more}
    return world.rent(**wish)


def begun(world: World, session: Session) -> None:
    world.ledger.add_run(RunNote(id=RUN, session_id=session.id, kind="job"))
    world.host.beat = Pulse(told(RUN))


def test_the_end_of_the_run_ends_it_with_its_results_though_no_client_is_left(world: World) -> None:
    session = rented(world)
    begun(world, session)
    world.restart()  # the client was killed
    watcher = watch(world)
    assert [pair for look in ticks(world, watcher, 3000) for pair in look.ended] == []
    assert world.ledger.get(session.id).state is SessionState.READY, "the run goes on, idle limit or not"
    world.host.beat = Pulse(told(RUN, "error", ended=world.clock.now))
    over = world.clock.now
    looks = ticks(world, watcher, 90)
    assert [pair for look in looks for pair in look.ended] == [(session.name, "run")]
    assert [path for path, _ in world.host.fetched] == ["out"]
    assert world.host.settled == 1
    assert world.cloud.billed() == []
    (machine,) = world.cloud.machines.values()
    assert machine.ended is not None
    assert machine.ended - over < 60
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert (receipt.why, receipt.saved, receipt.unsaved) == ("run", ["out"], [])
    assert kept_output.output_file(session.id, RUN).read_text() == f"the output of {RUN}"


def test_what_it_printed_is_kept_also_if_its_lease_ends_it(world: World) -> None:
    session = rented(world)
    begun(world, session)
    ticks(world, watch(world), 2 * 3600.0 + 4 * TICK)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.why == "deadline"
    assert kept_output.output_file(session.id, RUN).read_text() == f"the output of {RUN}"


def test_results_that_do_not_come_keep_it_until_its_lease_and_no_longer(world: World) -> None:
    session = rented(world)
    begun(world, session)
    world.host.beat = Pulse(told(RUN, "ok", ended=world.clock.now))
    world.host.fetch_fails = SyncError("no space left on this machine")
    looks = ticks(world, watch(world), 3600)
    assert [pair for look in looks for pair in look.ended] == [(session.name, "run")], "said once"
    assert any("stays for its results: out: no space left" in line for look in looks for line in look.errors)
    tries = sum(one.kind == "unsaved" for one in world.ledger.events(session.id))
    assert 3600 / run_end.AGAIN_S - 3 <= tries <= 3600 / run_end.AGAIN_S + 1
    assert len(world.cloud.billed()) == 1
    ticks(world, watch(world), 3700)
    assert world.cloud.billed() == []
    (machine,) = world.cloud.machines.values()
    assert machine.ended is not None
    assert machine.ended <= (session.lease.deadline or 0) + 2 * TICK
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert (receipt.why, receipt.unsaved) == ("deadline", [("out", "no space left on this machine")])


def test_results_that_come_at_a_later_try_end_it_then(world: World) -> None:
    session = rented(world)
    begun(world, session)
    world.host.beat = Pulse(told(RUN, "ok", ended=world.clock.now))
    world.host.fetch_fails = SyncError("no space left on this machine")
    watcher = watch(world)
    ticks(world, watcher, 600)
    world.host.fetch_fails = None
    ticks(world, watcher, run_end.AGAIN_S + 2 * TICK)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert (receipt.why, receipt.saved, receipt.unsaved) == ("run", ["out"], [])
    assert world.cloud.billed() == []


def test_a_client_that_died_before_its_run_leaves_no_machine(world: World) -> None:
    rented(world)
    world.restart()
    ticks(world, watch(world), run_end.UNSTARTED_S - 2 * TICK)
    assert len(world.cloud.billed()) == 1, "it may be sending files"
    ticks(world, watch(world), 5 * TICK)
    assert world.cloud.billed() == []
    assert world.host.fetched == [], "nothing ran, so nothing is to be had"


def test_a_client_that_still_sends_files_or_installs_is_not_taken_for_dead(world: World) -> None:
    session = rented(world)
    watcher = watch(world)
    for _ in range(20):  # `activity.moving`, while it sends
        world.ledger.touch(session.id)
        ticks(world, watcher, 60)
    world.ledger.add_run(RunNote(id="bbbbbbbb", session_id=session.id, kind="job"))  # pip
    world.host.beat = Pulse(told("bbbbbbbb"))
    ticks(world, watcher, 1200)
    assert world.ledger.get(session.id).state is SessionState.READY


def test_one_of_client_and_supervisor_brings_the_results(world: World) -> None:
    session = rented(world)
    begun(world, session)
    world.host.beat = Pulse(told(RUN, "ok", ended=world.clock.now))
    client = world.open("life-1")
    client._owner_lives = world.ledger._owner_lives = lambda other: True
    client._owner = "the client"
    assert client.claim(session.id, 900.0)
    ticks(world, watch(world), 300)
    assert world.host.fetched == []
    assert run_end.bring_home(world.ledger, session, world.host, Timing()) is None
    assert run_end.bring_home(client, session, world.host, Timing()) == []
    assert len(world.host.fetched) == 1
    client.release(session.id)
    client.close()
    ticks(world, watch(world), 60)
    assert world.cloud.billed() == []


def test_a_client_that_dies_while_it_brings_them_is_followed_by_the_supervisor(world: World) -> None:
    session = rented(world)
    begun(world, session)
    world.host.beat = Pulse(told(RUN, "ok", ended=world.clock.now))
    assert world.ledger.claim(session.id, 900.0)  # it had begun, and was killed
    world.restart()
    ticks(world, watch(world), 90)
    assert [path for path, _ in world.host.fetched] == ["out"]
    assert world.cloud.billed() == []


def test_a_session_that_the_user_keeps_meanwhile_is_not_ended(world: World) -> None:
    session = rented(world)
    begun(world, session)
    world.host.beat = Pulse(told(RUN, "ok", ended=world.clock.now))

    def keep(step: str) -> None:
        if step == "fetch":
            world.ledger.update(session.id, ends_with="")

    world.host.hook = keep
    ticks(world, watch(world), 600)
    assert world.ledger.get(session.id).state is SessionState.READY


def test_a_down_that_the_supervisor_outruns_says_that_it_is_over(world: World) -> None:
    """Its save breaks off because the machine is gone by then, with all that was to be saved."""
    session = rented(world)
    begun(world, session)
    world.host.beat = Pulse(told(RUN, "ok", ended=world.clock.now))
    other = world.open("life-1")
    other._owner, other._owner_lives = "the supervisor", lambda _: True
    world.ledger._owner_lives = lambda _: True
    assert other.claim(session.id, 900.0)
    fetched: list[str] = []

    def outrun(step: str) -> None:
        if step == "fetch" and not fetched:
            fetched.append(step)
            watcher = Supervision(other, lambda name: world.cloud, host=world.host, tick_s=TICK)
            ticks(world, watcher, 60)
            msg = "the host closed the connection"
            raise SyncError(msg)

    world.host.hook = outrun
    receipt = world.down(session)
    assert (receipt.why, receipt.saved) == ("run", ["out"])
    assert world.cloud.billed() == []
    other.close()

"""This machine's clock is set while leases run: each lasts what it was given, and receipts say so."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.sessions.cost import lease
from gpunb.sessions.ledger import clock_steps
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.lifecycle import RentRequest, rent
from gpunb.sessions.model import RunNote, SessionState
from gpunb.sessions.supervisor.sweep import Supervision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import World

    from gpunb.sessions.model import Session
    from tests.sessions.scripted import VirtualClock

TICK = 15.0
HOUR = 3600.0


class Wall:
    """A machine's clock that can be set, over time that nobody sets; it also starts anew."""

    def __init__(self, true: VirtualClock) -> None:
        self.true = true
        self.ahead = 0.0
        self.boot = "boot-1"
        self.started = true.now - 5 * HOUR

    def time(self) -> float:
        return self.true.now + self.ahead

    def sleep(self, seconds: float) -> None:
        self.true.sleep(seconds)

    def steady(self) -> tuple[str, float]:
        return self.boot, self.true.now - self.started

    def restart(self, off_s: float, ahead: float | None = None) -> None:
        self.true.sleep(off_s)
        self.boot, self.started = f"{self.boot}+", self.true.now
        self.ahead = self.ahead if ahead is None else ahead


class Laptop:
    """The user's machine: its clock, its ledger, its supervisor; the cloud keeps true time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wall = Wall(world.clock)
        self.path = world.path.with_name("laptop.sqlite")
        self.ledger = self.open()
        self.watch = self.watcher()

    def open(self) -> Ledger:
        return Ledger.open(self.path, clock=self.wall)

    def watcher(self) -> Supervision:
        return Supervision(self.ledger, lambda _: self.world.cloud, host=self.world.host, tick_s=TICK)

    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = self.open()
        self.watch = self.watcher()

    def rent(self, **more: Any) -> Session:
        request = RentRequest(**{"hours": 1.0, "idle_s": math.inf, **more})
        return rent(self.ledger, self.world.cloud, [self.world.cloud.offer()], request, host=self.world.host)

    def look(self, seconds: float) -> None:
        end = self.world.clock.now + seconds
        while self.world.clock.now < end:
            self.ledger.lead("detached", 90.0)
            self.watch.tick()
            self.world.clock.sleep(TICK)

    def lasted(self, session: Session) -> float:
        """True seconds that its machine was rented; infinite if it is still."""
        machine = self.world.cloud.machines[session.instance_id]
        return (machine.ended - machine.made) if machine.ended is not None else math.inf


@pytest.fixture
def laptop(world: World) -> Iterator[Laptop]:
    made = Laptop(world)
    yield made
    made.ledger.close()


STEPS = [-10 * 365 * 86400.0, -3 * HOUR, -60.0, 60.0, 3 * HOUR, 10 * 365 * 86400.0]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("begin", [0.0, 2 * HOUR])
def test_a_lease_lasts_what_it_was_given(laptop: Laptop, step: float, begin: float) -> None:
    laptop.wall.ahead = begin
    laptop.reopen()
    session = laptop.rent()
    laptop.look(600)
    laptop.wall.ahead += step
    laptop.look(60)
    found = laptop.ledger.get(session.id)
    assert found.state is SessionState.READY
    left = lease.standing(found, laptop.ledger.cost(session.id), laptop.wall.time())
    assert (left.ends_at or 0.0) - laptop.wall.time() == pytest.approx(HOUR - 660, abs=40)
    assert found.armed == found.lease.mark  # the host counts for itself, and is not told anew
    laptop.look(HOUR)
    assert laptop.lasted(session) == pytest.approx(HOUR, abs=2 * TICK + 10)
    receipt = laptop.ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.ended - receipt.started == pytest.approx(HOUR, abs=3 * TICK + 10)
    assert receipt.cost.gpu == pytest.approx(2.0, rel=0.05)
    assert receipt.why == "deadline"


@pytest.mark.parametrize("step", [-3 * HOUR, 3 * HOUR])
def test_nobody_looks_while_it_is_set(laptop: Laptop, step: float) -> None:
    session = laptop.rent()
    laptop.wall.ahead += step
    laptop.world.clock.sleep(1200)
    with laptop.open() as other:  # any verb is a look
        left = (other.get(session.id).lease.deadline or 0.0) - laptop.wall.time()
        assert left == pytest.approx(HOUR - 1200, abs=20)
    laptop.reopen()
    laptop.look(HOUR)
    assert laptop.lasted(session) == pytest.approx(HOUR, abs=2 * TICK + 10)


@pytest.mark.parametrize("step", [-3 * HOUR, 3 * HOUR])
def test_idle_time_runs_and_runs_of_the_ledger_keep_their_length(laptop: Laptop, step: float) -> None:
    session = laptop.rent(hours=10.0, idle_s=900.0)
    laptop.ledger.add_run(RunNote(id="aaaaaaaa", session_id=session.id))
    laptop.world.clock.sleep(300)
    laptop.ledger.finish_run("aaaaaaaa", "ok")
    laptop.wall.ahead += step
    laptop.look(600)
    assert laptop.ledger.get(session.id).state is SessionState.READY
    (run,) = laptop.ledger.runs(session.id)
    assert (run.ended or 0.0) - run.started == pytest.approx(300)
    assert run.ended == pytest.approx(laptop.wall.time() - 600, abs=20)
    laptop.look(600)
    assert laptop.lasted(session) == pytest.approx(1200, abs=90)


def test_a_clock_that_drifts_is_followed_too(laptop: Laptop) -> None:
    session = laptop.rent(hours=5.0)
    for _ in range(400):
        laptop.wall.ahead += 0.5
        laptop.look(30)
    laptop.look(6.0 * HOUR - 12_000)
    assert laptop.lasted(session) == pytest.approx(5 * HOUR, abs=2 * TICK + 10)


def test_a_create_whose_answer_was_lost_is_not_older_for_a_step_ahead(laptop: Laptop) -> None:
    session = laptop.rent()
    sent = laptop.ledger.intents(session.id)[0].sent
    laptop.wall.ahead += 3 * HOUR
    laptop.ledger.follow_clock()
    assert laptop.ledger.intents(session.id)[0].sent == pytest.approx(sent + 3 * HOUR)


@pytest.mark.parametrize("step", [-3 * HOUR, 3 * HOUR])
def test_what_is_rented_after_it_was_set_by_a_ledger_open_before_has_its_own_lease(
    laptop: Laptop, step: float
) -> None:
    laptop.wall.ahead += step
    session = laptop.rent()
    laptop.look(HOUR + 300)
    assert laptop.lasted(session) == pytest.approx(HOUR, abs=2 * TICK + 10)


def test_a_supervisor_looks_on_where_another_process_saw_the_step_first(laptop: Laptop) -> None:
    session = laptop.rent()
    laptop.look(600)
    laptop.wall.ahead -= 3 * HOUR
    with laptop.open():  # any verb
        pass
    laptop.world.cloud.machines[session.instance_id].gone = True
    laptop.look(300)
    assert laptop.ledger.get(session.id).state is SessionState.GONE


def test_a_step_while_a_cloud_is_asked_ends_nothing(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [laptop.rent(), laptop.rent()]
    laptop.look(300)
    listed, steps = laptop.world.cloud.instances, [3 * HOUR]

    def instances() -> Any:
        if steps:
            laptop.wall.ahead += steps.pop()
        return listed()

    monkeypatch.setattr(laptop.world.cloud, "instances", instances)
    laptop.look(600)
    assert not steps
    assert [laptop.ledger.get(one.id).state for one in sessions] == [SessionState.READY] * 2


# -- across a restart of the machine -------------------------------------------


def test_a_restart_with_a_right_clock_changes_nothing(laptop: Laptop) -> None:
    session = laptop.rent()
    laptop.look(300)
    laptop.wall.restart(600)
    laptop.reopen()
    laptop.look(HOUR)
    assert laptop.lasted(session) == pytest.approx(HOUR, abs=2 * TICK + 10)


def test_a_lease_that_ended_while_it_was_off_ends_soon_after_the_start(laptop: Laptop) -> None:
    session = laptop.rent()
    laptop.wall.restart(2 * HOUR)
    laptop.reopen()
    laptop.look(clock_steps.HOLD_S + 60)
    assert laptop.lasted(session) == pytest.approx(2 * HOUR + clock_steps.HOLD_S, abs=60)


def test_dual_boot_local_time_in_the_hardware_clock_and_then_ntp(laptop: Laptop) -> None:
    session = laptop.rent()
    laptop.look(300)
    laptop.wall.restart(300, ahead=3 * HOUR)  # the other system left its local time there
    laptop.reopen()
    laptop.look(60)
    newer = laptop.rent()
    laptop.wall.ahead = 0.0  # NTP
    laptop.look(1.5 * HOUR)
    assert laptop.lasted(session) == pytest.approx(HOUR, abs=3 * TICK + 10)
    assert laptop.lasted(newer) == pytest.approx(HOUR, abs=3 * TICK + 10)


def test_a_start_with_a_clock_that_is_behind_makes_no_lease_longer_than_the_time_off(laptop: Laptop) -> None:
    session = laptop.rent()
    laptop.look(600)
    laptop.wall.restart(300, ahead=-3 * HOUR)  # an empty battery
    laptop.reopen()
    laptop.look(2 * HOUR)
    assert laptop.lasted(session) == pytest.approx(HOUR + 300, abs=3 * TICK + 10)


def test_this_machine_has_a_steady_clock() -> None:
    first = clock_steps.steady()
    time.sleep(0.05)
    second = clock_steps.steady()
    assert first is not None
    assert second is not None
    assert first[0] == second[0] != ""
    assert 0.04 < second[1] - first[1] < 5


def test_a_mark_that_is_spoiled_is_made_anew(laptop: Laptop) -> None:
    with laptop.ledger._write() as db:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('clock', '{')")
    session = laptop.rent()
    laptop.reopen()
    laptop.wall.ahead += HOUR
    laptop.look(1.2 * HOUR)
    assert laptop.lasted(session) == pytest.approx(HOUR, abs=2 * TICK + 10)

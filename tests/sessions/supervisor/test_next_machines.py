"""Runs that go on when their machine is taken: one bill at a time, one budget, one deadline."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gpunb import paths
from gpunb.errors import LimitReached, OfferGone, SyncError, WrongState
from gpunb.providers.base import InstanceState
from gpunb.services.once import next_machine
from gpunb.sessions import lifecycle
from gpunb.sessions.access.host_access import Pulse
from gpunb.sessions.attempts import chain, checkpoints
from gpunb.sessions.model import RunNote, Session, SessionState
from gpunb.sessions.supervisor.sweep import Supervision
from tests.sessions.scripted import told

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import World

TICK = 60.0
RUN = "aaaaaaaa"
BUDGET = 10.0


class Next:
    """What the process that rents the next machine does, in this one: it rents, and begins the run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.begun: list[Session] = []
        self.dies: str = ""

    def __call__(self, session: Session) -> None:
        world, ledger = self.world, self.world.ledger
        assert len(world.cloud.billed()) == (session.state is SessionState.READY), "a second bill"
        if session.state is SessionState.REQUESTED:
            lease = chain.settled(ledger, session).lease
            request = lifecycle.RentRequest(
                hours=((lease.deadline or 0.0) - world.clock.now) / 3600.0,
                until=lease.deadline,
                idle_s=math.inf,
                budget_usd=lease.budget_usd,
                requested=session.id,
            )
            try:
                offers = (world.cloud.offer("n1", machine_id="n1"), world.cloud.offer("n2", machine_id="n2"))
                lifecycle.rent(ledger, world.cloud, offers, request, host=world.host)
            except OfferGone:
                ledger.update(session.id, next_try=world.clock.now + 60.0)
                return
            except LimitReached as err:
                next_machine._later(ledger, session.id, err)
                return
        if self.dies == "rented":
            self.dies = ""
            return
        session = ledger.get(session.id)
        self.begun.append(session)
        begin(world, session)


def begin(world: World, session: Session) -> None:
    world.ledger.update(session.id, again={**session.again, "there": "proj/out"})
    world.ledger.add_run(RunNote(id=session.ends_with, session_id=session.id, kind="job"))
    world.host.beat = Pulse(told(session.ends_with))


def watch(world: World, following: Next) -> Supervision:
    return Supervision(world.ledger, lambda _: world.cloud, host=world.host, tick_s=TICK, begin=following)


def ticks(world: World, watcher: Supervision, seconds: float) -> list[str]:
    out = []
    end = world.clock.now + seconds
    while world.clock.now < end:
        out += watcher.tick().errors
        assert len(world.cloud.billed()) <= 1, "two machines are billed for one run"
        world.clock.sleep(TICK)
    return out


def rented(world: World, **more: Any) -> Session:
    """A session as `once --checkpoint` rents it."""
    wish = {"hours": 4, "idle_s": math.inf, "budget_usd": BUDGET, "save": ["out"], "ends_with": RUN}
    session = world.rent(**{**wish, "again": {"checkpoint": "out"}, **more})
    begin(world, session)
    return world.ledger.get(session.id)


def take(world: World, how: str = "interrupted") -> None:
    """The cloud takes the machine that is billed now."""
    (machine,) = world.cloud.billed()
    if how == "vanishes":
        machine.gone, machine.ended = True, world.clock.now
    else:
        machine.state = InstanceState(how)


@pytest.mark.parametrize("how", ["interrupted", "vanishes"])
def test_the_run_goes_on_on_the_next_machine_under_the_same_lease(world: World, how: str) -> None:
    old = rented(world)
    following = Next(world)
    watcher = watch(world, following)
    ticks(world, watcher, 3600)
    take(world, how)
    world.restart()  # the client is dead, and so is the supervisor
    following = Next(world)
    watcher = watch(world, following)
    ticks(world, watcher, 600)
    (new,) = following.begun
    assert (new.follows, new.name) == (old.id, old.name)
    assert chain.attempt(world.ledger, new) == 2
    assert new.lease.deadline == pytest.approx(old.lease.deadline, abs=1.0)
    assert new.lease.deadline <= (old.lease.deadline or 0.0)
    spent = world.ledger.cost(old.id).total
    assert spent > 1.9
    assert new.lease.budget_usd == pytest.approx(BUDGET - spent)
    receipt = world.ledger.receipt(old.id)
    assert receipt is not None
    assert receipt.why == (chain.TAKEN if how == "interrupted" else "vanished")
    assert chain.newest(world.ledger, old).id == new.id
    world.host.beat = Pulse(told(new.ends_with, "ok", ended=world.clock.now))
    ticks(world, watcher, 300)
    assert world.cloud.billed() == []
    assert [path for path, _ in world.host.fetched] == ["out"], "only the last machine has results"
    receipt = world.ledger.receipt(new.id)
    assert receipt is not None
    assert (receipt.why, receipt.saved) == ("run", ["out"])
    assert not world.ledger.sessions()


def test_nothing_is_rented_before_the_first_is_confirmed_gone(world: World) -> None:
    old = rented(world)
    following = Next(world)
    watcher = watch(world, following)
    world.cloud.script.destroy_ignored = 5
    take(world)
    ticks(world, watcher, 90)
    new = chain.newest(world.ledger, old)
    assert (new.state, following.begun) == (SessionState.REQUESTED, [])
    assert new.detail == f"waits until {old.name}-was is confirmed gone"
    with pytest.raises(WrongState, match="is not confirmed gone"):
        lifecycle.rent(
            world.ledger, world.cloud, (world.cloud.offer(),), lifecycle.RentRequest(requested=new.id),
            host=world.host,
        )  # fmt: skip
    world.ledger.release(new.id)
    assert world.cloud.creates == 1
    ticks(world, watcher, 1800)
    assert [one.id for one in following.begun] == [new.id]
    assert world.cloud.creates == 2


def test_a_process_that_dies_after_the_rent_is_followed_by_another(world: World) -> None:
    rented(world)
    following = Next(world)
    following.dies = "rented"
    take(world)
    ticks(world, watch(world, following), 300)
    assert len(following.begun) == 1
    assert world.cloud.creates == 2, "the machine that was rented is used"


def test_machines_that_do_not_boot_end_before_the_next_is_tried(world: World) -> None:
    rented(world)
    following = Next(world)
    world.cloud.script.never_boots = {"n1", "n2"}
    take(world)
    watcher = watch(world, following)
    ticks(world, watcher, 3600)
    assert following.begun == []
    world.cloud.script.never_boots = set()
    ticks(world, watcher, 3600)
    assert len(following.begun) == 1
    assert len({one.label for one in world.ledger.intents()}) == world.cloud.creates


@pytest.mark.parametrize("what", ["deadline", "budget", "machines"])
def test_it_ends_with_its_lease_its_budget_or_the_most_machines(
    world: World, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "MOST", 3)
    hours, budget = (1, BUDGET) if what == "deadline" else (9, 6.0 if what == "budget" else 100.0)
    first = rented(world, hours=hours, budget_usd=budget)
    following = Next(world)
    watcher = watch(world, following)
    errors: list[str] = []
    for _ in range(12):
        errors += ticks(world, watcher, 1200)
        if world.cloud.billed() and what != "deadline":
            take(world)
    for machine in world.cloud.machines.values():
        assert machine.ended is not None
        assert machine.ended <= (first.lease.deadline or 0.0) + 2 * TICK
    assert not world.ledger.sessions()
    chained = chain.attempts(world.ledger, chain.newest(world.ledger, first))
    assert sum(world.ledger.cost(one.id).total for one in chained) <= budget + 0.05
    if what == "machines":
        assert len(following.begun) == 2
        assert any("begun on 3 machines, which is the most" in line for line in errors)
    if what == "deadline":
        assert following.begun == []


def test_a_down_of_the_users_ends_it_on_any_machine(world: World) -> None:
    old = rented(world)
    following = Next(world)
    watcher = watch(world, following)
    world.down(old)
    ticks(world, watcher, 300)
    assert following.begun == []
    other = rented(world)
    take(world)
    world.cloud.script.destroy_ignored = 3
    ticks(world, watcher, 30)
    waiting = chain.newest(world.ledger, other)
    assert world.down(waiting).cost.total == 0.0
    ticks(world, watcher, 900)
    assert following.begun == []
    assert world.cloud.billed() == []


def test_an_end_of_the_run_that_is_known_waits_for_its_results(world: World) -> None:
    session = rented(world)
    following = Next(world)
    watcher = watch(world, following)
    world.host.beat = Pulse(told(RUN, "ok", ended=world.clock.now))
    world.host.fetch_fails = SyncError("no space left on this machine")
    ticks(world, watcher, 60)
    take(world)
    ticks(world, watcher, 600)
    assert world.ledger.get(session.id).state is SessionState.STOPPED
    assert following.begun == []


def test_the_checkpoint_comes_home_while_it_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[str] = []

    def mirror(session: Session, path: str, target: Path) -> bool:
        assert path == "proj/out"
        if len(rounds) == 2:
            (target / "step.txt").unlink()  # as a transfer that replaces a file and breaks off
            rounds.append("broken")
            msg = "the host closed the connection"
            raise SyncError(msg)
        (target / "step.txt").unlink(missing_ok=True)
        (target / "step.txt").write_text(str(len(rounds)))
        rounds.append("whole")
        return True

    monkeypatch.setattr(world.host, "mirror", mirror, raising=False)
    session = rented(world)
    watcher = watch(world, Next(world))
    errors = ticks(world, watcher, 2.5 * checkpoints.EVERY_S)
    assert rounds == ["whole", "whole"]
    assert errors == []
    errors = ticks(world, watcher, checkpoints.EVERY_S)
    kept = checkpoints.kept(world.ledger, session)
    assert kept is not None
    assert any("did not come home: the host closed" in line for line in errors)
    assert rounds[2:] == ["broken", "whole"], "tried again soon"
    assert (kept / "step.txt").read_text() == "3"
    assert [path.name for path in kept.parent.iterdir()] == ["last"]
    take(world)
    ticks(world, watcher, 300)
    new = chain.newest(world.ledger, session)
    assert new.id != session.id
    assert checkpoints.kept(world.ledger, new) == kept, "the same for all machines of a run"


@pytest.mark.parametrize("raised", [False, True])
def test_a_cap_refuses_the_next_machine_and_says_so(world: World, raised: bool) -> None:
    first = rented(world)
    last = checkpoints.folder(world.ledger, first) / "last"
    last.mkdir(parents=True)
    (last / "step.txt").write_text("7")
    paths.config_file().write_text('[limits]\nclouds = ["vast"]\n')
    following = Next(world)
    watcher = watch(world, following)
    take(world)
    ticks(world, watcher, 3600)
    waits = chain.newest(world.ledger, first)
    assert (waits.state, waits.name) == (SessionState.REQUESTED, first.name)
    assert waits.detail.startswith("no machine yet: ")
    assert "limits.clouds" in waits.detail
    assert 1 <= waits.tries <= 5, "every quarter of an hour, not each minute"
    assert (world.cloud.creates, world.cloud.billed()) == (1, [])
    receipt = world.ledger.receipt(first.id)
    assert receipt is not None
    assert receipt.confirmed is not None
    if raised:
        paths.config_file().write_text('[limits]\nclouds = ["vast", "scripted"]\n')
        ticks(world, watcher, 1800)
        assert len(following.begun) == 1
        return
    ticks(world, watcher, 5 * 3600)
    assert (world.cloud.creates, following.begun, world.ledger.sessions()) == (1, [], [])
    assert (last / "step.txt").read_text() == "7", "what the run had reached is here"


@pytest.mark.parametrize(
    ("state", "fails", "stays"),
    [("ok", None, False), ("error", None, True), ("ok", SyncError("no space left on this machine"), True)],
)
def test_the_checkpoint_goes_when_the_run_has_succeeded_and_all_is_home(
    world: World, state: str, fails: SyncError | None, stays: bool
) -> None:
    session = rented(world)
    last = checkpoints.folder(world.ledger, session) / "last"
    last.mkdir(parents=True)
    (last / "step.txt").write_text("7")
    watcher = watch(world, Next(world))
    ticks(world, watcher, 120)
    world.host.beat = Pulse(told(RUN, state, ended=world.clock.now))
    world.host.fetch_fails = fails
    ticks(world, watcher, 5 * 3600)
    assert world.ledger.get(session.id).state is SessionState.GONE
    assert last.parent.exists() is stays


@pytest.mark.parametrize("when", ["before", "while it waits"])
def test_a_lease_that_is_extended_goes_on_with_it(world: World, when: str) -> None:
    session = rented(world)
    following = Next(world)
    watcher = watch(world, following)
    if when == "before":
        world.ledger.update(session.id, lease=replace(session.lease, budget_usd=50.0))
        take(world)
    else:
        world.cloud.script.destroy_ignored = 2
        take(world)
        ticks(world, watcher, 30)
        waiting = chain.newest(world.ledger, session)
        assert waiting.state is SessionState.REQUESTED
        world.ledger.update(waiting.id, lease=replace(waiting.lease, budget_usd=50.0))
    ticks(world, watcher, 900)
    assert 45.0 < (following.begun[0].lease.budget_usd or 0.0) <= 50.0

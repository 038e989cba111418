"""Traffic as the host's own interface counts it: what the provider bills, not only what we sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpunb.sessions.access.pulse import Pulse, traffic
from gpunb.sessions.model import Session, SessionState, Transfer
from gpunb.sessions.supervisor.sweep import Supervision

if TYPE_CHECKING:
    from conftest import World

GB = 10**9


def rent(world: World, **more: float) -> Session:
    return world.rent(world.cloud.offer(up_usd_gb=0.02, down_usd_gb=0.01), hours=100, idle_s=1e6, **more)


def bandwidth(world: World, session: Session) -> float:
    return world.ledger.cost(session.id).bandwidth


def test_what_the_host_fetched_itself_is_paid_too(world: World) -> None:
    session = rent(world)
    world.clock.sleep(600)
    world.ledger.meter(session.id, 50 * GB, 1 * GB)
    assert bandwidth(world, session) == pytest.approx(0.52)
    world.clock.sleep(600)
    world.ledger.meter(session.id, 60 * GB, 1 * GB)
    assert bandwidth(world, session) == pytest.approx(0.62)


def test_what_we_sent_is_not_paid_twice(world: World) -> None:
    session = rent(world)
    world.clock.sleep(600)
    begin = world.clock.now
    sent = Transfer(session_id=session.id, direction="up", bytes=10 * GB, started=begin, ended=begin + 9)
    world.ledger.add_transfer(sent)
    assert bandwidth(world, session) == pytest.approx(0.1)
    world.ledger.meter(session.id, 11 * GB, 0)
    assert bandwidth(world, session) == pytest.approx(0.11)
    world.ledger.add_transfer(sent)
    assert bandwidth(world, session) == pytest.approx(0.11)
    world.ledger.meter(session.id, 21 * GB, 0)
    assert bandwidth(world, session) == pytest.approx(0.21)


def test_a_host_that_started_anew_counts_from_zero(world: World) -> None:
    session = rent(world)
    world.clock.sleep(600)
    world.ledger.meter(session.id, 10 * GB, 0)
    world.ledger.meter(session.id, 2 * GB, 0)
    assert bandwidth(world, session) == pytest.approx(0.12)


def test_many_readings_are_few_rows(world: World) -> None:
    session = rent(world)
    for number in range(1, 100):
        world.clock.sleep(60)
        world.ledger.meter(session.id, number * GB, number * GB)
    rows = [one for one in world.ledger.segments(session.id) if one.kind == "bandwidth"]
    assert len(rows) <= 6
    assert bandwidth(world, session) == pytest.approx(99 * 0.03)


def test_the_supervisor_reads_it_also_of_a_busy_host_and_the_budget_holds(world: World) -> None:
    session = rent(world, budget_usd=10.0)
    read = 0

    def beat(one: Session) -> Pulse:
        nonlocal read
        read += 10 * GB
        return Pulse(net=(read, 0))

    world.host.pulse = beat  # type: ignore[method-assign]
    watcher = Supervision(world.ledger, lambda name: world.cloud, host=world.host)
    for _ in range(1000):
        watcher.tick()
        world.clock.sleep(15)
        if not world.ledger.sessions():
            break
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.why == "budget"
    assert receipt.cost.bandwidth > 2.0
    assert receipt.cost.total <= 10.2


def test_down_reads_it_a_last_time(world: World) -> None:
    session = rent(world)
    world.clock.sleep(600)
    world.host.beat = Pulse(net=(5 * GB, 5 * GB))
    receipt = world.down(session)
    assert receipt.cost.bandwidth == pytest.approx(0.15)
    assert world.ledger.get(session.id).state is SessionState.GONE


@pytest.mark.parametrize("told", [None, "x", [1], [1, "2"], [-1, 0], [True, 1], [2**61, 0], [1.5, 2]])
def test_a_strangers_odd_counts_are_none(told: object) -> None:
    assert traffic(told) is None
    assert traffic([1, 2]) == (1, 2)


def test_what_no_line_can_carry_is_not_believed(world: World) -> None:
    session = rent(world)
    world.clock.sleep(60)
    world.ledger.meter(session.id, 2**59, 0)
    assert bandwidth(world, session) == 0

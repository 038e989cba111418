"""Files of a machine that is stopped when its lease ends: from its disk, by one start, or said to be lost."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import BootstrapFailed, ProviderError, SyncError, Unreachable
from gpunb.providers.base import InstanceState
from gpunb.sessions import lifecycle
from gpunb.sessions.lifecycle.rescue import AGAIN_S, EARLY_S
from gpunb.sessions.model import Session, SessionState
from gpunb.sessions.supervisor.sweep import Supervision
from tests.sessions.scripted import ScriptedReach

if TYPE_CHECKING:
    from tests.sessions.conftest import World

TICK = 15.0


def stopped(world: World, **rental: Any) -> Session:
    session = world.rent(hours=4, save=["out"], save_to="/x", **rental)
    return lifecycle.stop(world.ledger, world.cloud, session, host=world.host)


def to_the_end(world: World, seconds: float = 4.2 * 3600) -> None:
    watcher = Supervision(world.ledger, lambda _name: world.cloud, host=world.host, tick_s=TICK)
    end = world.clock.now + seconds
    while world.clock.now < end and world.ledger.sessions():
        watcher.tick()
        world.clock.sleep(TICK)


def test_it_is_started_once_for_its_files_within_its_lease(world: World) -> None:
    session = stopped(world)
    to_the_end(world)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert (receipt.saved, receipt.unsaved) == (["out"], [])
    assert receipt.ended <= (session.lease.deadline or 0.0)
    assert receipt.ended >= (session.lease.deadline or 0.0) - EARLY_S
    assert world.cloud.billed() == []
    assert sum(event.kind == "start-to-save" for event in world.ledger.events(session.id)) == 1


@pytest.mark.parametrize("kind", ["interrupted", "offline", "no start", "no money"])
def test_what_stays_is_on_the_receipt_with_the_reason(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = stopped(world)
    machine = world.cloud.machines[session.instance_id]
    if kind in {"interrupted", "offline"}:
        machine.state = InstanceState(kind)
        lifecycle.refresh(world.ledger, world.cloud, session, host=world.host)
    elif kind == "no start":

        def start(_instance_id: str) -> None:
            msg = "its GPU is taken"
            raise OSError(msg)

        monkeypatch.setattr(world.cloud, "start", start)
    else:
        lease = session.lease
        lease.budget_usd = world.ledger.cost(session.id).total + 0.1
        world.ledger.update(session.id, lease=lease)
    to_the_end(world)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.saved == []
    ((path, reason),) = receipt.unsaved
    assert path == "out"
    assert {
        "interrupted": "another customer",
        "offline": "offline",
        "no start": "taken",
        "no money": "budget",
    }[kind] in reason
    assert world.cloud.billed() == []
    assert world.ledger.get(session.id).state is SessionState.GONE


@pytest.mark.parametrize("kind", ["stopped", "interrupted", "no money"])
def test_where_its_cloud_gives_the_disk_nothing_is_started(world: World, kind: str) -> None:
    session = stopped(world)
    world.host.disk = disk = ScriptedReach(world.clock)
    if kind == "interrupted":
        world.cloud.machines[session.instance_id].state = InstanceState.INTERRUPTED
        lifecycle.refresh(world.ledger, world.cloud, session, host=world.host)
    elif kind == "no money":
        session.lease.budget_usd = world.ledger.cost(session.id).total + 0.1
        world.ledger.update(session.id, lease=session.lease)
    to_the_end(world)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert (receipt.saved, receipt.unsaved) == (["out"], [])
    assert [path for path, _ in disk.fetched] == ["out"]
    assert world.host.fetched == []
    assert not any(event.kind == "start-to-save" for event in world.ledger.events(session.id))
    assert world.cloud.billed() == []


@pytest.mark.parametrize("kind", ["stopped", "interrupted"])
def test_a_disk_that_is_not_given_is_asked_twice_and_then_the_machine_is_started(
    world: World, kind: str
) -> None:
    session = stopped(world)
    world.host.disk = disk = ScriptedReach(world.clock)
    disk.fetch_fails = SyncError("its computer lets nobody in")
    reads: list[str] = []
    disk.hook = reads.append
    if kind == "interrupted":
        world.cloud.machines[session.instance_id].state = InstanceState.INTERRUPTED
        lifecycle.refresh(world.ledger, world.cloud, session, host=world.host)
    to_the_end(world)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert 1 <= reads.count("fetch") <= 2
    if kind == "stopped":
        assert (receipt.saved, receipt.unsaved) == (["out"], [])
        assert [path for path, _ in world.host.fetched] == ["out"]
    else:
        ((path, reason),) = receipt.unsaved
        assert path == "out"
        assert "another customer" in reason
        assert "lets nobody in" in reason
    assert world.cloud.billed() == []


def test_down_of_a_stopped_one_takes_its_files_from_the_disk_or_ends_nothing(world: World) -> None:
    session = stopped(world)
    with pytest.raises(SyncError, match="can't be brought back") as caught:
        world.down(session)
    assert "nothing was ended" in str(caught.value.bill)
    world.host.disk = disk = ScriptedReach(world.clock)
    disk.fetch_fails = SyncError("its computer lets nobody in")
    with pytest.raises(SyncError, match="lets nobody in"):
        world.down(session)
    assert world.ledger.get(session.id).state is SessionState.STOPPED
    disk.fetch_fails = None
    world.down(session)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert (receipt.saved, receipt.unsaved) == (["out"], [])
    assert world.host.fetched == []
    assert world.cloud.billed() == []


@pytest.mark.parametrize("who", ["the lease", "down", "down, and it does not answer"])
def test_one_that_is_being_started_again_has_its_files(world: World, who: str) -> None:
    session = world.ledger.transition(stopped(world), SessionState.BOOTING, "starting")
    world.cloud.script.get_fails_until = world.cloud.script.list_fails_until = world.clock.now + 5 * 3600
    if who == "the lease":
        to_the_end(world, 5 * 3600)
        world.cloud.script.get_fails_until = world.cloud.script.list_fails_until = 0.0
        to_the_end(world)
    elif who == "down":
        world.cloud.script.get_fails_until = world.cloud.script.list_fails_until = 0.0
        world.down(session)
    else:
        world.host.fetch_fails = Unreachable("no route")
        with pytest.raises(SyncError, match="no route") as caught:
            world.down(session)
        assert "nothing was ended" in str(caught.value.bill)
        assert world.cloud.billed()
        return
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert receipt.saved == ["out"]
    assert world.cloud.billed() == []


def test_an_agent_that_does_not_start_again_keeps_no_files_from_coming(world: World) -> None:
    session = stopped(world)

    def fails(step: str) -> None:
        if step == "arm":
            msg = "no Python on the host"
            raise BootstrapFailed(msg)

    world.host.hook = fails
    to_the_end(world)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert (receipt.saved, receipt.unsaved) == (["out"], [])
    assert world.cloud.billed() == []


def test_a_start_that_is_refused_is_asked_for_again_until_the_lease_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = stopped(world)
    start, tries = world.cloud.start, []

    def queued(instance_id: str) -> None:
        tries.append(world.clock.now)
        if len(tries) < 4:
            msg = "its GPU is taken; the start was taken back"
            raise ProviderError(msg, provider="scripted")
        start(instance_id)

    monkeypatch.setattr(world.cloud, "start", queued)
    to_the_end(world)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert (receipt.saved, receipt.unsaved) == (["out"], [])
    assert receipt.ended <= (session.lease.deadline or 0.0) + 2 * TICK
    assert len(tries) == 4
    assert min(late - early for early, late in pairwise(tries)) >= AGAIN_S
    assert world.cloud.billed() == []


def test_a_start_that_breaks_off_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = stopped(world)
    get, answers = world.cloud.get, [TypeError("'NoneType' object is not subscriptable")]

    def odd(instance_id: str) -> Any:
        if answers and world.ledger.get(session.id).state is SessionState.BOOTING:
            raise answers.pop()
        return get(instance_id)

    monkeypatch.setattr(world.cloud, "get", odd)
    to_the_end(world)
    receipt = world.ledger.receipt(session.id)
    assert receipt is not None
    assert not answers
    assert (receipt.saved, receipt.unsaved) == (["out"], [])
    assert world.cloud.billed() == []

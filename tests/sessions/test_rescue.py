"""Files of a machine that is stopped when its lease ends: started once for them, or said to be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gpunb.providers.base import InstanceState
from gpunb.sessions import lifecycle
from gpunb.sessions.model import Session, SessionState
from gpunb.sessions.rescue import EARLY_S
from gpunb.sessions.watching import Watch

if TYPE_CHECKING:
    from tests.sessions.conftest import World

TICK = 15.0


def stopped(world: World, **rental: Any) -> Session:
    session = world.rent(hours=4, save=["out"], save_to="/x", **rental)
    return lifecycle.stop(world.ledger, world.cloud, session, host=world.host)


def to_the_end(world: World, seconds: float = 4.2 * 3600) -> None:
    watcher = Watch(world.ledger, lambda _name: world.cloud, host=world.host, tick_s=TICK)
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
    assert {"interrupted": "somebody else", "offline": "offline", "no start": "taken", "no money": "budget"}[
        kind
    ] in reason
    assert world.cloud.billed() == []
    assert world.ledger.get(session.id).state is SessionState.GONE

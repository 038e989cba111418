"""The end of a host's contract: no lease is longer, none is extended past it, one is cut when it moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BadInput
from gpunb.sessions import lifecycle
from gpunb.sessions.cost.lease import CONTRACT_S, extend

if TYPE_CHECKING:
    from tests.sessions.conftest import World


def test_a_lease_ends_before_the_contract(world: World) -> None:
    ends = world.clock.now + 3 * 3600
    session = world.rent(world.cloud.offer(ends=ends), hours=10)
    assert session.lease.deadline == ends - CONTRACT_S
    assert session.contract_end == ends
    with pytest.raises(BadInput, match="contract for h100-1 ends at") as caught:
        extend(world.ledger, session, hours=5, host=world.host)
    assert "move your files" in str(caught.value.hint)
    assert world.ledger.get(session.id).lease.deadline == ends - CONTRACT_S
    free = world.rent(world.cloud.offer("o2"), hours=10)
    assert extend(world.ledger, free, hours=5, host=world.host).contract_end is None


def test_what_can_still_be_given_is_said(world: World) -> None:
    session = world.rent(world.cloud.offer(ends=world.clock.now + 10 * 3600), hours=1)
    with pytest.raises(BadInput) as caught:
        extend(world.ledger, session, hours=20, host=world.host)
    assert "is the most" in str(caught.value.hint)
    assert extend(world.ledger, session, hours=2, host=world.host).lease.deadline is not None


def test_an_offer_that_ends_at_once_is_not_rented(world: World) -> None:
    with pytest.raises(BadInput, match="ends in"):
        world.rent(world.cloud.offer(ends=world.clock.now + 600), hours=1)
    assert world.cloud.billed() == []


def test_a_contract_that_is_cut_short_cuts_the_lease_so_that_files_come_first(world: World) -> None:
    session = world.rent(hours=50, save=["out"], save_to="/x")
    ends = world.clock.now + 2 * 3600
    world.cloud.machines[session.instance_id].ends = ends
    session = lifecycle.refresh(world.ledger, world.cloud, session, host=world.host)
    assert session.lease.deadline == ends - CONTRACT_S
    assert any("ends the contract" in event.detail for event in world.ledger.events(session.id))

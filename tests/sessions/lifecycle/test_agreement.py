"""A yes is for the offer that was shown: what may be rented in its place, and at which price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import OfferGone, RateLimited
from gpunb.sessions.lifecycle.agreement import Agreement
from gpunb.sessions.model import SessionState as S
from tests.sessions.scripted import raising

if TYPE_CHECKING:
    from tests.sessions.conftest import World

GONE = OfferGone("it was taken", provider="scripted")


@pytest.mark.parametrize(
    "other",
    [
        {"usd_h": 2.11},
        {"usd_h": 1.9, "gpus": 2},
        {"usd_h": 1.0, "gpu": "A100"},
        {"usd_h": 1.0, "rental": "spot"},
        {"usd_h": 1.0, "kind": "vm"},
        {"usd_h": 1.0, "trust": "stranger"},
        {"disk_usd_gb_h": 0.1},
        {"clock_hours": True, "usd_h": 2.09},
        {"down_usd_gb": 0.5},
        {"up_usd_gb": 0.5},
    ],
    ids=str,
)
def test_what_was_not_agreed_to_is_not_rented(world: World, other: dict[str, Any]) -> None:
    world.cloud.script.create_before = [raising(GONE)]
    mine = {"trust": "datacenter", "disk_usd_gb_h": 0.0}
    with pytest.raises(OfferGone, match="taken") as caught:
        world.rent(
            world.cloud.offer("o1", **mine),
            world.cloud.offer("o2", **{**mine, **other}),
            disk_gb=50.0,
            hours=1.5,
        )
    assert world.cloud.creates == 1, "the other one was not asked for"
    assert world.cloud.billed() == []
    assert "nothing is rented" in (caught.value.bill or "")


@pytest.mark.parametrize(
    "other",
    [{"usd_h": 2.1}, {"usd_h": 1.0}, {"usd_h": 2.0, "trust": "own"}, {"down_usd_gb": 0.0}, {"country": "DE"}],
    ids=str,
)
def test_one_like_it_is_taken_and_the_budget_stays(world: World, other: dict[str, Any]) -> None:
    world.cloud.script.create_before = [raising(GONE)]
    session = world.rent(
        world.cloud.offer("o1", trust="datacenter"),
        world.cloud.offer("o2", **{"trust": "datacenter", **other}),
        hours=2,
    )
    assert (session.state, session.offer["id"]) == (S.READY, "o2")
    assert session.lease.budget_usd == pytest.approx(2.0 * 2 * 1.2), "of the offer that was agreed to"


def test_what_lies_between_is_passed_over(world: World) -> None:
    world.cloud.script.create_before = [raising(GONE)]
    offers = [
        world.cloud.offer("o1"),
        world.cloud.offer("dear", usd_h=9.0),
        world.cloud.offer("o3", usd_h=2.05),
    ]
    assert world.rent(*offers).offer["id"] == "o3"
    assert [one for one in world.cloud.calls if one.startswith("create")] == ["create o1", "create o3"]


def test_failed_boots_spend_the_same_budget(world: World) -> None:
    world.cloud.script.never_boots = {"o1"}
    session = world.rent(world.cloud.offer("o1"), world.cloud.offer("o2"), hours=2, boot_s=600.0)
    assert session.lease.budget_usd == pytest.approx(4.8)
    assert world.ledger.cost(session.id).total > 0.3, "what the first one cost is in it"


@pytest.mark.parametrize("rest", [True, False])
def test_a_price_that_rose_after_it_was_shown(world: World, rest: bool) -> None:
    world.cloud.script.bills = {"o1": 3.0}
    offers = [world.cloud.offer("o1")] + [world.cloud.offer("o2")] * rest
    if rest:
        assert world.rent(*offers).offer["id"] == "o2"
    else:
        with pytest.raises(OfferGone, match=r"bills \$3.00 an hour for it, and \$2.00 was agreed to"):
            world.rent(*offers)
    assert [one.id for one in world.cloud.billed()] == ["i2"] * rest, "the dear one is gone, for certain"


def test_a_price_within_what_was_agreed_to_stays(world: World) -> None:
    world.cloud.script.bills = {"o1": 2.1}
    assert world.rent().usd_h == 2.1


def test_a_price_that_was_named_beforehand_counts(world: World) -> None:
    world.cloud.script.create_before = [raising(GONE)]
    one, two = world.cloud.offer("o1"), world.cloud.offer("o2", usd_h=2.9)
    agreed = Agreement.to(one, hours=2.0, disk_gb=0.0, max_usd_h=3.0)
    session = world.rent(one, two, hours=2, agreed=agreed)
    assert session.offer["id"] == "o2"
    assert session.lease.budget_usd == pytest.approx(4.8)
    assert Agreement.to(one, hours=2.0, disk_gb=0.0, max_usd_h=0.5).most_usd_h == pytest.approx(2.1)
    assert Agreement.to(one, hours=2.0, disk_gb=0.0, tolerance=0.0).differs(two)


def test_what_costs_nothing_leads_to_nothing_that_costs(world: World) -> None:
    world.cloud.script.create_before = [raising(GONE)]
    with pytest.raises(OfferGone):
        world.rent(world.cloud.offer("o1", usd_h=0.0), world.cloud.offer("o2", usd_h=0.01))
    assert world.cloud.creates == 1


def test_an_offer_that_was_asked_for_too_soon_is_not_gone(world: World) -> None:
    """Three terminals rent at once: the cloud wants a pause, and there is no other offer like it."""
    too_soon = RateLimited("too soon", provider="scripted", retry_after=7.0)
    world.cloud.script.create_before = [raising(too_soon), raising(too_soon)]
    began = world.clock.now
    assert world.rent(world.cloud.offer("o1"), world.cloud.offer("dear", usd_h=9.0)).offer["id"] == "o1"
    assert world.cloud.creates == 3
    assert world.clock.now - began >= 14.0, "it waited as long as the cloud said"
    world.cloud.script.create_before = [raising(too_soon)] * 9
    with pytest.raises(RateLimited):
        world.rent(world.cloud.offer("o1"))
    assert world.cloud.creates == 6

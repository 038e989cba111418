"""A bill that differs from our count says by how much, and which assumption it contradicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gpunb.presentation import tables
from gpunb.providers.base import UsageLine
from gpunb.sessions.cost import bills, spending

if TYPE_CHECKING:
    from conftest import World

HOUR = 3600.0


def test_no_line_is_not_zero_dollars(world: World) -> None:
    world.cloud.usage = lambda _: []  # type: ignore[method-assign]
    session = world.rent(hours=1)
    world.clock.sleep(HOUR / 2)
    receipt = world.down(session)
    assert (receipt.provider_usd, receipt.not_billed) == (None, True)
    assert tables.said(receipt).startswith("not billed yet")
    assert "$0.00" not in tables.said(receipt)
    del world.cloud.usage  # type: ignore[method-assign]
    world.cloud.script.usage = 0.0
    (row,) = spending.spent(world.ledger)
    assert row.not_billed
    spending.ask_clouds(world.ledger, [row], lambda name: world.cloud)
    assert (row.provider_usd, row.not_billed) == (None, True), "a line of $0.00 is none yet"
    world.cloud.script.usage = receipt.cost.total
    spending.ask_clouds(world.ledger, [row], lambda name: world.cloud)
    kept = world.ledger.receipt(session.id)
    assert kept is not None
    assert (kept.not_billed, kept.contradicts) == (False, "")
    assert "(matches)" in tables.said(kept)


#: the offer, what was charged by kind for 90 minutes at $2 an hour (after 10 of booting), the words
CASES: list[tuple[dict[str, Any], dict[str, float], str]] = [
    ({}, {"gpu": 4.0}, "steps of 1 s (increment_s): 3600 s would explain it"),
    ({}, {"gpu": 3.6}, "no fee or premium comes on top"),
    (
        {},
        {"gpu": 3.0, "platform fee": 0.3},
        "nothing is charged beside gpu, disk and traffic (platform fee $0.30)",
    ),
    ({}, {"gpu": 3.0, "bandwidth": 0.2}, "traffic of pulling the image is not billed"),
    ({"bills_boot": False}, {"gpu": 3.0 + 2.0 * 600 / HOUR}, "loading is free (bills_boot)"),
    ({}, {"gpu": 3.0 - 2.0 * 600 / HOUR}, "booting is billed (bills_boot): gpunb counts early"),
    ({"increment_s": 3600.0}, {"gpu": 3.0}, "steps of 3600 s (increment_s): gpunb counts more"),
    ({}, {"gpu": 3.0}, ""),
]


@pytest.mark.parametrize(("offer", "charged", "words"), CASES, ids=lambda value: str(value)[:40])
def test_a_difference_names_what_it_contradicts(
    world: World, offer: dict[str, Any], charged: dict[str, float], words: str
) -> None:
    world.cloud.script.boot_s = 600.0
    session = world.rent(world.cloud.offer(**offer), hours=10, idle_s=float("inf"))
    segment = next(one for one in world.ledger.segments(session.id) if one.kind == "gpu")
    world.clock.sleep(segment.start + 1.5 * HOUR - world.clock.now)
    ident = session.instance_id
    world.cloud.usage = lambda _: [  # type: ignore[method-assign]
        UsageLine(instance_id=ident, kind=kind, usd=usd) for kind, usd in charged.items()
    ]
    world.down(session)
    world.clock.sleep(bills.LATE_S + 60)
    (row,) = spending.spent(world.ledger)
    spending.ask_clouds(world.ledger, [row], lambda name: world.cloud)
    kept = world.ledger.receipt(session.id)
    assert kept is not None
    assert (words in kept.contradicts) if words else not kept.contradicts, kept
    if words:
        assert f"this contradicts {kept.contradicts}" in tables.said(kept)
        assert "more than" in tables.said(kept) or "less than" in tables.said(kept)

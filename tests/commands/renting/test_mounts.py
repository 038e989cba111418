"""``rent --volume``: where a volume is, who fits it, and what is refused, on the simulated clouds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import BadInput
from gpunb.providers import OfferQuery
from gpunb.services import volume_mounts
from gpunb.sessions.ledger.sessions import Ledger
from tests.support.rentals.vast_cloud import world

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def market() -> Any:
    """The simulated Vast with a volume, its offers as `rent` has them, and a context that knows it."""
    w = world()
    space = w.provider.search_volumes(20)[0]
    ident = w.provider.create_volume(space.id, 20, "data")
    rows = [SimpleNamespace(offer=offer) for offer in w.provider.search(OfferQuery())]
    return SimpleNamespace(
        w=w,
        rows=rows,
        ident=ident,
        machine=space.machine_id,
        context=SimpleNamespace(provider=lambda _: w.provider),
    )


def test_only_offers_on_the_volumes_machine_are_left(market: Any) -> None:
    on_it = SimpleNamespace(offer=market.rows[0].offer)
    on_it.offer.machine_id = market.machine
    rows, (mount,) = volume_mounts.choose(market.context, ["data:/data"], market.rows)
    assert {row.offer.machine_id for row in rows} == {market.machine}
    assert (mount.volume.id, mount.path) == (market.ident, "/data")
    assert "data (20 GB) at /data, $" in mount.text()
    assert volume_mounts.choose(market.context, [f"{market.ident}:/x"], market.rows)[1][0].path == "/x"
    rented = market.w.rent(offer=rows[0].offer, volumes={mount.volume.id: mount.path})
    info = market.w.cloud.machines[rented.id].data["volume_info"]
    assert (info["volume_id"], info["mount_path"]) == (int(market.ident), "/data")


def test_what_can_not_be_mounted_is_refused_before_money(market: Any) -> None:
    for given in ("data", "data:", ":/data", "data:data", "data:/", "data:/root/"):
        with pytest.raises(BadInput, match="must be NAME:/PATH"):
            volume_mounts.choose(market.context, [given], market.rows)
    with pytest.raises(BadInput, match=r"no such volume; they have: data"):
        volume_mounts.choose(market.context, ["other:/data"], market.rows)
    elsewhere = [row for row in market.rows if row.offer.machine_id != market.machine]
    with pytest.raises(BadInput, match=f"data is on vast, machine {market.machine}"):
        volume_mounts.choose(market.context, ["data:/data"], elsewhere)
    market.w.provider.create_volume(market.w.provider.search_volumes(20)[0].id, 20, "data")
    with pytest.raises(BadInput, match="several volumes"):
        volume_mounts.choose(market.context, ["data:/data"], market.rows)


def test_a_volume_that_nothing_uses_is_found_by_the_doctor(market: Any, home: Path) -> None:
    from gpunb.commands.account.doctor import _volumes
    from gpunb.providers.local import LocalProvider

    with Ledger.open() as ledger:
        (finding,) = _volumes(ledger, market.w.provider)
        assert finding.level == "warn"
        assert "1 volumes" in finding.text
        assert "data" in finding.text
        offer = market.rows[0].offer
        offer.machine_id = market.machine
        market.w.rent(offer=offer, volumes={market.ident: "/data"})
        assert list(_volumes(ledger, market.w.provider)) == []
        assert list(_volumes(ledger, LocalProvider())) == []

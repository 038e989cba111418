"""Machines that are not what was offered, on the simulated Vast: ended, remembered, replaced."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import HostError
from gpunb.providers.base import OfferQuery
from gpunb.sessions import lifecycle, start_check
from gpunb.sessions.access import host_access
from gpunb.sessions.cost.receipts import build_receipt
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import IntentState, SessionState
from gpunb.sim.faults import HOST_KINDS
from gpunb.sim.hosts.real import RealHosts
from tests.support.rentals.simulated import Simulated, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpunb.providers import Offer
    from gpunb.sessions.model import Session

pytestmark = pytest.mark.slow
LIMITS = {"memory": 0.05, "disk": 0.0, "line": 0.2}
SAID = {
    "gpu-missing": "it has 7 of 8 GPUs",
    "gpu-other": "was offered",
    "gpu-half-memory": "GB of memory, and",
    "gpu-old-driver": "is too old for the image, which needs CUDA 12.4",
    "gpu-dead": "GPU 0 does not work (CUDA error: uncorrectable ECC error encountered)",
    "gpu-lost": "its GPU does not answer (nvidia-smi ended with",
}


@pytest.fixture
def vast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulated]:
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))
    with served("vast", hosts=RealHosts(tmp_path / "hosts"), speed=10.0, boot_s=1.0) as sim:
        yield sim
        host_access.close_all()


def rented(sim: Simulated, ledger: Ledger, offers: list[Offer], **more: Any) -> Session:
    return lifecycle.rent(
        ledger,
        sim.provider,
        offers,
        lifecycle.RentRequest(**{"disk_gb": 10.0, "python": sys.executable, "check": LIMITS, **more}),
    )


def pair(sim: Simulated, gpus: int) -> list[Offer]:
    """The two cheapest offers of one model and of different machines, the cheaper last: it is no dearer."""
    found: dict[str, dict[str, Offer]] = {}
    for offer in sim.provider.search(OfferQuery(count_min=gpus, count_max=gpus)):
        found.setdefault(f"{offer.gpu} {offer.trust}", {}).setdefault(offer.machine_id, offer)
    offers = next([*rows.values()] for rows in found.values() if len(rows) > 1)
    first, second = sorted(offers, key=lambda one: -one.hourly(10.0))[:2]
    # a yes to the first covers the second: its traffic is no dearer either
    return [replace(first, up_usd_gb=0.05, down_usd_gb=0.05), second]


def test_each_way_to_be_cheated_has_its_words() -> None:
    assert set(SAID) == set(HOST_KINDS)


@pytest.mark.parametrize("kind", HOST_KINDS)
def test_it_is_ended_remembered_and_the_next_offer_taken(vast: Simulated, kind: str) -> None:
    offers = pair(vast, 8 if kind == "gpu-missing" else 1)
    vast.cloud.faults.add(kind, "create")
    with Ledger.open() as ledger:
        session = rented(vast, ledger, offers)
        assert session.state is SessionState.READY
        assert session.offer["id"] == offers[1].id
        bad, good = ledger.intents(session.id)
        assert (bad.state, bad.offer_id) == (IntentState.GONE, offers[0].id)
        # nothing is billed past the finding: Vast bills by the second, and its bill stands still
        assert [one.id for one in vast.cloud.billed_now()] == [good.instance_id]
        billed = vast.cloud.bill_of(bad.instance_id)
        time.sleep(0.3)
        assert vast.cloud.bill_of(bad.instance_id) == billed
        (failure,) = ledger.failures()
        assert failure.machine_id == offers[0].machine_id
        assert SAID[kind] in failure.reason
        ends = [one.detail for one in ledger.events(session.id) if one.new == SessionState.ENDING.value]
        assert len(ends) == 1
        assert SAID[kind] in ends[0]
        check = start_check.recorded(ledger, session)
        assert check is not None
        assert check.wrong == []
        assert check.took_s < 5
        assert {"GPUs", "GPU memory", "driver", "disk", "cores", "memory"} <= {
            one.what for one in check.figures
        }
        receipt = build_receipt(ledger, None, session)
        assert receipt.check == check.data()
        lifecycle.down(ledger, vast.provider, session)
        assert vast.cloud.billed_now() == []


def test_one_offer_only_is_refused_with_the_reason_and_nothing_stays(vast: Simulated) -> None:
    offer = pair(vast, 1)[0]
    vast.cloud.faults.add("gpu-half-memory", "create")
    with Ledger.open() as ledger, pytest.raises(HostError, match="not what was offered") as caught:
        rented(vast, ledger, [offer])
    assert caught.value.bill is not None
    assert caught.value.bill.startswith("confirmed: nothing is rented")
    assert "--no-check" in str(caught.value.hint)
    assert vast.cloud.billed_now() == []


def test_a_second_offer_of_the_same_machine_is_not_tried(vast: Simulated) -> None:
    first, other = pair(vast, 1)
    again = replace(first, id="999")
    vast.cloud.faults.add("gpu-other", "create")
    with Ledger.open() as ledger:
        session = rented(vast, ledger, [first, again, other])
        assert session.offer["id"] == other.id
        assert len(ledger.intents(session.id)) == 2
        lifecycle.down(ledger, vast.provider, session)


def test_without_the_check_it_is_taken_as_it_is(vast: Simulated) -> None:
    offers = pair(vast, 1)
    vast.cloud.faults.add("gpu-half-memory", "create")
    with Ledger.open() as ledger:
        session = rented(vast, ledger, offers, check=None)
        assert session.offer["id"] == offers[0].id
        assert start_check.recorded(ledger, session) is None
        lifecycle.down(ledger, vast.provider, session)


def test_a_slower_disk_is_told_and_ends_nothing(vast: Simulated) -> None:
    offer = pair(vast, 1)[0]
    offer.disk_mbps = 1e7
    with Ledger.open() as ledger:
        session = rented(vast, ledger, [offer], check={**LIMITS, "disk": 0.5})
        check = start_check.recorded(ledger, session)
        assert check is not None
        assert [one for one in check.weak if one.startswith("its disk writes")]
        assert check.summary() == "weaker than offered"
        lifecycle.down(ledger, vast.provider, session)

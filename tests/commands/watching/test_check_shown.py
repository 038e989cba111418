"""The start check's figures in ``show`` and on the receipt, beside the offer's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.rentals.ledgers import ready

from gpunb.providers.base import Offer
from gpunb.sessions.cost.receipts import write_receipt
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState, Transfer, offer_to_dict
from gpunb.sessions.start_check import Limits, compare

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.terminal import Gpunb

OFFER = Offer(
    provider="local",
    id="o",
    gpu="H100 SXM",
    gpus=1,
    vram_gb=80.0,
    disk_mbps=2000.0,
    inet_down_mbps=800.0,
    cores=8,
)
REPORT = {
    "smi": "",
    "gpus": [{"name": "NVIDIA H100 80GB HBM3", "mib": 81559}],
    "driver": "550.54.15",
    "cuda": "12.4",
    "disk_mbps": 150.0,
    "cores": 8,
    "took_s": 1.5,
}


@pytest.fixture
def checked(home: Path) -> None:
    with Ledger.open() as ledger:
        ledger.lead("detached", 3600.0)
        session = ready(ledger, name="train", offer=offer_to_dict(OFFER))
        ledger.note(session.id, "check", json.dumps(compare(OFFER, REPORT, Limits()).data()))
        sent = Transfer(session_id=session.id, direction="up", bytes=10_000_000, started=0.0, ended=0.2)
        ledger.add_transfer(sent)


def figures(data: list[dict[str, str]]) -> list[tuple[str, ...]]:
    return [(one["what"], one["offered"], one["found"], one["verdict"]) for one in data]


ROWS = [
    ("GPUs", "H100 SXM", "H100 SXM", ""),
    ("GPU memory", "80 GB", "80 GB", ""),
    ("driver", "", "550.54.15 (CUDA 12.4)", ""),
    ("disk", "2000 MB/s", "150 MB/s written", "weak"),
    ("cores", "8", "8", ""),
    ("line to it", "800 Mbit/s", "400 Mbit/s", ""),
]


def test_show_has_each_figure_beside_the_offer_s(checked: None, gpunb: Gpunb) -> None:
    del checked
    text = gpunb("show", "train").out
    assert "550.54.15 (CUDA 12.4)" in text
    assert "its disk writes 150 MB/s, and 2000 were offered" in text
    assert "weaker than offered" in text  # the event, in words
    assert figures(json.loads(gpunb("show", "train", "--json").out)["check"]["figures"]) == ROWS


def test_the_receipt_has_them_too(checked: None, gpunb: Gpunb) -> None:
    del checked
    with Ledger.open() as ledger:
        (session,) = ledger.sessions()
        ledger.transition(session, SessionState.ENDING, "down")
        write_receipt(ledger, None, ledger.transition(ledger.get(session.id), SessionState.GONE, ""))
    text = gpunb("receipts", "train").out
    assert "weaker than offered" in text
    assert "150 MB/s written" in text
    assert figures(json.loads(gpunb("receipts", "train", "--json").out)["check"]["figures"]) == ROWS

"""Terminals of 80, 100 and 200 columns: figures whole or not at all, no word folded, no line too long."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len
from support.rentals.clouds import simulated

from gpunb.cli.main import invoke
from gpunb.presentation.columns import Column, fit
from gpunb.presentation.result import Result, Table
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Cost, Lease, Receipt, RunNote, Segment, Session, SessionState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation

WIDTHS = (80, 100, 200)
WIDE = 1_000
PATH = (SessionState.CREATING, SessionState.BOOTING, SessionState.REACHABLE, SessionState.READY)


def a_session(ledger: Ledger, name: str, gpu: str, gpus: int, rate: float, *, over: bool = False) -> Session:
    now = time.time()
    session = ledger.add_session(
        Session(
            id=f"id{name}",
            name=name,
            provider="deepinfra" if gpus > 1 else "vast",
            label=f"gpunb-{ledger.installation[:8]}-id{name}",
            gpu=gpu,
            gpus=gpus,
            usd_h=rate,
            trust="datacenter" if gpus > 1 else "stranger",
            lease=Lease(deadline=now + 90_000, idle_s=5_400, budget_usd=123_456.78),
        )
    )
    for state in PATH:
        session = ledger.transition(session, state, "", instance_id="31415926")
    ledger.open_segments(
        [
            Segment(session_id=session.id, kind="gpu", rate=rate, start=now - 7_200),
            Segment(session_id=session.id, kind="disk", rate=0.0001, start=now - 7_200),
        ]
    )
    ledger.add_run(
        RunNote(
            id=f"r{name[:8]}",
            session_id=session.id,
            kind="job",
            name="train_the_larger_model.py --epochs 300",
            started=now - 4_000,
        )
    )
    if over:
        ledger.transition(session, SessionState.ENDING, "down")
        ledger.transition(ledger.get(session.id), SessionState.GONE, "down")
        ledger.save_receipt(
            Receipt(
                session_id=session.id,
                name=name,
                provider=session.provider,
                instance_id="31415926",
                gpu=gpu,
                gpus=gpus,
                started=now - 7_200,
                ended=now,
                cost=Cost(gpu=1_234.56, disk=0.00027, bandwidth=78.9),
                provider_usd=1_313.5,
                why="the price rose above what was agreed to",
            )
        )
    return session


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Result]]:
    """The answers of the verbs that show tables, over a full ledger and the simulated clouds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUNB_HOME", str(tmp_path_factory.mktemp("screens")))
        with simulated(real=False):
            patch.setenv("GPUNB_CLOUDS", "vast,deepinfra,fluence,sesterce")
            with Ledger.open() as ledger:
                a_session(ledger, "fine-tune-the-large-model", "RTX PRO 6000 Blackwell", 8, 120.45)
                a_session(ledger, "fit", "RTX 4090", 1, 0.348)
                a_session(ledger, "yesterday", "H100 SXM", 2, 16.0, over=True)
                a_session(ledger, "long-name-of-a-session-that-is-over", "A100 PCIe", 1, 1.7, over=True)
                ledger.lead("detached", 3600.0)  # a verb's own supervisor would end what no cloud knows of
            yield {line: invoke(line, "terminal") for line in LINES}


LINES = [
    "ps",
    "ps --all",
    "offers",
    "offers --gpu H100 --why",
    "receipts",
    "receipts yesterday",
    "cost",
    "cost --by day",
    "cost --by cloud",
    "cost --by run",
    "cost --invoices",
    "runs",
    "panel --once",
    "volumes",
    "vast increases",
    "config",
    "trust fit",
    "show fit",
]


def words(text: str) -> set[str]:
    return set(text.split())


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_figure_is_whole_or_left_out(screens: dict[str, Result], line: str, width: int) -> None:
    result = screens[line]
    shown, whole = result.text(width), result.text(WIDE)
    assert max(cell_len(row) for row in shown.splitlines()) <= width, shown
    table = re.sub(r"not shown here:.*?--json\)", "", shown, flags=re.DOTALL)
    broken = {word for word in words(table) - words(whole) if len(word) < 28 and "─" not in word}
    assert not broken, shown
    figures = re.findall(r"<?\$[\d,.]+", shown)
    assert set(figures) <= set(re.findall(r"<?\$[\d,.]+", whole)), shown


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("ps", ("name", "state", "cost", "$/h", "time left")),
        ("offers", ("gpu", "$/h", "total")),
        ("cost", ("session", "total")),
    ],
)
def test_what_matters_stays_at_80_columns(
    screens: dict[str, Result], line: str, kept: tuple[str, ...]
) -> None:
    shown = screens[line].text(80)
    head = next(row for row in shown.splitlines() if kept[0] in row)
    assert all(heading in head for heading in kept), shown
    assert "not shown here:" in shown


def test_receipts_of_one_name_are_told_apart(home: Path) -> None:
    with Ledger.open() as ledger:
        for name in ("fit", "fit2"):
            a_session(ledger, name, "RTX 4090", 1, 0.348, over=True)
        for receipt in ledger.receipts():
            receipt.name = "fit"
            ledger.save_receipt(receipt)
    shown = invoke("receipts", "terminal").text(80)
    assert {"idfit", "idfit2"} <= words(shown), shown


def test_a_window_too_small_for_any_table_gets_a_line_for_each_value(screens: dict[str, Result]) -> None:
    shown = screens["cost"].text(20)
    assert "$1,234.56" in Result(None, Table(["name", ">cost"], [["a" * 15, "$1,234.56"]])).text(20)
    assert max(cell_len(row) for row in shown.splitlines() if "not shown" not in row) <= 40


def test_columns_go_in_their_order() -> None:
    columns = [Column("name"), Column("b", drop=1), Column("c", drop=2), Column("cost", right=True)]
    row = ["name", "bbbb", "cccc", "$1.00"]
    assert fit(columns, [row], 23).shown == (0, 1, 2, 3)
    assert fit(columns, [row], 22).shown == (0, 1, 3)
    assert fit(columns, [row], 16).shown == (0, 3)
    assert fit(columns, [row], 8).shown == ()


def test_money_is_no_mathematics(screens: dict[str, Result]) -> None:
    for line, result in screens.items():
        assert result.html().startswith('<div class="mathjax_ignore tex2jax_ignore">'), line


def test_a_pipe_gets_every_column(gpunb: Gpunb, clouds: Simulation) -> None:
    assert "not shown here" not in gpunb("offers", "--cloud", "vast").out


@pytest.fixture
def clouds(gpunb: Gpunb) -> Iterator[Simulation]:
    with simulated(real=False) as simulation:
        yield simulation

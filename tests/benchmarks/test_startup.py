from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import Options, startup
from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from pathlib import Path


def test_the_ledger_it_measures_with_is_a_lived_in_one(tmp_path: Path) -> None:
    startup.fill(tmp_path / "home" / "ledger.sqlite")
    with Ledger.open(tmp_path / "home" / "ledger.sqlite") as ledger:
        assert len(ledger.sessions()) == startup.LIVING
        assert len(ledger.sessions(alive=False)) == startup.LIVING + startup.ENDED
        assert ledger.cost(ledger.sessions()[0].id).total > 0.9
        assert ledger.check() == []


@pytest.mark.slow
def test_it_measures_both_bars() -> None:
    report = startup.run(Options(repeats=1))
    assert [bar.name.partition(",")[0] for bar in report.bars] == ["%load_ext gpunb", "gpunb ps"]
    assert {bar.unit for bar in report.bars} == {"times"}
    assert all(result.median > 0 for result in report.results)

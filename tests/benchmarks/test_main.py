from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from click.testing import CliRunner

from benchmarks import Bar, Options, Report
from benchmarks.__main__ import main, names, summary

if TYPE_CHECKING:
    import pytest


def test_every_benchmark_is_listed_with_a_summary() -> None:
    listed = CliRunner().invoke(main, ["--list"])
    assert listed.exit_code == 0
    assert "startup" in names()
    for name in names():
        assert summary(name)
        assert name in listed.output


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    answer = CliRunner().invoke(main, ["startpu"])
    assert answer.exit_code == 2
    assert "'startpu'" in answer.output
    assert "did you mean startup?" in answer.output.replace("\n", " ")


def test_repeats_must_be_one_or_more() -> None:
    answer = CliRunner().invoke(main, ["startup", "--repeats", "0"])
    assert answer.exit_code == 2
    assert "--repeats" in answer.output


def test_all_runs_each_and_ends_with_every_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def fake(name: str) -> SimpleNamespace:
        def run(_: Options) -> Report:
            ran.append(name)
            return Report(bars=[Bar(name=f"bar of {name}", value=2.0, limit=1.0, unit="times")])

        return SimpleNamespace(run=run)

    monkeypatch.setattr(
        "benchmarks.__main__.importlib.import_module", lambda path: fake(path.partition(".")[2])
    )
    answer = CliRunner().invoke(main, ["all", "--strict"])
    assert answer.exit_code == 1
    assert ran == names()
    last = answer.output.splitlines()[-len(ran) :]
    assert [line.split()[0] for line in last] == ran
    assert all("FAIL bar of" in line for line in last)

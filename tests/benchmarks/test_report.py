from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from benchmarks import Bar, Options, Report, Result


def test_a_result_keeps_the_median_of_its_samples() -> None:
    found = Result(name="x", samples=[9.0, 1.0, 2.0], unit="ms").data()
    assert (found["median"], found["min"], found["max"], found["n"]) == (2.0, 1.0, 9.0, 3)


@pytest.mark.parametrize("samples", [[], [1.0, float("nan")], [float("inf")]])
def test_a_result_without_real_numbers_is_refused_by_name(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="'start-up'"):
        Result(name="start-up", samples=samples, unit="ms")


@pytest.mark.parametrize(
    ("value", "sense", "ok"),
    [
        (150.0, "at most", True),
        (150.1, "at most", False),
        (150.0, "at least", True),
        (149.9, "at least", False),
        (float("nan"), "at most", False),
        (float("nan"), "at least", False),
    ],
)
def test_a_bar_is_met_up_to_its_limit(value: float, sense: str, ok: bool) -> None:
    bar = Bar(name="b", value=value, limit=150.0, unit="ms", sense=sense)  # type: ignore[arg-type]
    assert bar.ok is ok
    json.dumps(bar.data(), allow_nan=False)


def test_the_last_line_is_json_and_one_failed_bar_fails_the_report() -> None:
    report = Report(
        results=[Result(name="load", samples=[1.23456], unit="ms", note="[bold]not markup[/bold]")],
        bars=[
            Bar(name="load", value=1.0, limit=2.0, unit="ms"),
            Bar(name="rate", value=1.0, limit=2.0, unit="MB/s", sense="at least"),
        ],
    )
    line = report.json("demo")
    assert "\n" not in line
    data = json.loads(line)
    assert data["benchmark"] == "demo"
    assert data["results"][0]["median"] == 1.235
    assert [bar["ok"] for bar in data["bars"]] == [True, False]
    assert not report.ok
    out = io.StringIO()
    report.show(Console(file=out, width=120), "title")
    assert "[bold]not markup[/bold]" in out.getvalue()
    assert "FAIL rate: 1 MB/s, at least 2" in out.getvalue()


def test_repeats_overrides_what_the_benchmark_would_take() -> None:
    assert Options().rounds(7) == 7
    assert Options(repeats=2).rounds(7) == 2

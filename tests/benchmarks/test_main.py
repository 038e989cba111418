from __future__ import annotations

from click.testing import CliRunner

from benchmarks.__main__ import main, names, summary


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

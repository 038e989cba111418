"""``sync`` as typed: several sources, from host to host, its refusals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.terminal import Gpunb


@pytest.mark.slow
def test_several_sources_a_summary_and_the_engine(demo: Gpunb) -> None:
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, "f").write_text(name)
    Path("single").write_text("s")
    shown = demo("sync", "a", "b", "single", ":all", "--dry-run")
    assert shown.code == 0, shown.err
    assert "the agent is there" in shown.out
    sent = demo("sync", "a", "b", "single", ":all")
    assert sent.code == 0, sent.err
    assert "by stream" in sent.out
    assert demo("exec", "--", "ls", "-R", "all").out.split() == [
        "all:", "a", "b", "single", "all/a:", "f", "all/b:", "f",
    ]  # fmt: skip
    back = demo("sync", ":all/a", "demo:all/b", "back", "--limit-rate", "10M")
    assert back.code == 0, back.err
    assert Path("back/a/f").read_text() + Path("back/b/f").read_text() == "ab"
    report = demo("sync", ":all", "whole", "--mirror", "--json").json
    assert (report["engine"], report["sent_files"], report["plan"]["counts"]["items"]) == ("stream", 3, 3)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sync a", ["must have a SRC and a DST"]),
        ("sync a :b c", ["'a' ':b' 'c'", "all are here, or all on a host"]),
        ("sync a :b --limit-rate fast", ["limit-rate 'fast'", "10M"]),
        ("sync one:a two:b --watch", ["--watch", "must be here"]),
        ("sync :a :b", ["only one", "name both sessions"]),
        ("sync one:a two:b c", ["two sessions"]),
        ("sync . / :x", []),
    ],
)
def test_refusals(gpunb: Gpunb, line: str, words: list[str]) -> None:
    answer = gpunb(*line.split())
    assert answer.code in (1, 2)
    for word in words:
        assert word in answer.err.replace("\n", " "), answer.err

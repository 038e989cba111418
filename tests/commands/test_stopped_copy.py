"""``sync`` from a stopped session: Vast copies from host to host, and nothing is started for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.clouds import simulated

from gpunb.commands import vastcopy

if TYPE_CHECKING:
    from pathlib import Path

    from support.terminal import Gpunb

pytestmark = pytest.mark.slow


def test_from_a_stopped_session_to_one_that_runs(
    gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vastcopy, "POLL_S", 0.5)
    with simulated(["vast"], speed=60.0) as simulation:
        for name in ("one", "two"):
            ran = gpunb("rent", "--cloud", "vast", "--name", name, "--for", "3h", "--yes")
            assert ran.code == 0, ran.err
        make = (
            "mkdir -p out/deep && echo best >out/deep/a.txt && echo .log >out/.gitignore && echo x >out/b.log"
        )
        assert gpunb("exec", "one", "--", "sh", "-c", make).code == 0
        assert gpunb("stop", "one", "--yes").code == 0
        away = gpunb("sync", "one:out", "back")
        assert away.code == 1
        assert "one is stopped: its files can't come here" in away.err
        assert "gpunb sync one:PATH OTHER:PATH" in away.err
        shown = gpunb("sync", "one:out", "two:in", "-n")
        assert "would copy one:/root/out/ to two:/root/in/" in shown.out
        assert "knows no --delete" in gpunb("sync", "one:out", "two:in", "--delete").err
        assert "finds nothing at /root/nowhere" in gpunb("sync", "one:nowhere", "two:in").err
        assert "must not be / or /root" in gpunb("sync", "one:out", "two:/root").err
        ran = gpunb("sync", "one:out", "two:in")
        assert ran.code == 0, ran.err
        assert "copied one:/root/out/ to two:/root/in/, by Vast.ai itself" in ran.out
        there = gpunb("exec", "two", "--", "sh", "-c", "cd in && cat deep/a.txt b.log")
        assert there.out.split() == ["best", "x"]
        one_file = gpunb("sync", "one:out/b.log", "two:kept/b.log")
        assert one_file.code == 0, one_file.err
        assert gpunb("exec", "two", "--", "cat", "kept/b.log").out.strip() == "x"
        assert {m.phase.name for m in simulation["vast"].machines.values()} == {"STOPPED", "RUNNING"}
        assert gpunb("down", "--all", "--yes", "--no-save").code == 0

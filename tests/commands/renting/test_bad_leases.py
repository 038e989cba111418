"""Leases that can't be: told by field, value and rule, and nothing is rented or changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.terminal import Gpunb


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--for", "-1h"), ("--for", "-1h")),
        (("--for", "0m"), ("0",)),
        (("--for", "9000h"), ("9000", "366 days")),
        (("--for", "yesterday"), ("--for", "yesterday")),
        (("--idle", "5s"), ("5", "60")),
        (("--budget", "0"), ("budget", "0")),
        (("--budget", "-3"), ("budget", "-3")),
        (("--budget", "0.01"), ("budget", "0.01", "one hour", "7.20")),
    ],
)
def test_a_lease_that_can_not_be_rents_nothing(
    gpunb: Gpunb, home: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("GPUNB_PROVIDERS__LOCAL__USD_H", "7.2")
    said = gpunb("rent", "--yes", *args)
    assert said.code not in {0, 70}, said.err
    for word in words:
        assert word in said.err
    with Ledger.open() as ledger:
        assert ledger.sessions(alive=False) == []


@pytest.mark.slow
def test_extend_on_a_session_that_is_gone(demo: Gpunb) -> None:
    assert demo("down", "demo", "--yes").code == 0
    said = demo("extend", "1h", "-s", "demo")
    assert said.code not in {0, 70}
    assert "session demo has ended already (gone)" in said.err
    assert "gpunb rent" in said.err


@pytest.mark.slow
def test_extend_in_one_word_and_with_odd_ones(demo: Gpunb) -> None:
    assert "demo lives on" in demo("extend").out
    for args in (("-1h",), ("9000h",), ("--budget", "0"), ("--idle", "1s")):
        said = demo("extend", *args)
        assert said.code not in {0, 70}, args

"""``cost`` and ``receipts`` as people type them, on a local machine with a price."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.terminal import Gpunb

pytestmark = pytest.mark.slow


def test_nothing_was_spent(gpunb: Gpunb) -> None:
    assert "nothing was spent" in gpunb("cost").out
    assert "no receipts yet" in gpunb("receipts").out
    assert json.loads(gpunb("cost", "--json").out)["rows"] == []


def test_cost_by_everything_and_the_receipt(
    gpunb: Gpunb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GPUNB_PROVIDERS__LOCAL__USD_H", "36")
    assert gpunb("rent", "--name", "paid", "--for", "1h", "--yes").code == 0
    script = tmp_path / "train.py"
    script.write_text("import time; time.sleep(1)")
    ran = gpunb("run", str(script))
    assert ran.code == 0, ran.err
    live = json.loads(gpunb("cost", "--json").out)
    assert live["rows"][0]["session"] == "paid"
    assert 0.01 <= live["total"]["total"] < 1.0
    asked = json.loads(gpunb("cost", "--ask", "--json").out)["rows"][0]
    assert asked["provider_usd"] > 0
    assert abs(asked["difference_usd"]) < 0.2
    shown = gpunb("receipts", "paid")
    assert shown.code != 0
    assert "has no receipt: it is ready" in shown.err
    assert gpunb("down", "--yes").code == 0

    by_run = json.loads(gpunb("cost", "--by", "run", "-s", "paid", "--json").out)["rows"]
    assert len(by_run) >= 1
    assert by_run[0]["usd"] == pytest.approx(by_run[0]["seconds"] * 36 / 3600, rel=0.05)
    (cloud,) = json.loads(gpunb("cost", "--by", "cloud", "--json").out)["rows"]
    assert cloud["provider"] == "local"
    assert cloud["sessions"] == 1
    assert cloud["provider_usd"] > 0
    (day,) = json.loads(gpunb("cost", "--by", "day", "--json").out)["rows"]
    assert day["cost"]["gpu"] == pytest.approx(cloud["cost"]["gpu"], abs=0.02)
    text = gpunb("cost").out
    for word in ("paid", "local", "billed", "difference", "total"):
        assert word in text

    assert "confirmed" in gpunb("receipts").out
    whole = gpunb("receipts", "paid").out
    assert "receipt: paid" in whole
    assert "counted here" in whole or "(the same)" in whole


def test_words_that_are_none(gpunb: Gpunb) -> None:
    assert "--by" in gpunb("cost", "--by", "week").err
    assert "there is no session 'nobody'" in gpunb("receipts", "nobody").err
    assert "there is no session 'nobody'" in gpunb("cost", "-s", "nobody").err

"""``panel`` in a terminal without a keyboard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gpunb.commands.watching.panel import shown

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb


def test_nothing_to_show(gpunb: Gpunb) -> None:
    ran = gpunb("panel")
    assert ran.code == 0
    assert "no live sessions" in ran.out


@pytest.mark.slow
def test_the_sessions(demo: Gpunb) -> None:
    ran = demo("panel")
    assert "demo" in ran.out
    assert "ready" in ran.out
    (session,) = json.loads(demo("panel", "demo", "--json").out)
    assert session["state"] == "ready"
    refused = demo("panel", "nope")
    assert refused.code != 0
    assert "nope" in refused.err


def test_the_sum_of_several() -> None:
    one = {
        "name": "a",
        "state": "ready",
        "tone": "ok",
        "gpu": "H100",
        "gpus": 2,
        "provider": "vast",
        "runs_active": 1,
        "cost": {"total": 1.5},
        "usd_h": 2.0,
        "lease": {"ends": 1_000.0, "ends_by": "idle", "soon": True},
        "agent": "coder",
    }
    text = shown([one, {**one, "name": "b", "cost": {"total": None}}], now=400.0).text()
    assert "10m (idle)" in text
    assert "$4.00" in text
    assert "?" in text

"""``sync --via vast`` without paths: what is linked to the account, and what Vast copies again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rentals.clouds import simulated

from tests.commands.renting.test_cloud_verbs import pretend_session, rented

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation


@pytest.fixture
def clouds(home: Path) -> Iterator[Simulation]:
    with simulated(["vast"], real=False) as simulation:
        yield simulation


def test_connections_and_scheduled_copies_are_listed(gpunb: Gpunb, clouds: Simulation) -> None:
    cloud, one, _ = rented(clouds, "vast")
    cloud.close()
    cloud, other, _ = rented(clouds, "vast")
    pretend_session("vast", "one", one.id)
    pretend_session("vast", "two", "4711")
    empty = gpunb("sync", "--via", "vast")
    assert empty.code == 0, empty.err
    assert "no storage is linked to the account" in empty.out
    assert "no copy is scheduled" in empty.out
    clouds["vast"].accounts[clouds["vast"].key].data["connections"] = [
        {"id": 7, "cloud_type": "s3", "name": "results"},
        {"id": 9, "cloud_type": "drive", "name": "mine\x1b[31m"},
    ]
    times = {"start": 1.8e9, "end": 1.9e9}
    cloud.schedule_cloud_copy(
        one.id, 7, "/root/out", "/bucket/out", every="weekly", hour=21, weekday=0, **times
    )
    cloud.schedule_cloud_copy(other.id, 9, "/root/x", "/x", every="hourly", **times)
    cloud.close()
    found = gpunb("sync", "--via", "vast", "--json").json
    assert found["connections"] == [
        {"id": 7, "storage": "s3", "name": "results"},
        {"id": 9, "storage": "drive", "name": "mine"},
    ]
    assert [(row["session"], row["every"], row["source"], row["target"]) for row in found["scheduled"]] == [
        ("one", "weekly sun 21", "/root/out", "/bucket/out"),
        (None, "hourly", "/root/x", "/x"),
    ]
    assert found["scheduled"][0]["until"] == 1.9e9
    shown = gpunb("sync", "--via", "vast")
    for word in ("results", "drive", "weekly sun 21", "/bucket/out", f"instance {other.id}", "--every never"):
        assert word in shown.out
    assert "/root/x" not in gpunb("sync", "one", "--via", "vast").out
    assert "no copy of two is scheduled" in gpunb("sync", "-s", "two", "--via", "vast").out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sync", "sync without paths: must have a SRC and a DST"),
        ("sync --via here", "sync without paths: must have a SRC and a DST"),
        ("sync --via vast --delete", "--delete would have no effect"),
        ("sync --via vast --every never", "--every would have no effect"),
        ("sync --via vast --limit-rate 1M", "--limit-rate would have no effect"),
    ],
)
def test_what_moves_needs_paths(gpunb: Gpunb, clouds: Simulation, line: str, said: str) -> None:
    ran = gpunb(*line.split())
    assert ran.code == 2
    assert said in ran.err


def test_a_session_elsewhere_has_none(gpunb: Gpunb, clouds: Simulation) -> None:
    pretend_session("local", "here", "l-1")
    ran = gpunb("sync", "here", "--via", "vast")
    assert ran.code == 2
    assert "session here is on" in ran.err

"""Vast's own cloud copy on the simulated Vast: connections, start, progress, cancel, schedules."""

from __future__ import annotations

import pytest

from gpunb.errors import BadAnswer, BadInput, GpunbError
from gpunb.providers.vast.cloudcopy import copy_state
from tests.support.rentals.vast_cloud import World, world


@pytest.fixture
def linked() -> tuple[World, str]:
    w = world()
    w.cloud.accounts[w.cloud.key].data["connections"] = [
        {"id": 7, "cloud_type": "s3", "name": "bucket of mine"},
        {"id": 9, "cloud_type": "drive", "name": "drive"},
    ]
    return w, w.running(w.rent()).id


def test_a_copy_is_followed_by_the_status_which_is_late(linked: tuple[World, str]) -> None:
    w, ident = linked
    assert [(one.id, one.cloud_type) for one in w.provider.connections()] == [(7, "s3"), (9, "drive")]
    w.provider.start_cloud_copy(ident, 7, "/bucket/set", "/root/data", to_instance=True)
    assert copy_state(w.provider.get(ident).message) is None
    seen = []
    for _ in range(40):
        w.wait(10)
        seen.append(w.provider.get(ident).message)
        if copy_state(seen[-1]):
            break
    assert any("in progress" in text for text in seen)
    assert seen[-1] == "Cloud Copy Operation Finished"
    machine = w.cloud.machines[ident]
    assert machine.data["copy"]["body"] == {
        "src": "/bucket/set",
        "dst": "/root/data",
        "instance_id": int(ident),
        "selected": 7,
        "transfer": "Cloud To Instance",
        "flags": [],
    }


def test_a_stopped_instance_copies_too_and_a_copy_is_cancelled(linked: tuple[World, str]) -> None:
    w, ident = linked
    w.provider.stop(ident)
    w.wait(30)
    w.provider.start_cloud_copy(ident, 7, "/root/out", "/bucket/out", to_instance=False, flags=["--update"])
    w.wait(60)
    w.provider.cancel_cloud_copy(ident)
    w.wait(60)
    assert copy_state(w.provider.get(ident).message) is False


def test_schedules_are_one_an_instance(linked: tuple[World, str]) -> None:
    w, ident = linked
    now = w.cloud.clock.now()
    times = {"start": now, "end": now + 86_400 * 7}
    w.provider.schedule_cloud_copy(ident, 7, "/root/out", "/bucket/out", every="daily", hour=3, **times)
    job = w.cloud.machines[ident].data["job"]
    assert (job["frequency"], job["hour_of_the_day"], job["request_body"]["transfer"]) == (
        "DAILY",
        3,
        "Instance To Cloud",
    )
    with pytest.raises(GpunbError, match="exists"):
        w.provider.schedule_cloud_copy(ident, 7, "/root/out", "/b", every="daily", hour=3, **times)
    with pytest.raises(BadInput, match="every 'yearly'"):
        w.provider.schedule_cloud_copy(ident, 7, "/root/out", "/b", every="yearly", **times)
    with pytest.raises(BadInput, match="weekly an hour and a weekday"):
        w.provider.schedule_cloud_copy(ident, 7, "/root/out", "/b", every="weekly", hour=3, **times)


def test_where_rsync_comes_for_the_files_of_a_stopped_instance(
    linked: tuple[World, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    w, ident = linked
    w.provider.stop(ident)
    w.wait(30)
    host = w.cloud.machines[ident].host
    assert host is not None
    found = w.provider.serve_files(ident, "/root/out")
    assert (found.host, found.port, found.module) == (host.address, host.port, f"C.{ident}")
    monkeypatch.setattr(w.provider, "_call", lambda *_, **__: {"success": True, "src_addr": "203.0.113.9"})
    with pytest.raises(BadAnswer, match="no src_addr and src_port"):
        w.provider.serve_files(ident, "/root/out")


def test_what_vast_would_break_on_is_refused_here(linked: tuple[World, str]) -> None:
    w, ident = linked
    for path in ("/", "/root", "/root/", "data"):
        with pytest.raises(BadInput, match="must be absolute"):
            w.provider.start_cloud_copy(ident, 7, "/bucket", path, to_instance=True)
    with pytest.raises(BadInput, match="flag '--delete'"):
        w.provider.start_cloud_copy(ident, 7, "/bucket", "/data", to_instance=True, flags=["--delete"])
    with pytest.raises(GpunbError, match="no connection 8"):
        w.provider.start_cloud_copy(ident, 8, "/bucket", "/data", to_instance=True)
    assert "copy" not in w.cloud.machines[ident].data

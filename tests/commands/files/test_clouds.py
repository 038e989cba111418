"""``sync`` with a URL, as typed: a web server here, and Vast's own copy on the simulated Vast."""

from __future__ import annotations

import contextlib
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.commands.parts import object_stores
from gpunb.errors import BadInput, Cancelled, SyncError, WrongState
from gpunb.progress import SILENT
from gpunb.services import provider_copies
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Session, SessionState
from tests.support.machines.stores import web
from tests.support.rentals.vast_cloud import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb


@pytest.mark.slow
def test_a_url_as_typed(demo: Gpunb, tmp_path: Path) -> None:
    root = tmp_path / "web"
    root.mkdir()
    (root / "model.bin").write_bytes(b"weights")
    with web(root) as url:
        plan = demo("sync", f"{url}/model.bin", ":models/", "--dry-run")
        assert "1 file, 7 B would go" in plan.out.replace("7 bytes", "7 B"), plan.out
        got = demo("sync", f"{url}/model.bin", "demo:models/", "--via", "host")
        assert got.code == 0, got.err
        assert "by the host itself" in got.out
        assert demo("exec", "cat", "models/model.bin").out.startswith("weights")
        back = demo("sync", ":models/model.bin", f"{url}/up.bin")
        assert back.code == 0, back.err
        assert "through this machine" in back.out
        assert (root / "up.bin").read_bytes() == b"weights"
        assert demo("sync", f"{url}/none", ":x").code == 2
    for words, said in {
        (f"{url}/a", f"{url}/b"): "one of the two must be on the host",
        ("s3://bucket/x", "here"): "one of the two must be on the host",
        ("nosuch://x", ":y"): "no store of that name",
        ("data", ":data", "--via", "host"): "--via: is for a sync with a URL",
        ("s3://b/x", ":y", "--delete"): "nothing is deleted",
        ("s3://b/x", ":y", "--connection", "3"): "is for --via vast",
        ("s3://b/x", ":y", "--via", "vast"): "demo is on",
    }.items():
        wrong = demo("sync", *words)
        assert wrong.code == 2, words
        assert said in wrong.err, words


class Door:
    """What of a verb's context the copy uses: a real ledger, the simulated Vast's provider."""

    def __init__(self, ledger: Ledger, w: World, session: Session) -> None:
        self.ledger, self._world, self._session = ledger, w, session

    def provider(self, _name: str) -> Any:
        return self._world.provider

    def session(self, _name: str | None) -> Session:
        return self.ledger.get(self._session.id)

    def progress(self, _title: str) -> Any:
        return contextlib.nullcontext(SILENT)


@pytest.fixture
def stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Door, World, str]]:
    """A stopped session on the simulated Vast, whose clock the copy waits on."""
    w = world()
    w.cloud.accounts[w.cloud.key].data["connections"] = [{"id": 7, "cloud_type": "s3", "name": "mine"}]
    ident = w.running(w.rent()).id
    w.provider.stop(ident)
    w.wait(30)
    monkeypatch.setattr(provider_copies, "time", SimpleNamespace(sleep=w.wait, monotonic=w.cloud.clock.now))
    with Ledger.open() as ledger:
        session = Session(
            id="abcd1234",
            name="trainer",
            provider="vast",
            label="gpunb-test",
            instance_id=ident,
            state=SessionState.STOPPED,
            created=time.time(),
        )
        session = ledger.add_session(session)
        for state in ("creating", "booting", "reachable", "ready", "stopped"):
            session = ledger.transition(session, SessionState(state))
        session = ledger.update(session.id, instance_id=ident)
        yield Door(ledger, w, session), w, ident


def ask(door: Door, source: str, target: str, **more: Any) -> Any:
    given: dict[str, Any] = {"dry_run": False, "include": (), "exclude": (), "checksum": False}
    given |= {
        "delete": False,
        "via": None,
        "connection": None,
        "allow_credentials": True,
        "every": None,
        **more,
    }
    return object_stores.run(door, source, target, None, **given)  # type: ignore[arg-type]


def test_a_stopped_session_is_copied_by_vast_itself(stopped: tuple[Door, World, str]) -> None:
    door, w, ident = stopped
    result = ask(door, ":out", "s3://bucket/results")
    assert result.data()["way"] == "vast"
    body = w.cloud.machines[ident].data["copy"]["body"]
    assert (body["src"], body["dst"], body["transfer"]) == (
        "/root/out",
        "/bucket/results",
        "Instance To Cloud",
    )
    # a second one, while the status still tells of the first
    again = ask(door, "s3://bucket/set", ":/data", via="vast", connection="mine")
    assert again.data()["state"] == "done"
    assert w.cloud.machines[ident].data["copy"]["body"]["dst"] == "/data"


def test_vast_shows_the_host_credentials_only_if_that_is_allowed(stopped: tuple[Door, World, str]) -> None:
    door, w, ident = stopped
    with pytest.raises(BadInput, match="credentials of connection 7"):
        ask(door, ":out", "s3://bucket/x", via="vast", allow_credentials=False)
    with pytest.raises(WrongState, match="trainer is stopped"):
        ask(door, ":out", "s3://bucket/x", allow_credentials=False)
    with pytest.raises(BadInput, match="no connection of the account is for hf://"):
        ask(door, ":out", "hf://datasets/x", via="vast")
    with pytest.raises(BadInput, match="--connection '99'"):
        ask(door, ":out", "s3://x/y", via="vast", connection="99")
    with pytest.raises(BadInput, match="knows no --include"):
        ask(door, ":out", "s3://x/y", via="vast", include=("*.pt",))
    shown = ask(door, ":out", "s3://bucket/x", via="vast", allow_credentials=False, dry_run=True)
    assert shown.data()["dry_run"] is True
    assert "copy" not in w.cloud.machines[ident].data


def test_ctrl_c_ends_the_copy_and_a_failure_is_told(
    stopped: tuple[Door, World, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    door, w, ident = stopped

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(provider_copies, "time", SimpleNamespace(sleep=interrupt, monotonic=time.monotonic))
    with pytest.raises(Cancelled, match="accepted the call"):
        ask(door, ":out", "s3://bucket/x")
    assert w.cloud.machines[ident].data["copy"]["over"] is not None
    w.wait(600)
    w.cloud.machines[ident].data.pop("copy")

    def cancel_behind(seconds: float) -> None:
        w.wait(seconds)
        if w.provider.get(ident).message.startswith("Cloud Copy in progress"):
            w.provider.cancel_cloud_copy(ident)

    monkeypatch.setattr(
        provider_copies, "time", SimpleNamespace(sleep=cancel_behind, monotonic=w.cloud.clock.now)
    )
    with pytest.raises(SyncError, match="Cancelled"):
        ask(door, ":out", "s3://bucket/x")


def test_a_backup_is_scheduled_seen_and_ended(
    stopped: tuple[Door, World, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    door, w, ident = stopped
    monkeypatch.setattr(provider_copies, "time", time)
    for every, words in {
        "daily": "daily HOUR", "daily 24": "daily HOUR", "weekly 3": "daily HOUR", "yearly 1": "daily HOUR"
    }.items():  # fmt: skip
        with pytest.raises(BadInput, match=words):
            ask(door, ":out", "s3://bucket/x", via="vast", every=every)
    with pytest.raises(BadInput, match="from the host only"):
        ask(door, "s3://bucket/x", ":in", via="vast", every="hourly")
    with pytest.raises(BadInput, match="is for --via vast"):
        ask(door, ":out", "s3://bucket/x", every="hourly")
    with pytest.raises(BadInput, match="credentials of connection 7"):
        ask(door, ":out", "s3://bucket/x", via="vast", every="hourly", allow_credentials=False)
    assert w.provider.scheduled_copies(ident) == []
    done = ask(door, ":out", "s3://bucket/x", via="vast", every="weekly sunday 21").data()
    assert done["state"] == "scheduled"
    job = w.cloud.machines[ident].data["job"]
    assert (job["frequency"], job["hour_of_the_day"], job["day_of_the_week"]) == ("WEEKLY", 21, 0)
    assert job["request_body"]["src"] == "/root/out"
    assert job["end_time"] == pytest.approx(time.time() + 30 * 86400, abs=600)
    w.wait(30)
    with pytest.raises(BadInput, match="has a scheduled copy already"):
        ask(door, ":out", "s3://bucket/x", via="vast", every="hourly")
    assert ask(door, ":out", "s3://bucket/x", via="vast", every="never", dry_run=True).data()["ended"]
    w.wait(30)
    assert ask(door, ":out", "s3://bucket/x", via="vast", every="never").data()["ended"] == [job["id"]]
    w.wait(30)
    assert ask(door, ":out", "s3://bucket/x", via="vast", every="never").data()["ended"] == []


def test_a_dry_run_tells_time_cost_and_the_largest_files() -> None:
    from gpunb.sync.object_store.stores import Stored
    from gpunb.sync.report import CloudReport

    offer = {"inet_down_mbps": 80.0, "down_usd_gb": 0.02}
    session = Session(id="a", name="a", provider="vast", label="gpunb-a", offer=offer)
    report = CloudReport("s3://bucket")
    report.items = [Stored(f"f{n}", 10**6 * n) for n in range(60)]
    report.total_bytes = sum(item.size for item in report.items)
    shown = " ".join(note.text for note in object_stores._outlook(report, session, up=True))
    assert "f59 (59" in shown
    assert "about 2m 57s" in shown  # 1.77 GB at 10 MB/s
    assert "$0.04 of traffic" in shown
    assert object_stores._outlook(CloudReport("s3://bucket"), session, up=False) == []


def test_over_two_hosts_the_slower_line_and_both_prices_count() -> None:
    from gpunb.services.transfers import _both
    from gpunb.sync.planning.estimate import Rates

    assert _both(Rates(10.0, 0.01), Rates(40.0, 0.02)) == Rates(10.0, pytest.approx(0.03))
    assert _both(None, Rates(None, 0.02)) == Rates(None, 0.02)
    assert _both(None, None) is None

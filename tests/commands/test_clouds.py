"""``sync`` with a URL, as typed: a web server here, and Vast's own copy on the simulated Vast."""

from __future__ import annotations

import contextlib
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.commands import clouds, vastcopy
from gpunb.errors import BadInput, Cancelled, SyncError, WrongState
from gpunb.progress import SILENT
from gpunb.sessions.ledger import Ledger
from gpunb.sessions.model import Session, SessionState
from tests.support.stores import web
from tests.support.vast_cloud import World, world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.terminal import Gpunb


@pytest.mark.slow
def test_a_url_as_typed(demo: Gpunb, tmp_path: Path) -> None:
    root = tmp_path / "web"
    root.mkdir()
    (root / "model.bin").write_bytes(b"weights")
    with web(root) as url:
        plan = demo("sync", f"{url}/model.bin", ":models/", "--dry-run")
        assert "1 files, 7 B would go" in plan.out.replace("7 bytes", "7 B"), plan.out
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
    monkeypatch.setattr(vastcopy, "time", SimpleNamespace(sleep=w.wait, monotonic=w.cloud.clock.now))
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
    given |= {"delete": False, "via": None, "connection": None, "allow_credentials": True, **more}
    return clouds.run(door, source, target, None, **given)  # type: ignore[arg-type]


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

    monkeypatch.setattr(vastcopy, "time", SimpleNamespace(sleep=interrupt, monotonic=time.monotonic))
    with pytest.raises(Cancelled, match="took the call"):
        ask(door, ":out", "s3://bucket/x")
    assert w.cloud.machines[ident].data["copy"]["over"] is not None
    w.wait(600)
    w.cloud.machines[ident].data.pop("copy")

    def cancel_behind(seconds: float) -> None:
        w.wait(seconds)
        if w.provider.get(ident).message.startswith("Cloud Copy in progress"):
            w.provider.cancel_cloud_copy(ident)

    monkeypatch.setattr(vastcopy, "time", SimpleNamespace(sleep=cancel_behind, monotonic=w.cloud.clock.now))
    with pytest.raises(SyncError, match="Cancelled"):
        ask(door, ":out", "s3://bucket/x")

"""The look at the ledger: what changed is told once, and without clients nothing is read."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.server.ledger_watcher import Watcher
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Lease, RunNote, Session, SessionState, Transfer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Seen:
    """A watcher in a thread of its own, as in the server: a connection does not see its own writes."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.watched = True
        self.looks = 0
        self.ledger = Ledger.open()
        self.thread = ThreadPoolExecutor(1)
        self.watcher = Watcher(
            lambda: self.ledger,
            lambda kind, data: self.told.append((kind, data)),
            watched=lambda: self.watched,
            loads=dict,
            each=lambda live: None,
            always=self._look,
            error=lambda: None,
        )

    def _look(self) -> None:
        self.looks += 1

    def look(self) -> list[tuple[str, dict[str, Any]]]:
        """What one look tells."""
        self.told.clear()
        self.thread.submit(self.watcher.look).result()
        return list(self.told)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.look()]


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))
    found = Seen()
    yield found
    found.thread.shutdown()
    found.ledger.close()


def add(seen: Seen, name: str = "one", **lease: Any) -> Session:
    session = Session(id=f"s-{name}", name=name, provider="vast", label=name, usd_h=3.0, lease=Lease(**lease))
    session = seen.ledger.add_session(session)
    for state in ("creating", "booting", "reachable", "ready"):
        session = seen.ledger.transition(session, SessionState(state))
    return session


def test_a_session_comes_changes_and_goes(seen: Seen) -> None:
    seen.look()
    assert seen.look() == []
    session = add(seen)
    told = dict(seen.look())
    assert told["session"]["state"] == "ready"
    assert told["cost"]["usd_h"] == 3.0
    assert "session" not in seen.kinds()
    seen.ledger.update(session.id, detail="new")
    assert "session" in seen.kinds()
    session = seen.ledger.transition(seen.ledger.get(session.id), SessionState.ENDING)
    assert "session" in seen.kinds()
    seen.ledger.transition(session, SessionState.GONE)
    told = dict(seen.look())
    assert told["removed"] == {"id": session.id, "name": "one", "state": "gone"}
    assert told["cost"] == {"usd_h": 0, "total": 0, "sessions": {}}


def test_runs_and_transfers(seen: Seen) -> None:
    session = add(seen)
    seen.look()
    seen.ledger.add_run(RunNote(id="r1", session_id=session.id, name="train"))
    told = dict(seen.look())
    assert (told["run"]["id"], told["run"]["session_name"], told["session"]["runs_active"]) == (
        "r1",
        "one",
        1,
    )
    seen.ledger.finish_run("r1", "ok")
    assert dict(seen.look())["run"]["state"] == "ok"
    assert "run" not in seen.kinds()
    now = time.time()
    seen.ledger.add_transfer(
        Transfer(session_id=session.id, direction="up", bytes=7, started=now, ended=now + 1)
    )
    (moved,) = [data for kind, data in seen.look() if kind == "transfer"]
    assert (moved["bytes"], moved["session_name"]) == (7, "one")
    assert "transfer" not in seen.kinds()


def test_a_near_end_is_told_once_and_again_after_an_extension(seen: Seen) -> None:
    session = add(seen, deadline=time.time() + 200)
    (notice,) = [data for kind, data in seen.look() if kind == "notice"]
    assert (notice["actions"], notice["session"], notice["tone"]) == (["extend"], session.id, "warn")
    seen.ledger.touch(session.id)
    assert "notice" not in seen.kinds()
    seen.ledger.update(session.id, lease=Lease(deadline=time.time() + 9000))
    assert "notice" not in seen.kinds()
    seen.ledger.update(session.id, lease=Lease(deadline=time.time() + 100))
    assert "notice" in seen.kinds()


def test_a_bill_in_doubt_is_told(seen: Seen) -> None:
    seen.look()
    session = seen.ledger.add_session(Session(id="s1", name="lost", provider="vast", label="l", usd_h=2.0))
    session = seen.ledger.transition(session, SessionState.CREATING)
    seen.ledger.transition(session, SessionState.UNKNOWN, "the answer was lost")
    (notice,) = [data for kind, data in seen.look() if kind == "notice"]
    assert notice["tone"] == "bad"
    assert "$2.00/h" in notice["text"]
    assert notice["actions"] == ["down"]


def test_nobody_looks_nothing_is_read(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    seen.watched = False
    add(seen)
    monkeypatch.setattr(Ledger, "sessions", lambda *_, **__: pytest.fail("read for nobody"))
    assert seen.look() == []
    monkeypatch.undo()
    seen.watched = True
    # who comes later begins with a snapshot; what there was before is no news for runs and transfers
    assert "session" in seen.kinds()


def test_its_thread_looks_and_ends(seen: Seen) -> None:
    seen.watcher.start()
    seen.watcher.hurry()
    end = time.monotonic() + 60
    while not seen.looks and time.monotonic() < end:
        time.sleep(0.01)
    assert seen.looks
    seen.watcher.stop()
    assert seen.watcher._thread is not None
    assert not seen.watcher._thread.is_alive()

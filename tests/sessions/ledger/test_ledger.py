"""The ledger file: private, durable, and what it holds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BadInput, RunNotFound, SessionAmbiguous, SessionNotFound, WrongState
from gpunb.sessions.ledger import process_id
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Intent, IntentState, Lease, Receipt, RunNote, Segment, SessionState, Transfer
from tests.support.rentals.ledgers import add, ready

if TYPE_CHECKING:
    from pathlib import Path


def test_private_and_durable(ledger: Ledger, file: Path) -> None:
    add(ledger)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    for beside in file.parent.glob("ledger.sqlite-*"):
        assert beside.stat().st_mode & 0o777 == 0o600
    db = ledger._db()
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert ledger.check() == []


def test_a_session_comes_back_as_it_was(ledger: Ledger, file: Path) -> None:
    lease = Lease(deadline=5.0, idle_s=6.0, budget_usd=7.0, budget_set=True, count_ssh=True)
    made = add(ledger, "a", lease=lease, offer={"id": "o", "gpu": "H100"}, save=["out", "ä b"], usd_h=1.5)
    with Ledger.open(file) as again:
        assert again.get(made.id) == made
        assert again.installation == ledger.installation
    assert made.lease == lease
    assert made.save == ["out", "ä b"]
    changed = ledger.update(made.id, host="h", port=22, lease=Lease(deadline=9.0))
    assert (changed.host, changed.lease) == ("h", Lease(deadline=9.0))
    with pytest.raises(TypeError, match="no field state"):
        ledger.update(made.id, state="gone")


def test_find_by_name_id_and_beginning(ledger: Ledger) -> None:
    first, second = add(ledger, "train"), add(ledger, "trial")
    assert ledger.find("train").id == first.id
    assert ledger.find(second.id).id == second.id
    assert ledger.look_up("tri").id == second.id
    with pytest.raises(SessionAmbiguous, match=r"train \(requested\), trial \(requested\)"):
        ledger.look_up("tr")
    with pytest.raises(SessionNotFound, match="no session 'nope'; there is train"):
        ledger.find("nope")
    with pytest.raises(BadInput):
        ledger.find("")
    with pytest.raises(SessionAmbiguous, match="which one"):
        ledger.one()
    ledger.transition(second, SessionState.FAILED)
    assert ledger.one().id == first.id
    assert ledger.find("trial").state is SessionState.FAILED


def test_one_prefers_what_can_be_used(ledger: Ledger) -> None:
    with pytest.raises(SessionNotFound, match="no live session"):
        ledger.one()
    ending = ledger.transition(ready(ledger), SessionState.ENDING, "down")
    assert ledger.one().id == ending.id
    usable = ready(ledger)
    assert ledger.one().id == usable.id


def test_transition_is_compare_and_set(ledger: Ledger) -> None:
    session = add(ledger)
    ledger.transition(session, SessionState.ENDING)
    with pytest.raises(WrongState, match="is ending by now; it was requested"):
        ledger.transition(session, SessionState.CREATING)
    with pytest.raises(WrongState, match="can't go from requested to ready"):
        ledger.transition(session, SessionState.READY)
    events = ledger.events(session.id)
    assert [(one.old, one.new) for one in events] == [("", "requested"), ("requested", "ending")]
    assert {one.pid for one in events} == {os.getpid()}


def test_one_create_call_at_a_time(ledger: Ledger) -> None:
    session = add(ledger)
    other = ledger.get(session.id)
    ledger.begin_create(session, Intent(label="l1", session_id=session.id, provider="local"))
    with pytest.raises(WrongState, match="already has a create call under way"):
        ledger.begin_create(other, Intent(label="l2", session_id=session.id, provider="local"))
    assert [one.label for one in ledger.intents()] == ["l1"]
    assert ledger.intents(unresolved=True)[0].state is IntentState.SENT


def test_segments_follow_the_state(ledger: Ledger) -> None:
    session = ready(ledger)
    ledger.open_segments(
        [
            Segment(session_id=session.id, kind="gpu", rate=2.0, start=0.0),
            Segment(session_id=session.id, kind="disk", rate=0.1, start=0.0),
        ]
    )
    ledger.open_segments([Segment(session_id=session.id, kind="gpu", rate=3.0, start=3600.0)])
    assert ledger.cost(session.id, 7200.0).gpu == pytest.approx(5.0)
    stopped = ledger.transition(session, SessionState.STOPPED)
    assert {(one.kind, one.end is None) for one in ledger.segments(session.id)} == {
        ("gpu", False),
        ("disk", True),
    }
    ended = ledger.transition(ledger.transition(stopped, SessionState.ENDING), SessionState.GONE)
    assert all(one.end is not None for one in ledger.segments(session.id))
    assert ended.ended is not None


def test_traffic_is_billed_by_the_hosts_side(ledger: Ledger) -> None:
    offer = {"provider": "local", "id": "o", "up_usd_gb": 0.02, "down_usd_gb": 0.01}
    session = ready(ledger, offer=offer)
    ledger.add_transfer(
        Transfer(session_id=session.id, direction="up", bytes=10**10, started=1.0, ended=time.time() + 50)
    )
    assert ledger.cost(session.id).bandwidth == pytest.approx(0.1)
    ledger.add_transfer(
        Transfer(session_id=session.id, direction="down", bytes=10**10, started=1.0, ended=2.0)
    )
    assert ledger.cost(session.id).bandwidth == pytest.approx(0.3)
    assert [one.direction for one in ledger.transfers(session.id)] == ["up", "down"]
    active = ledger.get(session.id).last_activity
    assert active is not None
    assert active > time.time() + 40


def test_runs_and_activity(ledger: Ledger) -> None:
    session = ready(ledger)
    ledger.add_run(RunNote(id="abcdefgh", session_id=session.id, started=100.0, name="cell"))
    ledger.add_run(RunNote(id="abzzzzzz", session_id=session.id, started=200.0, kind="job"))
    assert ledger.get(session.id).last_activity == 200.0
    ledger.finish_run("abcdefgh", "ok", 300.0)
    assert ledger.get(session.id).last_activity == 300.0  # the idle time starts anew at the end
    ledger.touch(session.id, 250.0)
    assert ledger.get(session.id).last_activity == 300.0
    assert [one.id for one in ledger.runs(session.id)] == ["abzzzzzz", "abcdefgh"]
    assert ledger.find_run("abc").state == "ok"
    with pytest.raises(RunNotFound, match="could mean"):
        ledger.find_run("ab")
    with pytest.raises(RunNotFound, match="no run 'x'"):
        ledger.find_run("x")


def test_receipts_come_back(ledger: Ledger) -> None:
    receipt = Receipt(
        session_id="s", name="n", provider="local", ended=5.0, unsaved=[("a", "b")], saved=["c"]
    )
    ledger.save_receipt(receipt)
    assert ledger.receipts() == [receipt]
    assert ledger.receipt("nope") is None


def test_claims_and_leadership(file: Path) -> None:
    alive = {"a", "b"}
    with (
        Ledger.open(file, owner="a", owner_lives=alive.__contains__) as first,
        Ledger.open(file, owner="b", owner_lives=alive.__contains__) as second,
    ):
        assert first.claim("s", 60)
        assert first.claim("s", 60)
        assert not second.claim("s", 60)
        assert second.claimed("s")
        assert not first.claimed("s")
        assert first.lead("detached", 60)
        assert not second.lead("server", 60)
        alive.discard("a")  # killed: its claim and its leadership are free at once
        assert second.claim("s", 60)
        assert second.leader() is None
        assert second.lead("server", 60)
        found = second.leader()
        assert found is not None
        assert (found.owner, found.kind) == ("b", "server")
        second.resign()
        assert second.leader() is None


def test_a_process_knows_another_by_its_number_and_start() -> None:
    mine = process_id.mark()
    assert process_id.lives(mine) is True
    host, pid, start, word = mine.rsplit("/", 3)
    assert process_id.lives(f"{host}/{pid}/{int(start) + 1}/{word}") is False
    assert process_id.lives(f"elsewhere/{pid}/{start}/{word}") is None
    assert process_id.lives("nonsense") is None
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert process_id.lives(f"{host}/{child.pid}/{start}/x") is False

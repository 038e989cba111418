"""What is said unasked: leases that end soon, bills in doubt, and that nobody watches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gpunb.services import lease_warnings
from gpunb.sessions.ledger.peek import nothing_to_say
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Intent, Lease, Orphan, RunNote, Session, SessionState
from gpunb.sessions.supervisor import process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

S = SessionState


@pytest.fixture
def ledger(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(process, "COMMAND", ("true",))
    monkeypatch.setattr(process, "ensure", lambda ledger: True)
    lease_warnings._said.clear()
    with Ledger.open() as opened:
        yield opened


def ready(ledger: Ledger, name: str, **lease: float) -> Session:
    now = time.time()
    session = ledger.add_session(
        Session(id=f"{name:a<8}", name=name, provider="local", label=f"gpunb-x-{name}", lease=Lease(**lease))
    )
    session = ledger.begin_create(
        session, Intent(label=session.label, session_id=session.id, provider="local")
    )
    session = ledger.answer_create(session, f"i-{name}", [])
    session = ledger.transition(session, S.REACHABLE)
    return ledger.transition(session, S.READY, ready=now, last_activity=now)


def test_a_deadline_is_said_at_ten_and_at_two_minutes_once_each(ledger: Ledger) -> None:
    now = time.time()
    ready(ledger, "near", deadline=now + 1000)
    assert lease_warnings.lines(ledger, now=now) == []
    (line,) = lease_warnings.lines(ledger, now=now + 450)
    assert line == "near ends in 9 min: its time is nearly over; gpunb extend keeps it"
    assert lease_warnings.lines(ledger, now=now + 500) == []
    (line,) = lease_warnings.lines(ledger, now=now + 900)
    assert "ends in 2 min" in line
    assert lease_warnings.lines(ledger, now=now + 990) == []


def test_extended_and_near_again_it_is_said_again(ledger: Ledger) -> None:
    now = time.time()
    session = ready(ledger, "near", deadline=now + 500)
    assert lease_warnings.lines(ledger, now=now)
    ledger.update(session.id, lease=Lease(deadline=now + 5000))
    assert lease_warnings.lines(ledger, now=now) == []
    assert lease_warnings.lines(ledger, now=now + 4500)


def test_a_session_at_work_is_not_said_to_be_idle(ledger: Ledger) -> None:
    now = time.time()
    session = ready(ledger, "idle", deadline=now + 9000, idle_s=900.0)
    assert "idle" in lease_warnings.lines(ledger, now=now + 700)[0]
    lease_warnings._said.clear()
    ledger.add_run(RunNote(id="aaaaaaaa", session_id=session.id, started=now))
    assert lease_warnings.lines(ledger, now=now + 700) == []


def test_every_verb_says_it_but_not_in_json(ledger: Ledger, gpunb: Gpunb) -> None:
    ready(ledger, "near", deadline=time.time() + 300)
    assert "near ends in 5 min" in gpunb("runs").err
    lease_warnings._said.clear()
    shown = gpunb("runs", "--json")
    assert "ends in" not in shown.err + shown.out


def test_the_extension_shouts_what_is_unknown_and_starts_a_supervisor(ledger: Ledger) -> None:
    session = ledger.add_session(
        Session(id="aaaaaaaa", name="lost", provider="vast", label="gpunb-x-lost", usd_h=2.5)
    )
    session = ledger.begin_create(
        session, Intent(label=session.label, session_id=session.id, provider="vast")
    )
    ledger.transition(session, S.UNKNOWN, "timeout")
    lines = lease_warnings.at_start()
    assert lines[0].startswith(
        "WARNING: it is not known whether vast rented lost under the label gpunb-x-lost"
    )
    assert "$2.50/h" in lines[0]
    assert "no supervisor was alive" in lines[1]
    assert ledger.lead("server", 60)
    assert len(lease_warnings.at_start()) == 1


def test_a_damaged_ledger_is_a_line_and_no_failure(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "ledger.sqlite").write_bytes(b"nothing of the kind" * 100)
    (line,) = lease_warnings.at_start()
    assert "is damaged" in line


def test_a_glance_at_the_file_says_whether_the_ledger_is_worth_opening(ledger: Ledger, home: Path) -> None:
    file = home / "ledger.sqlite"
    assert nothing_to_say(file)
    session = ready(ledger, "well", deadline=time.time() + 5000)
    assert not nothing_to_say(file)  # nobody watches it
    assert ledger.lead("server", 60)
    assert nothing_to_say(file)
    ledger.update(session.id, lease=Lease(deadline=time.time() + 300))
    assert not nothing_to_say(file)
    ledger.update(session.id, lease=Lease(deadline=time.time() + 5000))
    ledger.transition(ledger.get(session.id), S.ENDING, "down")
    assert not nothing_to_say(file)
    file.write_bytes(b"nothing of the kind" * 100)
    assert not nothing_to_say(file)


def test_ps_shows_machines_that_no_session_has(ledger: Ledger, gpunb: Gpunb) -> None:
    for ident, ours in (("i1", True), ("i2", False)):
        label = f"gpunb-{ledger.installation[:8] if ours else '0ther000'}-x"
        ledger.save_orphan(
            Orphan(provider="vast", instance_id=ident, label=label, ours=ours, first_seen=1.0, usd_h=2.0)
        )
    shown = gpunb("ps").out
    assert "instance i1" in shown
    assert "belongs to no session; the supervisor ends it" in shown
    assert "another gpunb installation rented it" in shown


def test_ps_says_what_a_machine_that_was_outbid_costs_and_what_next(ledger: Ledger, gpunb: Gpunb) -> None:
    session = ready(ledger, "spot", deadline=time.time() + 9000)
    ledger.update(session.id, cloud_state="interrupted", stopped_usd_h=0.05)
    ledger.transition(ledger.get(session.id), S.STOPPED, "outbid")
    shown = gpunb("ps").out
    for word in ("taken back by the cloud", "$0.050 an hour", "vast bid win -s spot", "down spot ends it"):
        assert word in shown

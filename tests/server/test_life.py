"""Servers that die, end, begin, and live beside each other."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Orphan
from tests.support.machines.jupyter import Jupyter, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_after_a_crash_everything_is_found_again(jupyter: Jupyter) -> None:
    client = jupyter.client()
    session = client.wait(client.rent("survivor"))["session"]
    before = client.get(f"/sessions/{session}")
    jupyter.end(signal.SIGKILL)
    jupyter.start()
    client = jupyter.client()
    after = client.get(f"/sessions/{session}")
    assert (after["state"], after["host"], after["port"]) == ("ready", before["host"], before["port"])
    assert after["lease"]["deadline"] == before["lease"]["deadline"]
    found = until(lambda: _led(client.get("/status")["supervisor"]))
    assert found["here"]
    assert client.get("/sessions/survivor/files")["entries"] is not None
    snapshot = jupyter.events()
    assert snapshot.next()["type"] == "hello"
    assert [one["name"] for one in snapshot.next()["data"]["sessions"]] == ["survivor"]
    client.wait(client.act("down", session))


def _led(found: dict[str, object]) -> dict[str, object] | None:
    return found if found["here"] else None


def test_leadership_is_handed_over_at_the_end_and_taken_at_the_next_begin(
    jupyter: Jupyter, home: Path
) -> None:
    client = jupyter.client()
    until(lambda: _led(client.get("/status")["supervisor"]))
    session = client.wait(client.rent("kept"))["session"]
    assert jupyter.end() == 0
    with Ledger.open() as ledger:
        leader = until(ledger.leader)
    assert leader.kind == "detached"
    pid = int(leader.owner.rsplit("/", 3)[1])
    assert "supervise" in psutil.Process(pid).cmdline()
    jupyter.start()
    client = jupyter.client()
    standing = client.get("/status")["supervisor"]
    assert (standing["alive"], standing["here"], standing["pid"]) == (True, False, pid)
    # the detached one ends after the last session, and the server takes over
    client.wait(client.act("down", session))
    until(lambda: _led(client.get("/status")["supervisor"]))


def test_a_server_without_sessions_leaves_nothing_behind(jupyter: Jupyter, home: Path) -> None:
    until(lambda: _led(jupyter.client().get("/status")["supervisor"]))
    assert jupyter.end() == 0
    with Ledger.open() as ledger:
        assert ledger.leader() is None
    for process in psutil.process_iter():
        try:
            cmdline, environ = process.cmdline(), process.environ()
        except (psutil.Error, OSError):
            continue
        assert not ("supervise" in cmdline and environ.get("GPUNB_HOME") == str(home))


def test_the_supervisor_in_the_server_ends_what_is_over_and_says_so(jupyter: Jupyter) -> None:
    client = jupyter.client()
    events = jupyter.events()
    session = client.wait(client.rent("short"))["session"]
    with Ledger.open() as ledger:
        lease = ledger.get(session).lease
        lease.deadline = ledger.clock.time() - 1.0
        ledger.update(session, lease=lease)
    notice = events.until("notice", lambda data: "ending short" in data["text"])
    assert "its time is over" in notice["text"]
    events.until("removed", lambda data: data["id"] == session)
    (receipt,) = client.get("/receipts")["receipts"]
    assert (receipt["why"], receipt["confirmed"] is not None) == ("deadline", True)


def test_an_end_that_is_near_is_told_with_a_way_to_extend(jupyter: Jupyter) -> None:
    client = jupyter.client()
    session = client.wait(client.rent("near"))["session"]
    events = jupyter.events()
    with Ledger.open() as ledger:
        lease = ledger.get(session).lease
        lease.deadline = ledger.clock.time() + 300.0
        ledger.update(session, lease=lease)
    notice = events.until("notice", lambda data: data["session"] == session)
    assert (notice["tone"], notice["actions"]) == ("warn", ["extend"])
    assert "near ends in" in notice["text"]
    assert events.until("session", lambda data: data["lease"]["soon"])["id"] == session
    client.wait(client.act("down", session))


def test_what_was_found_at_the_start_is_shown(home: Path) -> None:
    with Ledger.open() as ledger:
        ledger.save_orphan(
            Orphan(
                provider="vast",
                instance_id="i-1",
                label="gpunb-00000000-abc\x1b[31m",
                ours=False,
                first_seen=ledger.clock.time(),
                usd_h=2.5,
                detail="<b>of somebody</b>",
            )
        )
    server = Jupyter(home).start()
    try:
        found = server.client().get("/status")["found"]
        (orphan,) = found["orphans"]
        assert (orphan["instance_id"], orphan["label"], orphan["ours"]) == (
            "i-1",
            "gpunb-00000000-abc",
            False,
        )
        assert "$2.50" in orphan["says"]
        events = server.events()
        events.next()
        assert events.next()["data"]["found"] == found
    finally:
        server.end()


def test_two_servers_with_two_homes_do_not_see_each_other(jupyter: Jupyter, another: Jupyter) -> None:
    mine, theirs = jupyter.client(), another.client()
    one = mine.wait(mine.rent("same-name"))["session"]
    two = theirs.wait(theirs.rent("same-name"))["session"]
    assert one != two
    assert [found["id"] for found in mine.get("/sessions")["sessions"]] == [one]
    assert [found["id"] for found in theirs.get("/sessions")["sessions"]] == [two]
    assert mine.ask("GET", f"/sessions/{two}").status_code == 404
    assert mine.post("/confirm", {"action": "down", "session": two}, 404)["reason"] == "SessionNotFound"
    mine.wait(mine.act("down", one))
    assert theirs.get(f"/sessions/{two}")["state"] == "ready"
    theirs.wait(theirs.act("down", two))


def test_a_broken_ledger_is_told_and_breaks_no_server(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "ledger.sqlite").write_bytes(b"not a database, but longer than a header of SQLite is: " * 4)
    server = Jupyter(home).start()
    try:
        client = server.client()
        assert client.ask("GET", "/sessions").status_code == 503
        error = until(lambda: client.get("/status")["supervisor"]["error"])
        assert "damaged" in error
        events = server.events()
        assert events.next()["type"] == "hello"
        assert any("damaged" in one["text"] for one in events.next()["data"]["notices"])
    finally:
        server.end()

"""The ledger file: shared, durable, never overwritten when it is broken."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from gpunb import paths
from gpunb.errors import (
    BadInput,
    LedgerDamaged,
    LedgerError,
    LedgerTooNew,
    LedgerUnwritable,
    RunNotFound,
    SessionAmbiguous,
    SessionNotFound,
    WrongState,
)
from gpunb.sessions import owner, schema
from gpunb.sessions.ledger import Ledger, new_id
from gpunb.sessions.model import (
    Intent,
    IntentState,
    Lease,
    Receipt,
    RunNote,
    Segment,
    Session,
    SessionState,
    Transfer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))
    return paths.ledger_file()


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    with Ledger.open() as opened:
        yield opened


def add(ledger: Ledger, name: str = "", **more: Any) -> Session:
    return ledger.add_session(
        Session(id=new_id(), name=name, provider="local", label=f"l-{new_id()}", **more), slug="h100"
    )


def ready(ledger: Ledger, **more: Any) -> Session:
    session = add(ledger, **more)
    session = ledger.begin_create(
        session, Intent(label=session.label, session_id=session.id, provider="local")
    )
    session = ledger.answer_create(session, f"i-{session.id}", [])
    session = ledger.transition(session, SessionState.REACHABLE)
    return ledger.transition(session, SessionState.READY, ready=time.time())


# -- what it holds -----------------------------------------------------------


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
    assert ledger.find("tri").id == second.id
    with pytest.raises(SessionAmbiguous, match=r"train \(requested\), trial \(requested\)"):
        ledger.find("tr")
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
    with pytest.raises(WrongState, match="already has a create call out"):
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
    mine = owner.mark()
    assert owner.lives(mine) is True
    host, pid, start, word = mine.rsplit("/", 3)
    assert owner.lives(f"{host}/{pid}/{int(start) + 1}/{word}") is False
    assert owner.lives(f"elsewhere/{pid}/{start}/{word}") is None
    assert owner.lives("nonsense") is None
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert owner.lives(f"{host}/{child.pid}/{start}/x") is False


# -- many at once ------------------------------------------------------------


def test_two_threads_share_one_object(ledger: Ledger) -> None:
    session = ready(ledger)
    errors: list[BaseException] = []

    def work(word: str) -> None:
        try:
            for number in range(50):
                ledger.note(session.id, word, str(number))
        except BaseException as err:  # noqa: BLE001 - the main thread asserts that there was none
            errors.append(err)

    threads = [threading.Thread(target=work, args=(word,)) for word in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    kinds = [one.kind for one in ledger.events(session.id)]
    assert (kinds.count("a"), kinds.count("b")) == (50, 50)


WRITER = """
import sys
from gpunb.sessions.ledger import Ledger, new_id
from gpunb.sessions.model import RunNote, Session, SessionState
word = sys.argv[1]
with Ledger.open() as ledger:
    for number in range(20):
        session = ledger.add_session(Session(id=new_id(), name="", provider=word, label=word), slug="gpu")
        ledger.note(session.id, word, str(number))
        ledger.add_run(RunNote(id=f"{word}{number:07d}", session_id=session.id))
        session = ledger.transition(ledger.get(session.id), SessionState.ENDING)
        if number % 2:
            ledger.transition(session, SessionState.FAILED)
"""


@pytest.mark.slow
def test_ten_processes_that_begin_at_once_lose_nothing(file: Path) -> None:
    """They also create the file together."""
    letters = "abcdefghij"
    children = [subprocess.Popen([sys.executable, "-c", WRITER, word]) for word in letters]
    assert [child.wait(100) for child in children] == [0] * 10
    with Ledger.open() as ledger:
        sessions = ledger.sessions(alive=False)
        assert {word: sum(one.provider == word for one in sessions) for word in letters} == dict.fromkeys(
            letters, 20
        )
        live = ledger.sessions()
        assert len(live) == 100
        assert len({one.name for one in live}) == 100
        assert len(ledger.runs(limit=1000)) == 200
        events = [event for one in sessions for event in ledger.events(one.id)]
        assert len(events) == 200 * 3 + 100
        assert ledger.check() == []


def test_a_fork_opens_its_own_connection(ledger: Ledger) -> None:
    session = add(ledger)
    pid = os.fork()
    if pid == 0:
        try:
            ledger.note(session.id, "child")
            os._exit(0 if [one.kind for one in ledger.events(session.id)][-1] == "child" else 1)
        except BaseException:  # noqa: BLE001 - a forked child must not return into pytest
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    ledger.note(session.id, "parent")
    kinds = [one.kind for one in ledger.events(session.id)]
    assert kinds == ["transition", "child", "parent"]


def test_connections_of_ended_threads_are_closed(ledger: Ledger) -> None:
    for _ in range(20):
        thread = threading.Thread(target=ledger.sessions)
        thread.start()
        thread.join()
    assert len(ledger._open) <= 3


def test_closed_means_closed(file: Path) -> None:
    ledger = Ledger.open(file)
    ledger.close()
    with pytest.raises(LedgerError, match="was closed"):
        ledger.sessions()


KILLED = """
import sys
from gpunb.sessions.ledger import Ledger
ledger = Ledger.open()
number = 0
while True:
    ledger.note(sys.argv[1], "n", str(number))
    print(number, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_kill_in_mid_write_keeps_every_commit(ledger: Ledger) -> None:
    for _ in range(5):
        session = add(ledger)
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, session.id], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(30):
            last = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split("\n")
        child.wait(30)
        child.stdout.close()
        told = [int(line) for line in rest[:-1]]
        numbers = [int(one.detail) for one in ledger.events(session.id) if one.kind == "n"]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > max([last, *told])
    assert ledger.check() == []


# -- broken files ------------------------------------------------------------


def whole(file: Path) -> bytes:
    """A ledger with content, closed, its log folded in; its bytes."""
    with Ledger.open(file) as ledger:
        for _ in range(50):
            add(ledger)
    return file.read_bytes()


def refused(file: Path, error: type[LedgerError], match: str) -> None:
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(error, match=match) as caught, Ledger.open(file) as ledger:
        ledger.sessions(alive=False)
        ledger.cost("x")
    assert str(file) in str(caught.value)
    assert (file.read_bytes() if file.is_file() else None) == before, "a broken file must stay as it is"


@pytest.mark.parametrize("size", [1, 15, 99])
def test_truncated_header(file: Path, size: int) -> None:
    data = whole(file)
    file.write_bytes(data[:size])
    refused(file, LedgerDamaged, "not a SQLite header")


@pytest.mark.parametrize("size", [100, 512, 4096, 5000])
def test_truncated_later(file: Path, size: int) -> None:
    data = whole(file)
    file.write_bytes(data[:size])
    refused(file, LedgerDamaged, "damaged")


def test_not_a_database(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(b"my thesis, only copy " * 500)
    refused(file, LedgerDamaged, "not a SQLite header")


def test_overwritten_in_the_middle(file: Path) -> None:
    data = bytearray(whole(file))
    data[4096 : len(data)] = b"\xa5" * (len(data) - 4096)
    file.write_bytes(bytes(data))
    refused(file, LedgerDamaged, "malformed|corrupt|damaged")


def test_another_programs_database(file: Path) -> None:
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE bookmarks (x)")
    refused(file, LedgerDamaged, "another program")


def test_newer(file: Path) -> None:
    whole(file)
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    refused(file, LedgerTooNew, "pip install --upgrade gpunb")


def test_zero_length_is_a_fresh_one(file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.touch()
    with Ledger.open(file) as ledger:
        assert ledger.sessions() == []


def test_empty_file_beside_a_full_log_is_damage(file: Path) -> None:
    with Ledger.open(file) as ledger:
        for _ in range(5):
            ledger.note("s", "n")
        log = file.with_name("ledger.sqlite-wal").read_bytes()
    assert log
    file.write_bytes(b"")
    file.with_name("ledger.sqlite-wal").write_bytes(log)
    refused(file, LedgerDamaged, "its log")
    file.unlink()
    with pytest.raises(LedgerDamaged, match="its log"):
        Ledger.open(file)
    assert not file.exists()
    assert file.with_name("ledger.sqlite-wal").read_bytes() == log


def test_a_log_that_is_missing_loses_no_intent(file: Path, tmp_path: Path) -> None:
    with Ledger.open(file) as ledger:
        session = add(ledger, "kept")
        ledger.begin_create(session, Intent(label="l1", session_id=session.id, provider="local"))
        copy = tmp_path / "copy.sqlite"
        shutil.copyfile(file, copy)  # the file alone, as a careless backup takes it
    with Ledger.open(copy) as ledger:
        assert ledger.find("kept").state is SessionState.CREATING
        assert [one.label for one in ledger.intents()] == ["l1"]
        assert ledger.check() == []


def test_a_folder_in_its_place(file: Path) -> None:
    file.mkdir(parents=True)
    refused(file, LedgerDamaged, "a folder stands in its place")
    assert file.is_dir()


def test_a_place_that_can_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNB_HOME", "/proc/gpunb")
    with pytest.raises(LedgerUnwritable, match="/proc/gpunb") as caught:
        Ledger.open()
    assert caught.value.hint is not None
    assert "GPUNB_HOME" in caught.value.hint


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, 512 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True
    ).returncode:
        pytest.skip("this machine lets root mount nothing")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_read_only_disk(mounted: Path) -> None:
    file = mounted / "home" / "ledger.sqlite"
    data = whole(file)
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    with pytest.raises(LedgerUnwritable), Ledger.open(file) as ledger:
        ledger.note("s", "n")
    assert file.read_bytes() == data


def test_full_disk_in_mid_transition(mounted: Path) -> None:
    file = mounted / "home" / "ledger.sqlite"
    with Ledger.open(file) as ledger:
        session = ready(ledger)
        filler = mounted / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as out:
            while True:
                out.write(b"x" * 4096)
        with pytest.raises(LedgerUnwritable, match=r"full|I/O") as caught:
            for _ in range(1000):
                ledger.note(session.id, "n", "x" * 4000)
        assert "nothing new is rented" in str(caught.value)
        with pytest.raises(LedgerUnwritable):
            ledger.transition(session, SessionState.ENDING, "y" * 9000)
        filler.unlink()
        assert ledger.get(session.id).state is SessionState.READY  # the transition is whole or not at all
        assert ledger.transition(session, SessionState.ENDING).state is SessionState.ENDING
        assert ledger.check() == []


# -- versions ----------------------------------------------------------------


def test_an_older_file_is_migrated_after_a_copy(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole(file)
    with Ledger.open(file) as old:
        kept = [one.id for one in old.sessions()]
    newer = (
        *schema.MIGRATIONS,
        "ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '';\nCREATE TABLE more (x);",
    )
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    with Ledger.open(file) as ledger:
        assert [one.id for one in ledger.sessions()] == kept
        assert ledger._rows("SELECT count(*) AS n FROM more")[0]["n"] == 0
        assert ledger._rows("PRAGMA user_version")[0][0] == len(newer)
    was = len(newer) - 1
    copy = file.with_name(f"ledger.sqlite.v{was}")
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == was
        assert db.execute("SELECT count(*) FROM sessions").fetchone()[0] == len(kept)


def test_a_migration_that_fails_leaves_the_older_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole(file)
    good = schema.MIGRATIONS
    monkeypatch.setattr(
        schema, "MIGRATIONS", (*good, "CREATE TABLE half (x);\nALTER TABLE nowhere ADD COLUMN y;")
    )
    with pytest.raises(LedgerDamaged, match="no such table"):
        Ledger.open(file)
    monkeypatch.setattr(schema, "MIGRATIONS", good)
    with Ledger.open(file) as ledger:
        assert len(ledger.sessions()) == 50
        assert ledger._rows("SELECT count(*) AS n FROM sqlite_master WHERE name = 'half'")[0]["n"] == 0


def test_script_is_cut_at_its_statements() -> None:
    assert schema.statements("CREATE TABLE a (\n  x\n);\n\nCREATE TABLE b (y);\n") == [
        "CREATE TABLE a (\n  x\n);",
        "CREATE TABLE b (y);",
    ]


_THEIRS = """
from gpunb.sessions.ledger import Ledger
with Ledger.open() as ledger:
    ledger.update("s1234567", detail="theirs")
    print(ledger.get("s1234567").host)
"""


def test_what_one_process_opens_and_closes_drops_no_lock_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # POSIX drops all locks of a process on a file when it closes any descriptor of it; then the next
    # process to close the ledger deletes the log under the first one's feet
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))

    def theirs() -> str:
        done = subprocess.run(
            [sys.executable, "-c", _THEIRS], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.strip()

    with Ledger.open() as ledger:
        ledger.add_session(Session(id="s1234567", name="a", provider="p", label="l"))
        for number in range(3):
            with Ledger.open() as second:
                second.sessions()
            thread = threading.Thread(target=ledger.sessions)
            thread.start()
            thread.join()
            ledger.update("s1234567", host=f"mine-{number}")
            assert theirs() == f"mine-{number}"
            assert ledger.get("s1234567").detail == "theirs"
            ledger.update("s1234567", detail="mine")
            assert ledger.path.with_name("ledger.sqlite-wal").exists()


def test_a_file_that_nobody_here_holds_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerDamaged):
        Ledger(path)


def test_a_second_ledger_in_one_process_keeps_the_locks_of_the_first(home: Path) -> None:
    """Whoever closes a descriptor of the file drops the process's locks on it; then another
    process takes itself for the last one, and deletes the log that is still written to."""
    elsewhere = (
        "from gpunb.sessions.ledger import Ledger\n"
        "with Ledger.open() as ledger: print(len(ledger.sessions()))"
    )

    def seen_elsewhere() -> str:
        ran = subprocess.run([sys.executable, "-c", elsewhere], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    with Ledger.open() as first:
        first.sessions()
        with Ledger.open() as second:
            second.sessions()
        assert seen_elsewhere() == "0"
        assert first.path.with_name(first.path.name + "-wal").exists()
        first.add_session(Session(id="a1", name="kept", provider="local", label="gpunb-x-a1"))
        assert seen_elsewhere() == "1"
        assert [one.name for one in first.sessions()] == ["kept"]

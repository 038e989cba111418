"""One ledger file for many: threads, processes, forks, deaths in mid-write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import LedgerError
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Session
from tests.support.rentals.ledgers import add, ready

if TYPE_CHECKING:
    from pathlib import Path


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
from gpunb.sessions.ledger.sessions import Ledger, new_id
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
from gpunb.sessions.ledger.sessions import Ledger
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


_THEIRS = """
from gpunb.sessions.ledger.sessions import Ledger
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


def test_a_second_ledger_in_one_process_keeps_the_locks_of_the_first(home: Path) -> None:
    """Whoever closes a descriptor of the file drops the process's locks on it; then another
    process takes itself for the last one, and deletes the log that is still written to."""
    elsewhere = (
        "from gpunb.sessions.ledger.sessions import Ledger\n"
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

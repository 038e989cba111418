"""A ledger file that is broken, of another version or on a bad disk is never overwritten."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import LedgerDamaged, LedgerError, LedgerTooNew, LedgerUnwritable
from gpunb.sessions.ledger import migrations
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import Intent, SessionState
from tests.support.rentals.ledgers import add, ready, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
        db.execute(f"PRAGMA user_version = {len(migrations.MIGRATIONS) + 1}")
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
        *migrations.MIGRATIONS,
        "ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '';\nCREATE TABLE more (x);",
    )
    monkeypatch.setattr(migrations, "MIGRATIONS", newer)
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
    good = migrations.MIGRATIONS
    monkeypatch.setattr(
        migrations, "MIGRATIONS", (*good, "CREATE TABLE half (x);\nALTER TABLE nowhere ADD COLUMN y;")
    )
    with pytest.raises(LedgerDamaged, match="no such table"):
        Ledger.open(file)
    monkeypatch.setattr(migrations, "MIGRATIONS", good)
    with Ledger.open(file) as ledger:
        assert len(ledger.sessions()) == 50
        assert ledger._rows("SELECT count(*) AS n FROM sqlite_master WHERE name = 'half'")[0]["n"] == 0


def test_script_is_cut_at_its_statements() -> None:
    assert migrations.statements("CREATE TABLE a (\n  x\n);\n\nCREATE TABLE b (y);\n") == [
        "CREATE TABLE a (\n  x\n);",
        "CREATE TABLE b (y);",
    ]


def test_a_file_that_nobody_here_holds_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(LedgerDamaged):
        Ledger(path)

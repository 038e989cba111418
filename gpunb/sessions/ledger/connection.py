"""SQLite storage of the ledger: opening, checks, migrations, use by threads and processes.

``synchronous=FULL``: in WAL mode NORMAL may lose the last commits in a power cut, and one
of them may be the create intent that promise 1 rests on. It costs one fsync a commit, and
we commit a few times a minute.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
import uuid
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Any, NoReturn

from gpunb import paths
from gpunb.errors import LedgerDamaged, LedgerError, LedgerTooNew, LedgerUnwritable
from gpunb.hints import typed
from gpunb.sessions.ledger import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Store"]

_MAGIC = b"SQLite format 3\0"
_HEADER = 100
BUSY_S = 30.0
RESERVE = 128 * 1024  # bytes; an end takes some tens of thousands
AGAIN_S = 5.0  # how long a read-only connection is kept

# Connections that a fork left to the child. SQLite must neither use nor close them
# there (sqlite.org/howtocorrupt.html, 2.6), so they are kept from the collector.
_abandoned: list[sqlite3.Connection] = []

# Closing any handle of a file drops all POSIX locks that the process has on it, SQLite's too
# (howtocorrupt.html, 2.2): the next process to close the ledger would take itself for the last one
# and delete the log (-wal) that we still write to. So this process reads a file directly only
# while it has no connection to it.
_held: Counter[tuple[int, int]] = Counter()
_holding = threading.Lock()


def _forget_held() -> None:
    global _holding  # noqa: PLW0603 - a fork may have copied it while it was taken
    _holding = threading.Lock()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_held)


class _Connection(sqlite3.Connection):
    """A SQLite connection that is counted in `_held` while it is open."""

    inode: tuple[int, int] | None = None
    until = float("inf")  # a read-only connection is opened again after this moment (monotonic)

    def close(self) -> None:
        super().close()
        with _holding:
            inode, self.inode = self.inode, None
            if inode is not None and _held[inode] > 0:
                _held[inode] -= 1


class Store:
    """One ledger file; a connection for each thread, opened on first use.

    An object may be shared by threads and survives a fork: the child opens its own.

    Raises
    ------
    LedgerDamaged, LedgerTooNew
        The file is left exactly as it was.
    LedgerUnwritable
        It can't be read, and its folder or file can't be written. Where it can be read it is opened
        all the same, and the first write raises this.

    Attributes
    ----------
    last_resort
        Whether this process ends sessions, and so may use the space reserved for a full disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._open: list[tuple[threading.Thread, _Connection]] = []
        self._closed = False
        self.last_resort = False
        self._db()

    def close(self) -> None:
        """Close this process's connections. The object can't be used after."""
        with self._lock:
            self._closed = True
            mine, self._open = self._open, []
        if self._pid == os.getpid():
            for _, db in mine:
                db.close()

    # -- connections ------------------------------------------------------

    def _db(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            self._after_fork()
        connection: _Connection | None = getattr(self._local, "db", None)
        if connection is not None and not self._closed and connection.until > time.monotonic():
            return connection
        if self._closed:
            msg = f"the ledger {self.path} was closed"
            raise LedgerError(msg)
        if connection is not None:
            connection.close()
        try:
            with self._mapped():
                db = self._connect()
        except LedgerUnwritable:
            reading = _reading(self.path)
            if reading is None:
                raise
            db = reading
        self._local.db = db
        with self._lock:
            dead = [pair for pair in self._open if not pair[0].is_alive()]
            self._open = [pair for pair in self._open if pair[0].is_alive()]
            self._open.append((threading.current_thread(), db))
        for _, old in dead:
            old.close()
        return db

    def _after_fork(self) -> None:
        _abandoned.extend(db for _, db in self._open)
        self._open = []
        self._local = threading.local()
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def _connect(self) -> _Connection:
        with _holding:
            self._inspect()
            # never created by SQLite itself: the mode would be the umask's
            db = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=BUSY_S,
                isolation_level=None,
                check_same_thread=False,
                factory=_Connection,
            )
            info = self.path.stat()
            db.inode = (info.st_dev, info.st_ino)
            _held[db.inode] += 1
        try:
            db.row_factory = sqlite3.Row
            version = _pragma(db, "user_version")
            ours = _pragma(db, "application_id")
            if version > len(migrations.MIGRATIONS) and ours == migrations.APPLICATION_ID:
                self._too_new(version)
            if ours not in (0, migrations.APPLICATION_ID) or (ours == 0 and _tables(db)):
                self._damaged("it is another program's SQLite file")
            _wal(db)
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone stops at the drive's cache
            if version < len(migrations.MIGRATIONS) or ours == 0:
                self._migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _inspect(self) -> None:
        """Refuse files that SQLite would silently repair, empty or overwrite; `_holding` is taken."""
        path = self.path
        # The log is checked first: SQLite writes the file's first page before the log
        # exists, so a log beside an empty file can't be another process just starting.
        try:
            log = path.with_name(path.name + "-wal").stat().st_size
        except OSError:
            log = 0
        try:
            info = path.stat()
        except FileNotFoundError:
            info = None
        if info is not None and path.is_dir():
            self._damaged("a folder stands in its place")
        if info is not None and _held[info.st_dev, info.st_ino] > 0:
            return  # inspected before by this process; SQLite itself reports later damage
        if info is None or info.st_size == 0:
            if log:
                self._damaged("the file is empty or missing, but its log (-wal) is not")
            paths.private_dir(path.parent)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            return
        with path.open("rb") as file:
            head = file.read(_HEADER)
        if len(head) < _HEADER or not head.startswith(_MAGIC):
            self._damaged(f"its first {_HEADER} bytes are not a SQLite header")
        if info.st_mode & 0o077 and info.st_uid == os.getuid():
            path.chmod(0o600)

    def _migrate(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            version = _pragma(db, "user_version")  # another process may have been first
            if version > len(migrations.MIGRATIONS):
                self._too_new(version)
            if version:
                self._copy(version)
            for script in migrations.MIGRATIONS[version:]:
                for statement in migrations.statements(script):
                    db.execute(statement)
            if version == 0:
                db.executemany(
                    "INSERT INTO meta (key, value) VALUES (?, ?)",
                    [("installation", uuid.uuid4().hex), ("created", repr(time.time()))],
                )
                db.execute(f"PRAGMA application_id = {migrations.APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(migrations.MIGRATIONS)}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        # the tables themselves should survive a lost log
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _copy(self, version: int) -> None:
        """Copy the older file to ``ledger.sqlite.v<version>``; the caller holds the write lock."""
        target = self.path.with_name(f"{self.path.name}.v{version}")
        if target.exists():
            return
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        with (
            contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_S)) as source,
            contextlib.closing(sqlite3.connect(part)) as copy,
        ):
            source.backup(copy)
        part.replace(target)

    # -- use --------------------------------------------------------------

    @contextlib.contextmanager
    def _write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One write transaction; with `durable` the log is checkpointed into the file at once."""
        db = self._db()
        if getattr(self._local, "together", False) and db.in_transaction:
            yield db
            return
        if self.last_resort and self._short():
            self._release_reserve()
            durable = True  # checkpointed at once, the log is written from its beginning and does not grow
        with self._mapped():
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        if durable:
            with contextlib.suppress(sqlite3.Error):
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Commit what this thread writes in the block at once, or nothing of it: one fsync for many runs.

        Nothing that a bill rests on is written so, and nothing that waits for a host is done within it.
        """
        with self._write():
            self._local.together = True
            try:
                yield
            finally:
                self._local.together = False

    def _rows(self, sql: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        db = self._db()
        with self._mapped():
            return db.execute(sql, values).fetchall()

    def check(self) -> list[str]:
        """The file's problems as text for ``gpunb doctor``; empty if there are none."""
        try:
            rows = self._rows("PRAGMA integrity_check(20)")
        except LedgerError as err:
            return [err.message]
        out = [str(row[0]) for row in rows if row[0] != "ok"]
        mode = self.path.stat().st_mode & 0o777
        if mode & 0o077:
            out.append(f"{self.path} has mode {mode:04o}: others on this machine can read it; chmod 600 it")
        return out

    # -- room for the end ---------------------------------------------------

    def hold_reserve(self) -> None:
        """Reserve disk space for recording ends on a full disk; required before renting.

        Raises
        ------
        LedgerUnwritable
            There is no room for it.
        """
        path = self._reserve()
        if path.exists():
            return
        with self._mapped():
            part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
            try:
                handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.write(os.urandom(RESERVE))  # random bytes: no file system can compress them
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def refill_reserve(self) -> None:
        """Reserve that space again if there is plenty by now."""
        with contextlib.suppress(OSError, LedgerError):
            if not self._reserve().exists() and self._free() > 8 * RESERVE:
                self.hold_reserve()

    def writable(self) -> bool:
        """Whether the file can be written as far as its folder shows: permission and space."""
        may = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        return may and not self._short()

    def _reserve(self) -> Path:
        return self.path.with_name(f"{self.path.name}.reserve")

    def _free(self) -> int:
        info = os.statvfs(self.path.parent)
        return info.f_bavail * info.f_frsize

    def _short(self) -> bool:
        try:
            return self._free() < RESERVE
        except OSError:
            return False

    def _release_reserve(self) -> None:
        with contextlib.suppress(OSError):
            self._reserve().unlink(missing_ok=True)

    # -- errors -----------------------------------------------------------

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        """Convert errors of SQLite and the system to gpunb's errors."""
        try:
            yield
        except sqlite3.Error as err:
            text, fault = str(err), _fault(err)
            if isinstance(err, (sqlite3.ProgrammingError, sqlite3.IntegrityError)):
                raise
            if fault is _Fault.DAMAGED:
                self._damaged(text, err)
            if fault is _Fault.LOCKED:
                msg = f"the ledger {self.path} was locked by another process for {BUSY_S:.0f} s"
                raise LedgerError(msg, hint="see which process holds it, then try again") from err
            self._unwritable(text, err, full=fault is _Fault.FULL)
        except OSError as err:
            self._unwritable(err.strerror or str(err), err, full=err.errno in _FULL)

    def _damaged(self, why: str, cause: BaseException | None = None) -> NoReturn:
        msg = f"the ledger {self.path} is damaged: {why}"
        raise LedgerDamaged(
            msg,
            bill="what was rented goes on; nothing new is rented until the ledger can be read",
            hint=(
                "the file is left as it is; see `"
                + typed("doctor")
                + f"`, restore a copy of it (one lies beside it as {self.path.name}.v… "
                "after an upgrade), or move it away to begin a new one"
            ),
        ) from cause

    def _too_new(self, version: int) -> NoReturn:
        msg = (
            f"the ledger {self.path} has version {version}; "
            f"this gpunb knows versions up to {len(migrations.MIGRATIONS)}"
        )
        raise LedgerTooNew(
            msg, bill="what was rented goes on", hint="pip install --upgrade gpunb; the file is left as it is"
        )

    def _unwritable(self, why: str, cause: BaseException | None = None, *, full: bool = False) -> NoReturn:
        if self.last_resort and full:
            self._release_reserve()  # for the next try
        msg = f"the ledger {self.path} can't be written: {why}"
        raise LedgerUnwritable(
            msg,
            bill="what was rented goes on; nothing new is rented without a ledger",
            hint=paths.unlock_hint(self.path),
        ) from cause


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Fault(Enum):
    """Kinds of SQLite errors that are handled differently."""

    DAMAGED = ("malformed", "not a database", "no such", "corrupt")
    LOCKED = ("locked", "busy")
    FULL = ("full",)


def _fault(err: sqlite3.Error) -> _Fault | None:
    """Classify by SQLite's message text: Python has its error codes only from 3.11 on."""
    text = str(err)
    return next((fault for fault in _Fault if any(word in text for word in fault.value)), None)


def _reading(path: Path) -> _Connection | None:
    """A read-only connection to a file that can't be written; immutable where the log needs space."""
    try:
        log = path.with_name(f"{path.name}-wal").stat().st_size
    except OSError:
        log = 0
    for how in ("mode=ro", "mode=ro&immutable=1") if not log else ("mode=ro",):
        try:
            db = sqlite3.connect(
                f"{path.absolute().as_uri()}?{how}",
                uri=True,
                timeout=BUSY_S,
                isolation_level=None,
                check_same_thread=False,
                factory=_Connection,
            )
        except sqlite3.Error:
            continue
        try:
            db.row_factory = sqlite3.Row
            if _pragma(db, "application_id") == migrations.APPLICATION_ID and _pragma(
                db, "user_version"
            ) == len(migrations.MIGRATIONS):
                db.until = time.monotonic() + AGAIN_S
                return db
        except sqlite3.Error:
            pass
        db.close()
    return None


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _tables(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _wal(db: sqlite3.Connection) -> None:
    """Switch to WAL, waiting for other processes, which SQLite itself does not do here."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            if db.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                return
            db.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as err:  # noqa: PERF203
            if _fault(err) is not _Fault.LOCKED or time.monotonic() > end:
                raise
            time.sleep(0.02)

"""What both sides held when they last agreed: kept on this machine's disk, one file a session and folder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpunb.paths import home, private_dir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gpunb.sessions.project.host_folder import HostFile
    from gpunb.sessions.project.local_tree import Sig

__all__ = ["Known", "State", "carry_over", "locked", "remove"]

MOST_LINES = 200


@dataclass(slots=True)
class Known:
    """One path, as it was when both sides agreed.

    Attributes
    ----------
    here
        Size, mtime and inode here; None: there was none, or another one than there.
    there
        Size and mtime on the host; None: there was none.
    ours
        It went there from here: deleting it here deletes it there.
    aside
        The name of the copy that a conflict left here.
    left
        Size and mtime of the host's newer version that stayed there: what goes there must not replace it.
    """

    here: Sig | None = None
    there: tuple[int, int] | None = None
    ours: bool = False
    aside: str = ""
    left: tuple[int, int] | None = None


@dataclass(slots=True)
class State:
    """What is known of a folder here and its place on one session's host.

    On the disk it is lines of JSON: all of it, then what changed at each `save`, so that a save costs what
    changed. A last line that is torn counts as not written.
    """

    file: Path
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    number: int = 0
    sent: bool = False
    known: dict[str, Known] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    pending: list[HostFile] = field(default_factory=list)
    """What changed there and could not be brought yet, such as for a full disk here."""
    _touched: set[str] | None = None  # paths since the last save; None: all
    _saved: dict[str, Any] = field(default_factory=dict)
    _lines: int = 0

    @classmethod
    def load(cls, session_id: str, root: Path) -> State:
        """Read the state; an empty one if there is none, or it can't be read."""
        file = _file(session_id, root, "json")
        seal, kept = _kept.pop(file, ("", None))
        if kept is not None and seal == _seal(file):
            return kept
        state = cls(file)
        with contextlib.suppress(OSError):
            for line in file.read_bytes().splitlines():
                try:
                    state._read(json.loads(line))
                except (ValueError, KeyError, TypeError):  # noqa: PERF203 - lines are few
                    break
        return state

    def _read(self, raw: dict[str, Any]) -> None:
        from gpunb.sessions.project.host_folder import HostFile

        known = {path: entry and _known(entry) for path, entry in raw["known"].items()}
        pending = [HostFile(*entry) for entry in raw["pending"]]
        if not self._lines:
            self._touched = set()
        self.token, self.number, self.sent = str(raw["token"]), int(raw["number"]), bool(raw["sent"])
        self.pending = pending
        self.folders, self.links = raw.get("folders", self.folders), raw.get("links", self.links)
        self.known.update({path: one for path, one in known.items() if one})
        for path in [path for path, one in known.items() if not one]:
            self.known.pop(path, None)
        self._saved = self._rest()
        self._lines += 1

    def set(self, path: str, one: Known) -> None:
        """Note what is known of a path."""
        self.known[path] = one
        if self._touched is not None:
            self._touched.add(path)

    def drop(self, path: str) -> None:
        """Forget a path."""
        self.known.pop(path, None)
        if self._touched is not None:
            self._touched.add(path)

    def save(self) -> None:
        """Write what changed. A number that is lost with this process costs a whole listing, and is not."""
        rest = self._rest()
        if self._touched is None or self._lines > MOST_LINES or len(self._touched) > len(self.known) // 2 + 9:
            self._write(self.known, rest, whole=True)
        elif self._touched or {**rest, "number": 0} != {**self._saved, "number": 0}:
            changed = {name: value for name, value in rest.items() if value != self._saved.get(name)}
            always = {name: rest[name] for name in ("token", "number", "sent", "pending")}
            self._write({path: self.known.get(path) for path in self._touched}, {**changed, **always})
        self._touched, self._saved = set(), rest
        _kept[self.file] = _seal(self.file), self

    def _rest(self) -> dict[str, Any]:
        return {
            "token": self.token, "number": self.number, "sent": self.sent,
            "pending": list(self.pending), "folders": self.folders, "links": self.links,
        }  # fmt: skip

    def _write(self, known: Mapping[str, Known | None], rest: dict[str, Any], *, whole: bool = False) -> None:
        entries = {
            path: one and [one.here, one.there, one.ours, one.aside, one.left] for path, one in known.items()
        }
        line = json.dumps({**rest, "known": entries}, separators=(",", ":")).encode() + b"\n"
        part = self.file.with_suffix(".new") if whole else self.file
        how = os.O_TRUNC if whole else os.O_APPEND
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | how | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(line)
        if whole:
            part.replace(self.file)
        self._lines = 1 if whole else self._lines + 1

    def forget(self) -> None:
        """Start anew: the host's folder is gone."""
        self.known, self.pending, self.folders, self.links = {}, [], [], {}
        self.number, self.sent, self._touched = 0, False, None


_kept: dict[Path, tuple[str, State]] = {}


def _seal(file: Path) -> str:
    """What tells whether another process has written the file."""
    try:
        facts = file.stat()
    except OSError:
        return ""
    return f"{facts.st_ino} {facts.st_size} {facts.st_mtime_ns}"


@contextlib.contextmanager
def locked(session_id: str, root: Path) -> Iterator[None]:
    """Let one process at a time compare `root` with one session's host; the others wait."""
    handle = os.open(_file(session_id, root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def carry_over(old_id: str, new_id: str, root: Path) -> None:
    """Let a session whose host has a copy of another one's files begin with what is known of those.

    A file that got another time on the way is compared by its content.
    """
    with locked(old_id, root), locked(new_id, root):
        was = State.load(old_id, root)
        if was.sent or was.known:
            State(
                _file(new_id, root, "json"),
                sent=was.sent, known=dict(was.known), folders=list(was.folders), links=dict(was.links),
                pending=list(was.pending),
            ).save()  # fmt: skip


def remove(session_id: str) -> None:
    """Remove all states of a session that is over: its host's folders are gone."""
    for file in (home() / "projects").glob(f"{session_id}-*"):
        file.unlink(missing_ok=True)
        _kept.pop(file, None)


def _file(session_id: str, root: Path, end: str) -> Path:
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return private_dir(home() / "projects") / f"{session_id}-{digest}.{end}"


def _known(entry: list[Any]) -> Known:
    here, there, ours, aside, left = entry
    return Known(
        tuple(here) if here else None,
        tuple(there) if there else None,
        ours,
        aside,
        tuple(left) if left else None,
    )

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
    from collections.abc import Iterator
    from pathlib import Path

    from gpunb.services.project.host_folder import HostFile
    from gpunb.services.project.local_tree import Sig

__all__ = ["Known", "State", "locked"]


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
        The host's newer version stayed there: what goes there must not replace it.
    """

    here: Sig | None = None
    there: tuple[int, int] | None = None
    ours: bool = False
    aside: str = ""
    left: bool = False


@dataclass(slots=True)
class State:
    """What is known of a folder here and its place on one session's host."""

    file: Path
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    number: int = 0
    sent: bool = False
    known: dict[str, Known] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    pending: list[HostFile] = field(default_factory=list)
    """What changed there and could not be brought yet, such as for a full disk here."""

    @classmethod
    def load(cls, session_id: str, root: Path) -> State:
        """Read the state; an empty one if there is none, or it can't be read."""
        from gpunb.services.project.host_folder import HostFile

        found = cls(_file(session_id, root, "json"))
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            raw = json.loads(found.file.read_text(encoding="utf-8"))
            known = {path: _known(entry) for path, entry in raw["known"].items()}
            pending = [HostFile(*entry) for entry in raw["pending"]]
            found.known, found.pending = known, pending
            found.folders, found.links = list(raw["folders"]), dict(raw["links"])
            found.token, found.number, found.sent = str(raw["token"]), int(raw["number"]), bool(raw["sent"])
        return found

    def save(self) -> None:
        """Write the state, in one step."""
        known = {
            path: [one.here, one.there, one.ours, one.aside, one.left] for path, one in self.known.items()
        }
        words = {
            "token": self.token, "number": self.number, "sent": self.sent,
            "known": known, "pending": self.pending, "folders": self.folders, "links": self.links,
        }  # fmt: skip
        part = self.file.with_suffix(".new")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(words, file, separators=(",", ":"))
        part.replace(self.file)

    def forget(self) -> None:
        """Start anew: the host's folder is gone."""
        self.known, self.pending, self.folders, self.links = {}, [], [], {}
        self.number, self.sent = 0, False


@contextlib.contextmanager
def locked(session_id: str, root: Path) -> Iterator[None]:
    """Let one process at a time compare `root` with one session's host; the others wait."""
    handle = os.open(_file(session_id, root, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _file(session_id: str, root: Path, end: str) -> Path:
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return private_dir(home() / "projects") / f"{session_id}-{digest}.{end}"


def _known(entry: list[Any]) -> Known:
    here, there, ours, aside, left = entry
    return Known(tuple(here) if here else None, tuple(there) if there else None, ours, aside, left)

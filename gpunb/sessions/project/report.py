"""What went to the host's folder, and what came back from it: for programs, and in words."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpunb.hints import typed
from gpunb.text import clean
from gpunb.units import bytes_text, files_text

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.sessions.model import Session

__all__ = ["Brought", "Sent"]

SHOWN, SHOWN_HELD = 4, 12


@dataclass(slots=True)
class Sent:
    """What went to the host.

    Attributes
    ----------
    place
        The folder there, relative to its home.
    files, bytes
        How much went.
    changed
        The paths of Python files that went.
    kept
        (path, reason) of changed files that did not go, because a newer one is there.
    brought
        What had to come back first.
    """

    place: str
    files: int = 0
    bytes: int = 0
    changed: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    brought: Brought | None = None

    def lines(self, session: Session) -> list[tuple[str, str]]:
        """What the user must know of it: texts, each with its style."""
        found = self.brought.lines(session) if self.brought is not None else []
        return found + [(f"not sent: {_shown(path)}: " + why, "warn") for path, why in self.kept[:SHOWN]]


@dataclass(slots=True)
class Brought:
    """What came back.

    Attributes
    ----------
    taken
        (path, bytes) of what is here now under its own name.
    beside
        (path, name here) of what changed on both sides: both are kept.
    held
        (path, reason) of what could run here, and stays there until it is asked for.
    big
        (path, bytes) of what is over the limits, and stays there.
    left
        (path, reason) of what never comes: links, odd names.
    failed
        (path, reason) of what could not be written; it is tried again.
    vanished
        Whether the folder is gone there. It is sent anew the next time; nothing is deleted here.
    many
        Whether it holds too many files there to be looked through.
    moved
        Bytes of all that is here now.
    """

    place: str
    root: Path
    taken: list[tuple[str, int]] = field(default_factory=list)
    beside: list[tuple[str, str]] = field(default_factory=list)
    held: list[tuple[str, str]] = field(default_factory=list)
    big: list[tuple[str, int]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    vanished: bool = False
    many: bool = False
    moved: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of the files that came."""
        return sum(size for _, size in self.taken)

    def large(self, session: Session) -> list[tuple[str, list[str]]]:
        """For the first files over the limits: what to say, and the words of the command that brings it."""
        stays = "stays there; to bring it: "
        return [
            (
                f"{_shown(path)} ({bytes_text(size)}) {stays}" + self._get(session, path),
                ["sync", f"{session.name}:{self.place}/{path}", str(self.root / path)],
            )
            for path, size in self.big[:SHOWN]
        ]

    def lines(self, session: Session, *, large: bool = True) -> list[tuple[str, str]]:
        """What the user must know of it: texts, each with its style; `large` says whether with those."""
        found: list[tuple[str, str]] = []
        if self.vanished:
            text = f"the folder {self.place} is gone on {session.name}; nothing was deleted here, "
            found.append((text + "and it is sent again before the next run", "warn"))
        if self.many:
            text = f"{self.place} on {session.name} holds too many files: nothing comes back by itself; "
            found.append((text + self._get(session, "FOLDER") + " brings one folder", "warn"))
        if self.taken:
            text = f"{files_text(len(self.taken))} came back ({bytes_text(self.bytes)})"
            found.append((f"{text}: {_list([path for path, _ in self.taken])}", "dim"))
        for path, name in self.beside[:SHOWN]:
            found.append((f"{_shown(path)} changed here and there; the host's is {_shown(name)}", "warn"))
        found += _more(self.beside, "changed on both sides")
        if large:
            found += [(text, "warn") for text, _ in self.large(session)]
        found += _more(self.big, "stay there, over the limits")
        if self.held:
            text = ", ".join(f"{_shown(path)} ({why})" for path, why in self.held[:SHOWN_HELD])
            more = f" and {len(self.held) - SHOWN_HELD} more" if len(self.held) > SHOWN_HELD else ""
            text = f"held back, for it could run here: {text}{more}; to take it after a look: "
            found.append((text + self._get(session, self.held[0][0], include=True), "warn"))
        if self.left:
            text = ", ".join(f"{_shown(path)} ({why})" for path, why in self.left[:SHOWN])
            more = f" and {len(self.left) - SHOWN} more" if len(self.left) > SHOWN else ""
            found.append((f"stays there: {text}{more}", "warn"))
        found += [(f"not brought: {_shown(path)}: {why}", "bad") for path, why in self.failed[:SHOWN]]
        return found + _more(self.failed, "could not be brought")

    def _get(self, session: Session, path: str, *, include: bool = False) -> str:
        """The command that brings one file."""
        here = _shown(os.path.relpath(self.root / path))
        words = ["sync", f"{session.name}:{self.place}/{_shown(path)}", here]
        return typed(*words, *(["--include", path.rpartition("/")[2]] if include else []))


def _shown(path: str) -> str:
    text = clean(path)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _list(paths: list[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(map(_shown, paths[:SHOWN])) + more


def _more(of: list[tuple[str, str]] | list[tuple[str, int]], what: str) -> list[tuple[str, str]]:
    return [(f"{len(of) - SHOWN} more {what}", "warn")] if len(of) > SHOWN else []

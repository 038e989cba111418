"""What the host's folder has that is new goes into the folder here, as far as it may."""

from __future__ import annotations

import errno
import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.sessions.project import gate
from gpunb.sessions.project.landing import Landing
from gpunb.sessions.project.report import Brought
from gpunb.sessions.project.state import Known
from gpunb.sync.planning import locations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gpunb.sessions.project.host_folder import Changes, HostFile, HostFolder
    from gpunb.sessions.project.local_tree import Sig
    from gpunb.sessions.project.state import State

__all__ = ["Limits", "bring", "note"]

ROOM = 64 << 20
"""Bytes that stay free on the disk here."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much comes back by itself after one run; None: as much as there is.

    Attributes
    ----------
    each, total
        Bytes of one file, and of all.
    files
        How many files.
    only
        Paths and patterns of what comes; empty: everything.
    held
        Whether what could run here comes too, because the user has said so.
    aside
        Whether what could run here comes under a name that nothing runs: it can't be asked for later.
    without
        Paths that do not come, nor what is below them.
    """

    each: int | None = 64 << 20
    total: int | None = 256 << 20
    files: int | None = 1000
    only: Sequence[str] = ()
    held: bool = False
    aside: bool = False
    without: Sequence[str] = ()

    def wants(self, path: str) -> bool:
        """Whether `path` is one that comes."""
        if any(path == one or path.startswith(f"{one}/") for one in self.without):
            return False
        return not self.only or any(
            path == one or path.startswith(f"{one}/") or fnmatch.fnmatchcase(path, one)
            for one in (text.removeprefix("./").rstrip("/") for text in self.only)
            if one not in ("", ".")
        ) or "." in self.only  # fmt: skip


def bring(
    root: Path, host: HostFolder, state: State, changes: Changes, limits: Limits, *, word: str, trusted: bool
) -> Brought:
    """Carry `changes` into `root`, and note in `state` what both sides have now.

    Raises
    ------
    Unreachable, ProtocolError
        The connection broke: what has come is whole, and the same question finds the rest.
    """
    out = Brought(host.place, root)
    if not changes.there or changes.many:
        out.vanished, out.many = not changes.there, changes.many
        return out
    _note_gone(state, changes)
    waiting, state.pending = state.pending, []
    newest = {one.path: one for one in (*waiting, *changes.changed)}
    _leave_environments(newest, out)
    free = locations.free_here(root) or 0
    with Landing(root, word, runs=trusted) as landing:
        work = _Work(landing, host, state, out, limits, trusted, free - ROOM)
        for file in sorted(newest.values(), key=lambda one: one.size):
            work.one(file, changes.contents.get(file.path))
    state.number = changes.number
    return out


def note(state: State, changes: Changes, here: dict[str, Sig]) -> None:
    """Note that the host has what `here` is, as far as sizes and times say so."""
    for file in changes.changed:
        sig = here.get(file.path)
        if sig is not None and file.kind == "f" and _alike(sig, file):
            known = state.known.get(file.path, Known())
            state.set(file.path, Known(sig, file.state, ours=True, aside=known.aside))
    state.number = changes.number


@dataclass(slots=True)
class _Work:
    """The state of one `bring`."""

    landing: Landing
    host: HostFolder
    state: State
    out: Brought
    limits: Limits
    trusted: bool
    room: int
    count: int = 0
    total: int = 0

    def one(self, file: HostFile, content: bytes | None) -> None:
        known = self.state.known.get(file.path, Known())
        if file.state == known.there and file.kind == "f" and not known.left:
            return
        why = gate.unfit(file.path)
        if not why and file.kind != "f":
            why = "git's own data never comes" if file.kind == "d" else "a link, or no file"
        if why:
            self.out.left.append((file.path, why))
            return
        if not self.limits.wants(file.path):
            return
        here = self.landing.sig(file.path)
        if here is not None and _alike(here, file):
            self.state.set(file.path, Known(here, file.state, known.ours, known.aside))
            return
        conflict = here is not None and here != known.here
        held = "" if self.trusted or self.limits.held else gate.why_held(file.path)
        if held and not (conflict or self.limits.aside):
            self.out.held.append((file.path, held))
        elif self._is_too_much(file):
            self.out.big.append((file.path, file.size))
        else:
            self._land(file, content, known, conflict=conflict, end=".held" if held else "")
            return
        if here is not None:  # what goes there must not replace it
            known.left = file.state
            self.state.set(file.path, known)

    def _is_too_much(self, file: HostFile) -> bool:
        limits = self.limits
        return (
            (limits.each is not None and file.size > limits.each)
            or (limits.total is not None and self.total + file.size > limits.total)
            or (limits.files is not None and self.count >= limits.files)
        )

    def _land(self, file: HostFile, content: bytes | None, known: Known, *, conflict: bool, end: str) -> None:
        if file.size > self.room:
            self._failed(file, "this machine's disk has no room for it")
            return
        copy = self.state.known.get(known.aside) if conflict and known.aside else None
        if copy is not None and copy.ours:  # edited here, and sent: it is the user's by now
            copy = None
        expected = known.here if not conflict else copy.here if copy is not None else None
        aside = known.aside if copy is not None else ""
        pieces: Iterable[bytes] = self.host.pieces(file) if content is None else (content,)
        try:
            path, sig = self.landing.put(file, pieces, expected, aside=aside, end=end)
        except OSError as err:
            full = err.errno in (errno.ENOSPC, errno.EDQUOT)
            self._failed(file, err.strerror or str(err), again=full or err.errno is None)
            return
        self.count, self.total, self.room = self.count + 1, self.total + file.size, self.room - file.size
        self.out.moved += file.size
        if path == file.path:
            self.state.set(path, Known(sig, file.state))
            self.out.taken.append((path, file.size))
            return
        self.state.set(file.path, Known(known.here, file.state, known.ours, aside=path))
        self.state.set(path, Known(sig))
        self.out.beside.append((file.path, path))

    def _failed(self, file: HostFile, why: str, *, again: bool = True) -> None:
        self.out.failed.append((file.path, why))
        if again:
            self.state.pending.append(file)


def _leave_environments(newest: dict[str, HostFile], out: Brought) -> None:
    """Leave virtual environments where they are, as a sync does."""
    for top in [path.rpartition("/")[0] for path in newest if path.endswith("/pyvenv.cfg")]:
        for path in [path for path in newest if path.startswith(f"{top}/")]:
            del newest[path]
        out.left.append((top, "a virtual environment"))


def _note_gone(state: State, changes: Changes) -> None:
    gone = changes.gone
    if changes.whole:
        there = {file.path for file in changes.changed}
        gone = [path for path, known in state.known.items() if known.there is not None and path not in there]
    for path in gone:
        if path in state.known:
            known = state.known[path]
            state.set(path, Known(known.here, None, known.ours, known.aside))


def _alike(here: Sig, file: HostFile) -> bool:
    """Whether size and time are equal; whole seconds are compared where the host keeps no more."""
    same = here[1] == file.mtime or (file.mtime % 10**9 == 0 and here[1] // 10**9 == file.mtime // 10**9)
    return here[0] == file.size and same

"""Results brought home before a session's end: ``session.save``, and what runs wrote into its project."""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gpunb import paths
from gpunb.progress import SILENT, Progress
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.sessions.model import Session, SessionState, Transfer
from gpunb.sessions.project import places

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle.timeouts import Timing
    from gpunb.sync.bring import Brought

__all__ = ["FOLDER", "PROJECT", "awaited", "fetch_saves", "note_folder", "targets"]

FOLDER = "folder"
"""The kind of event that says where a run or a sync put files: saves are looked for there."""

PROJECT = "."
"""The path in ``session.save`` that stands for what runs wrote into the project that was sent."""


def _projects(ledger: Ledger, session: Session) -> dict[str, tuple[Path, str]]:
    """The folders here with a place on the host whose results come: by name, the folder and its place."""
    result: dict[str, tuple[Path, str]] = {}
    known = places.known(ledger, session)
    sent = str(_base(session).resolve())
    if PROJECT in session.save and sent in known:
        result[PROJECT] = Path(sent), known[sent]
    bound = places.bound(ledger, session)
    if bound is not None and str(bound) in known and not any(bound == root for root, _ in result.values()):
        result[str(bound)] = bound, known[str(bound)]
    return result


def awaited(ledger: Ledger, session: Session) -> list[str]:
    """What comes home before the session's end: paths of the host, and a bound folder here."""
    return [*session.save, *(name for name in _projects(ledger, session) if name not in session.save)]


def _base(session: Session) -> Path:
    return Path(session.save_to) if session.save_to else Path.cwd()


def targets(session: Session) -> dict[str, Path]:
    """Map each path of ``session.save`` to a local target; no target equals or contains another.

    A relative path keeps its folders, an absolute one its name, and as much more of it as is needed to
    tell it from the others. A pattern's place is that of its fixed part.
    """
    from gpunb.sync.sftp.host_glob import is_pattern, split

    base = _base(session)
    parts: dict[str, tuple[str, ...]] = {}
    depth: dict[str, int] = {}
    for path in session.save:
        remote = PurePosixPath(split(path)[0] if is_pattern(path) else path)
        free = remote.is_absolute() or ".." in remote.parts or path.startswith("~")
        names = tuple(name for name in remote.parts if name not in ("/", "..", "~"))
        parts[path] = names or (("root",) if free else ())
        depth[path] = min(1, len(names)) if free else len(names)
    while True:
        places = {path: parts[path][len(parts[path]) - depth[path] :] or parts[path] for path in parts}
        clash = [
            place
            for place in places
            if depth[place] < len(parts[place])
            and any(_meet(places[place], places[two]) for two in places if two != place)
        ]
        if not clash:
            return {path: base.joinpath(*names) for path, names in places.items()}
        for path in clash:
            depth[path] += 1


def _meet(one: tuple[str, ...], two: tuple[str, ...]) -> bool:
    """Whether one of two paths equals or contains the other on a file system that ignores case."""
    first, second = ([name.casefold() for name in names] for names in (one, two))
    shorter = min(len(first), len(second))
    return first[:shorter] == second[:shorter]


def note_folder(ledger: Ledger, session: Session, folder: str) -> None:
    """Record that a run or a sync put files into `folder` of the host: `out` may be in there."""
    if folder and folder not in {event.detail for event in ledger.events(session.id) if event.kind == FOLDER}:
        ledger.note(session.id, FOLDER, folder)


def _elsewhere(session: Session, target: Path) -> Path:
    """The fallback in gpunb's own folder for files that can't be saved at `target`."""
    base = _base(session)
    inside = target.relative_to(base) if target.is_relative_to(base) else Path(target.name)
    return paths.home() / "saved" / f"{session.name}-{session.id}" / inside


def _can_write(target: Path) -> bool:
    """Whether a file or folder can apparently be created at `target`."""
    above = next((path for path in (target, *target.parents) if path.exists()), target)
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def fetch_saves(
    ledger: Ledger,
    session: Session,
    host: HostAccess,
    timing: Timing,
    progress: Progress = SILENT,
    *,
    last: bool = False,
    absent_ok: bool = False,
) -> list[tuple[str, str]]:
    """Bring each of `awaited`; returns (path, reason) of those that failed.

    Outcomes are recorded in the session's history, from which the receipt takes them.

    Parameters
    ----------
    last
        The session ends whatever the outcome: what can't be saved at its target goes into gpunb's folder.
    absent_ok
        Whether a path that the host does not have is recorded as unsaved, and not returned: nothing is lost.
    """
    projects = _projects(ledger, session)
    if not (session.save or projects) or session.state is SessionState.ENDING:
        return []
    clock = ledger.clock
    end = clock.time() + timing.save_s
    failed: list[tuple[str, str]] = []
    folders = [event.detail for event in reversed(ledger.events(session.id)) if event.kind == FOLDER]
    named = targets(session)
    for path, target in {**{name: root for name, (root, _) in projects.items()}, **named}.items():
        fetch = partial(host.fetch, session, path, folders=folders)
        if path in projects:
            root, place = projects[path]
            without = [str(one.relative_to(root)) for one in named.values() if root in one.parents]
            fetch = partial(host.fetch_project, session, place, last=last, without=without)
        if last and not _can_write(target if target.is_dir() else target.parent):
            target = _elsewhere(session, target)  # noqa: PLW2901
            paths.private_dir(target.parent)
            if path in projects:  # all of it: what is in the folder here can't be compared
                fetch = partial(host.fetch, session, place)
        what = f"what was written in {place}" if path in projects else path
        progress.say(f"bringing back {what} to {target}")
        started = clock.time()
        left = max(0.0, end - started)
        done, reason, absent = _within(left, session, partial(fetch, target, progress), host)
        ended = clock.time()
        if done is not None:
            reason = _reason(done)
            ledger.note(session.id, "brought", json.dumps(_facts(path, done)))
            ledger.add_transfer(
                Transfer(
                    session_id=session.id,
                    direction="down",
                    bytes=done.moved,
                    files=done.files,
                    started=started,
                    ended=ended,
                    what=path,
                    state="partial" if reason else "ok",
                ),
                active=False,  # else a session that is idle would never end: its end begins with this
            )
        if reason:
            if not (absent and absent_ok):
                failed.append((path, reason))
            ledger.note(session.id, "unsaved", json.dumps([path, reason]))
        else:
            ledger.note(session.id, "saved", path)
    return failed


def _facts(path: str, done: Brought) -> dict[str, object]:
    """The receipt's entry for one path."""
    return {
        "path": path,
        "to": done.to,
        "files": done.files,
        "bytes": done.bytes,
        "beside": [list(pair) for pair in done.beside[:100]],
        "held": [list(pair) for pair in done.held[:100]],
        "left": [list(pair) for pair in done.left[:100]],
    }


def _reason(done: Brought) -> str:
    if not done.failed:
        return ""
    name, reason = done.failed[0]
    more = f" and {len(done.failed) - 1} more" if len(done.failed) > 1 else ""
    return f"{name}: {reason}{more}"


def _within(
    limit: float, session: Session, fetch: Callable[[], Brought], host: HostAccess
) -> tuple[Brought | None, str, bool]:
    """Download one path; returns the result, or None, the reason and whether the host has no such path.

    Closes a hanging connection.
    """
    from gpunb.sync.bring import NothingThere

    out: list[tuple[Brought | None, str, bool]] = []

    def work() -> None:
        try:
            out.append((fetch(), "", False))
        except ANY as err:  # reported as the reason
            out.append((None, words(err), isinstance(err, NothingThere)))

    if limit <= 0:
        return None, "no time was left for it", False
    thread = threading.Thread(target=work, name=f"gpunb-save-{session.name}", daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        host.drop(session.id)
        thread.join(5.0)
        return None, f"not finished within {limit:.0f} s", False
    return out[0]

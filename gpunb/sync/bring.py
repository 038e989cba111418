"""Fetch all results from a host before it is destroyed, without overwriting any local file.

The planner and the engines are those of every sync: the stream engine where there is an agent, else SFTP,
which also moves what a pattern or a link names. Unlike a sync it follows no ignore rule and leaves nothing
out: `.git`, environments and caches come.

- Links that lead out of the folder are followed, in a second step after the folder's own files: up to
  `outside_links.NESTED` links behind one another, each folder behind one once, and not into the system's
  folders, a folder that holds the one they are in, or nothing. What is not followed is named.
- A local file or folder that differs stays as it is; the fetched one gets a name with the session's
  in it (``metrics.fit.json``).
- From a stranger, what could run on this side (`gpunb.sync.local.autorun`) comes under a name that nothing
  runs (``.git.held``), and is named.
- All fetched files are on the disk (fsync) when `bring` returns.
"""

from __future__ import annotations

import contextlib
import posixpath
import stat
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, NotEnoughSpace, SyncError
from gpunb.hints import typed
from gpunb.progress import SILENT
from gpunb.sync.base_flow import SyncOptions
from gpunb.sync.local.flush import flush
from gpunb.sync.local.free_names import FreeNames
from gpunb.sync.local.safe_root import umask
from gpunb.sync.local.tree import LocalSide
from gpunb.sync.planning import locations
from gpunb.sync.planning.plan import Item, LeftOut, Tree
from gpunb.sync.planning.rules import Rules
from gpunb.sync.planning.side import item_of
from gpunb.sync.sftp import host_glob, outside_links
from gpunb.sync.sftp.digests import sha256
from gpunb.sync.sftp.host_tree import Remote
from gpunb.sync.sftp.sftp_flow import SftpFlow
from gpunb.sync.sftp.side import SftpSide, scan
from gpunb.sync.stream.host_tree import HostSide
from gpunb.sync.stream.stream_flow import StreamFlow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gpunb.progress import Progress
    from gpunb.remote import AgentClient
    from gpunb.ssh.connection import Connection
    from gpunb.sync.base_flow import Flow

__all__ = ["Brought", "NothingThere", "bring", "made_folder"]


class NothingThere(BadInput):
    """The host has nothing at the path: there is nothing that could be lost."""


@dataclass(slots=True)
class Brought:
    """The outcome of fetching one path.

    Attributes
    ----------
    to
        The local path or paths.
    files, bytes
        Files and links that are here now, and the bytes of their content.
    moved
        Bytes that crossed the network for it.
    beside
        (path, name): what got another name, because its own is taken here.
    held
        (path, name): what could run on this machine, and the name that it got.
    left
        (path, reason) of what stays on the host by a rule of `gpunb.sync.bring`.
    failed
        (path, reason) of what could not be fetched.
    """

    to: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    moved: int = 0
    beside: list[tuple[str, str]] = field(default_factory=list)
    held: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def bring(
    conn: Connection,
    path: str,
    target: Path,
    *,
    word: str,
    guard: bool,
    folders: Sequence[str] = (),
    agent: AgentClient | None = None,
    patience: float = 600.0,
    progress: Progress = SILENT,
) -> Brought:
    """Fetch the host's `path` into `target`; what could not be fetched is in `Brought.failed`.

    Parameters
    ----------
    path
        A file or folder, or a pattern of the shell's (``out/*.csv``, ``**``), matched on the host now.
    target
        The local path; for a pattern, the folder of its fixed part.
    word
        Put into names that are taken already: the session's name.
    guard
        The host is a stranger.
    folders
        Folders of the host, the newest first, in which a relative path is looked for besides the
        home folder: where runs and syncs put files.
    agent
        The host's agent, for the stream engine.
    patience
        Seconds to wait for another transfer into the same place.

    Raises
    ------
    NothingThere
        Nothing is there, or nothing matches.
    NotEnoughSpace, SyncError, HostError
        Nothing, or not all of it, was fetched.
    """
    out = Brought()
    with Remote(conn) as remote:
        progress.say("listing files")
        sources = _sources(remote, path, folders)
        how = _How(remote, out, word, guard, time.monotonic() + patience, progress, agent)
        for number, source in enumerate(sources):
            into = target if number == 0 else target.with_name(f"{target.name or 'root'}-of-{source.base}")
            _bring_one(how, source, into)
    return out


@dataclass(slots=True)
class _Source:
    """One source on the host: a whole folder, or the wanted `tree` below `root`."""

    root: str
    base: str
    single: str = ""
    tree: Tree | None = None


def _sources(remote: Remote, path: str, folders: Sequence[str]) -> list[_Source]:
    """Find the sources of `path`: as written, or below the folders of runs and syncs, and the home folder."""
    relative = not path.startswith(("/", "~"))
    whole = relative and posixpath.normpath(path) == "."
    bases = [*dict.fromkeys(folders), "~"] if relative else [""]
    sources: dict[str, _Source] = {}
    looked = []
    for base in bases:
        start = posixpath.join(base, path) if base else path
        looked.append(start)
        source = _source(remote, start, posixpath.basename(base.rstrip("/")).strip("~") or "home")
        if source is not None:
            sources.setdefault(f"{source.root}/{source.single}", source)
            if whole:
                break
    if not sources:
        msg = f"{path} is not found on the host (looked for {', '.join(looked)})"
        if host_glob.is_pattern(path):
            msg = f"no file on the host matches {path} (looked for {', '.join(looked)})"
        raise NothingThere(msg, hint=typed("exec ls") + " shows what is there")
    return list(sources.values())


def _source(remote: Remote, start: str, base: str) -> _Source | None:
    full = locations.host_path(remote, start)
    about = remote.attrs(full)
    if about is None:
        if not host_glob.is_pattern(start):
            return None
        fixed, rest = host_glob.split(start)
        root = locations.host_path(remote, fixed)
        matches = host_glob.matches(remote, root, rest)
        return _Source(root, base, tree=_matched(remote, root, matches)) if matches else None
    if full == "/":
        msg = f"{start}: the whole of a host is not brought back"
        raise BadInput(msg, hint="name the folder with your results")
    if stat.S_ISDIR(about.mode or 0):
        return _Source(full, base)
    if not stat.S_ISREG(about.mode or 0):
        msg = f"{start} is neither a file nor a folder"
        raise BadInput(msg)
    above, name = posixpath.split(full)
    item = Item(name, "file", about.size or 0, about.mtime or 0, (about.mode or 0) & 0o777)
    return _Source(above, base, single=name, tree=Tree(items=[item]))


def _matched(remote: Remote, root: str, matches: Sequence[str]) -> Tree:
    """Build the tree of what a pattern matched, including the folders above it."""
    tree = Tree()
    for path in matches:
        about = remote.attrs(f"{root}/{path}", follow=False)
        mode = about.mode or 0 if about is not None else 0
        if stat.S_ISLNK(mode):
            tree.left_out.append(LeftOut(path, f"{outside_links.LINK}matched", cant_go=True))
        elif stat.S_ISDIR(mode):
            outside_links.graft(tree, path, mode, scan(remote, f"{root}/{path}", outside_links.WHOLE))
        elif about is not None and stat.S_ISREG(mode):
            tree.items.append(Item(path, "file", about.size or 0, about.mtime or 0, mode & 0o777))
        else:
            tree.left_out.append(LeftOut(path, "special file: not a file, folder or link", cant_go=True))
    known = {item.path for item in tree.items}
    above = {up for path in matches for up in _above(path)} - known
    tree.items += [Item(path, "dir", mode=0o755) for path in above]
    return tree


@dataclass(slots=True)
class _How:
    """The settings that all sources of one path share."""

    remote: Remote
    out: Brought
    word: str
    guard: bool
    until: float
    progress: Progress
    agent: AgentClient | None


def _bring_one(how: _How, source: _Source, target: Path) -> None:
    remote, out = how.remote, how.out
    here = (target.parent if source.single else target).absolute()
    whole = [""] if source.tree is None else [item.path for item in source.tree.items if item.kind == "dir"]
    came = {posixpath.normpath(f"{source.root}/{path}"): path for path in whole}
    with _turn(remote, locations.Endpoints(here, source.root), how.until):
        made = made_folder(here)
        typed_name = target.name if source.single else ""
        names = FreeNames(how.word, guard=how.guard, typed=typed_name)
        tree = _listed_and_carried(how, source, here.resolve(), names)
        linked, left = outside_links.follow(remote, source.root, tree, came)
        out.left += left
        if linked.items:
            how.progress.say("following links that lead out")
            try:
                _by_sftp(how, source.root, here.resolve(), linked, names)
            except NotEnoughSpace as err:
                out.failed.append(("what lies behind links", err.message))
        flush(made)
    out.to.append(str(target))
    out.beside += names.beside
    out.held += names.held
    out.failed += names.lost


def _rules(remote: Remote, root: str) -> Rules:
    """Rules that leave nothing out, except the agent's own files in the home folder."""
    if root == locations.host_path(remote, "~"):
        return Rules(None, exclude=["/.gpunb"], everything=True)
    return outside_links.WHOLE


@contextlib.contextmanager
def _turn(remote: Remote, ends: locations.Endpoints, until: float) -> Iterator[None]:
    """Lock a local target, so that two sessions that end at once fetch one after the other."""
    with contextlib.ExitStack() as held:
        while not _entered(held, locations.lock(remote.connection.endpoint, ends, "down"), until):
            time.sleep(0.2)
        yield


def _entered(held: contextlib.ExitStack, lock: contextlib.AbstractContextManager[None], until: float) -> bool:
    try:
        held.enter_context(lock)
    except SyncError:
        if time.monotonic() > until:
            raise
        return False
    return True


def made_folder(here: Path) -> list[Path]:
    """Make the folder and its parents; return the folders whose entries changed, to be flushed."""
    missing = [path for path in (here, *here.parents) if not path.exists()]
    try:
        here.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        msg = f"the folder {here} can't be made: {err.strerror or err}"
        raise SyncError(msg) from err
    return [here, *(path.parent for path in missing)]


def _listed_and_carried(how: _How, source: _Source, here: Path, names: FreeNames) -> Tree:
    """List the source and fetch what is not here yet, through the agent if there is one."""
    if how.agent is None or (source.tree is not None and not source.single):
        tree = source.tree or scan(how.remote, source.root, _rules(how.remote, source.root))
        _by_sftp(how, source.root, here, tree, names)
        return tree
    host, tree = HostSide(how.agent), Tree()
    flow: Flow[Any] = StreamFlow(host, LocalSide(here, {}, umask()), "", **_options(how))
    try:
        host.look(source.root)
        host.enter_soon(source.root)
        if source.single:
            full = f"{source.root}/{source.single}"
            entry = host.item(full, follow=True)
            if entry is None:
                msg = f"{full} is gone on the host"
                raise NothingThere(msg)
            tree.items = [replace(item_of("", entry), path=source.single)]
        else:
            for folder, entries in host.folders(_rules(how.remote, source.root), tree):
                tree.items += [item_of(folder, entry) for entry in entries]
        _carry(how, flow, here, tree, names)
        flow.over = True
    finally:
        flow.close()
    return tree


def _by_sftp(how: _How, root: str, here: Path, tree: Tree, names: FreeNames) -> None:
    flow = SftpFlow(SftpSide(how.remote, root), LocalSide(here, {}, umask(), sha256), "", **_options(how))
    flow.remote, flow.up, flow.engine = how.remote, False, "sftp"
    try:
        _carry(how, flow, here, tree, names)
    finally:
        flow.close()


def _options(how: _How) -> dict[str, Any]:
    wish = SyncOptions(progress=how.progress)
    return {"wish": wish, "rules": outside_links.WHOLE, "lock": contextlib.nullcontext()}


def _carry(how: _How, flow: Flow[Any], here: Path, tree: Tree, names: FreeNames) -> None:
    """Fetch those files of a tree that are not here yet."""
    out, report = how.out, flow.report
    out.failed += tree.failed
    flow.where, flow.root = f"this machine ({here})", str(here)
    report.plan = plan = names.plan(tree, flow.source, flow.target)
    flow.choose()
    flow.carry_out()
    out.failed += report.failed
    lost = {path for path, _ in report.failed}
    came = [item for item in (*plan.items, *plan.unchanged) if item.path not in lost]
    out.files += len(came)
    out.bytes += sum(item.size for item in came)
    out.moved += report.sent_bytes
    folders = [here, *(here / path for path in names.folders.values() if path)]
    flush([*(here / item.path for item in came if item.kind == "file"), *folders])


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path

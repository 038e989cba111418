"""The host's side of a sync over SFTP: many folders are listed at once, over one channel.

All names that the host lists are checked before they become paths: see `gpunb.sync.planning.side.kept`.
"""

from __future__ import annotations

import contextlib
import stat
from collections import Counter, deque
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from gpunb.agent.shared import file_frames
from gpunb.errors import ProtocolError, SyncError
from gpunb.sync.local.safe_root import part_name
from gpunb.sync.planning.plan import Tree, link_stays_inside
from gpunb.sync.planning.side import entry_at, item_of, kept
from gpunb.sync.sftp import protocol as wire
from gpunb.sync.sftp.digests import whole_digests
from gpunb.sync.sftp.host_tree import encode
from gpunb.sync.sftp.protocol import Attrs, Fault, Request, Stream, Task, string
from gpunb.sync.sftp.tasks import take_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from gpunb.sync.planning.plan import Item
    from gpunb.sync.planning.rules import Rules
    from gpunb.sync.planning.side import Entry
    from gpunb.sync.sftp.host_tree import Remote

__all__ = ["SftpSide", "scan"]

_MOST_ENTRIES = 5_000_000
AHEAD = 100
"""Folders listed at once."""


class SftpSide:
    """A folder on a host without an agent; see `gpunb.sync.planning.side.HostEnd`."""

    local = folds = False
    coarse = True

    def __init__(self, remote: Remote, root: str = "") -> None:
        self.remote, self.root, self.mask = remote, root, 0
        self.alias: dict[str, str] = {}
        self.unkept: Counter[str] = Counter()
        self.attrs, self.real = remote.attrs, remote.real
        self._asked: deque[str] = deque()
        self._listed: dict[str, _Folder] = {}
        self._hashes: deque[list[str | None]] = deque()
        self._reals: dict[str, str] = {}
        self._seen = 0

    def close(self, *, keep: bool = False) -> None:
        """Do nothing: `Remote` closes its channels."""

    def look(self, path: str) -> None:
        """Do nothing: SFTP has no such question."""

    def enter_soon(self, path: str) -> None:
        """Make the existing folder `path` the root of later paths."""
        self.root = path

    # -- listings

    def folders(self, rules: Rules, tree: Tree, *, follow: bool = False) -> Iterator[tuple[str, list[Entry]]]:
        """Yield each folder that goes and its entries that go, parents first; note the rest in `tree`."""
        venvs = bool(rules.pruning()["venvs"])
        todo, ahead = [""], dict[str, _Folder]()
        while todo:
            path = todo.pop()
            if path not in ahead:  # the next ones too: a round trip is not paid for each
                more = islice((one for one in reversed(todo) if one not in ahead), max(0, AHEAD - len(ahead)))
                ahead.update(self._list([path, *more], follow=follow, venvs=venvs))
            folder = ahead.pop(path)
            start = f"{path}/" if path else ""
            if folder.why:
                tree.failed.append((path, folder.why))
                continue
            tree.failed += [(start + name, why) for name, why in folder.failed]
            going = kept(path, folder.listed(), rules, tree, self.mask)
            todo += [start + e.name for e in reversed(going) if e.kind == file_frames.FOLDER]
            yield path, going

    def ask(self, path: str) -> None:
        """Request a folder's listing, which `take` returns."""
        self._asked.append(path)

    def take(self) -> tuple[str, list[Entry], str]:
        """Return the listing that was requested first: path, entries, and why it can't be read."""
        path = self._asked.popleft()
        if path not in self._listed:
            self._listed = self._list([path, *islice(self._asked, AHEAD)], venvs=True)
        folder = self._listed.pop(path)
        return path, folder.listed(), "" if folder.gone else folder.why

    def item(self, path: str, *, follow: bool) -> Entry | None:
        """Return the entry at an absolute path; None if there is none."""
        attrs = self.attrs(path, follow=follow)
        return None if attrs is None else entry_at(path.rpartition("/")[2], attrs, self.mask)

    def _list(self, paths: Iterable[str], *, venvs: bool, follow: bool = False) -> dict[str, _Folder]:
        """List folders at once; then read all their links, and look for environments, at once."""
        folders = {path: _Folder(path) for path in paths}
        self.remote.each(folders.values(), self._fill, lambda *_: None)
        if self._seen > _MOST_ENTRIES:
            msg = f"the host lists more than {_MOST_ENTRIES} files; sync a smaller folder"
            raise SyncError(msg)
        links = _names(folders, file_frames.LINK)
        self.remote.each(links, self._goal, lambda one, why: one.folder.failed.append((one.name, why)))
        for folder in folders.values():
            for name, _ in folder.failed:
                del folder.entries[name]
        if follow:
            self.remote.each((link for link in links if link.leads_out), self._behind, lambda *_: None)
        if venvs:
            self.remote.each(_names(folders, file_frames.FOLDER), self._environment, lambda *_: None)
        return folders

    def _full(self, path: str) -> bytes:
        return string(encode(f"{self.root}/{path}" if path else self.root))

    def _fill(self, folder: _Folder) -> Task:
        try:
            yield from self._read(folder)
        except Fault as fault:
            folder.why = fault.message
            folder.gone = fault.code == wire.NO_SUCH_FILE
            if not folder.gone:  # some servers have one status for all that fails
                about = yield Request(wire.STAT, self._full(folder.path))
                folder.gone = isinstance(about, Attrs) and not stat.S_ISDIR(about.mode or 0)

    def _read(self, folder: _Folder) -> Task:
        handle = yield Request(wire.OPENDIR, self._full(folder.path))
        if not isinstance(handle, bytes) or len(handle) > 256:
            msg = "the host's SFTP server sent no handle"
            raise ProtocolError(msg)

        def take(_tag: int, batch: Any) -> None:
            if not isinstance(batch, list) or not batch:
                msg = "the host's SFTP server sent an empty listing"
                raise ProtocolError(msg)
            self._seen += len(batch)
            if self._seen > _MOST_ENTRIES:
                raise Fault(wire.EOF, "")
            for raw, attrs in batch:
                folder.add(raw.decode("utf-8", "surrogateescape"), attrs)

        ask, ahead = Request(wire.READDIR, string(handle)), 1
        while True:  # a large folder comes in answers of 100 names
            try:
                yield Stream(iter([(0, ask)] * ahead), take)
            except Fault as fault:
                if fault.code != wire.EOF:
                    raise
                break
            ahead = min(16, ahead * 4)
        yield Request(wire.CLOSE, string(handle))

    def _goal(self, one: _Name) -> Task:
        names = yield Request(wire.READLINK, self._full(one.path))
        goal = names[0][0].decode("utf-8", "surrogateescape") if isinstance(names, list) and names else ""
        one.change(goal=goal)

    def _environment(self, one: _Name) -> Task:
        yield Request(wire.LSTAT, self._full(f"{one.path}/pyvenv.cfg"))
        one.change(size=1)

    def _behind(self, one: _Name) -> Task:
        """Put what a link leads to in its place; not a folder that the link is in, nor the system's own."""
        about = yield Request(wire.STAT, self._full(one.path))
        real = yield from self._real(one.path)
        mode = about.mode or 0 if isinstance(about, Attrs) else 0
        if real.startswith(("/proc/", "/sys/", "/dev/")) or not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            return
        above = one.path
        while above and stat.S_ISDIR(mode):
            above = above.rpartition("/")[0]
            if ((yield from self._real(above)) + "/").startswith(real.rstrip("/") + "/"):
                return
        one.folder.entries[one.name] = entry_at(one.name, about)

    def _real(self, path: str) -> Generator[Request | Stream, Any, str]:
        if path not in self._reals:
            names = yield Request(wire.REALPATH, self._full(path))
            text = names[0][0].decode("utf-8", "surrogateescape") if isinstance(names, list) and names else ""
            if not text.startswith("/"):
                msg = "the host's SFTP server gave no real path"
                raise ProtocolError(msg)
            self._reals[path] = text
        return self._reals[path]

    # -- digests

    def hashes_begin(self, paths: Sequence[str]) -> None:
        """Compute the digests that `hashes` returns: SHA-256, by the host's own program."""
        names = [self.alias.get(path, f"{self.root}/{path}") for path in paths]
        self._hashes.append(whole_digests(self.remote.connection, names))

    def hashes(self, _paths: Sequence[str]) -> list[str | None]:
        """Return the digest of each whole file; None for one that can't be read."""
        return self._hashes.popleft()

    # -- as a target

    def room(self, path: str) -> int | None:
        """Bytes free at `path`, which need not exist yet."""
        while self.attrs(path) is None and path != "/":
            path = path.rpartition("/")[0] or "/"
        return self.remote.free_bytes(path)

    def make_root(self, path: str) -> None:
        """Make the target folder, and its parents."""
        self.root = path
        self.remote.make_folders(path)

    def make_folders(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Make folders, parents first; return the failures."""

        def make(item: Item) -> Task:
            yield Request(wire.MKDIR, self._full(item.path) + Attrs(mode=0o700).pack())

        failed = []
        for depth in sorted({item.path.count("/") for item in items}):
            failed += self._each([item for item in items if item.path.count("/") == depth], make)
        return failed

    def make_links(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Make links, each beside its name, which it then takes; return the failures."""

        def make(item: Item) -> Task:
            full = f"{self.root}/{item.path}"
            part = f"{full.rpartition('/')[0]}/{part_name(full.rpartition('/')[2])}"
            yield from _removed(part)
            # OpenSSH's order of arguments, which all servers follow; the draft has the reverse
            yield Request(wire.SYMLINK, string(encode(item.goal)) + string(encode(part)))
            try:
                yield from take_name(self.remote.pump, part, full)
            except Fault:
                yield from _removed(part)
                raise

        return self._each(items, make)

    def set_modes(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Set permissions, and times of files; what the host does not keep is counted, and no failure."""

        def change(item: Item) -> Task:
            about = Attrs(mode=item.mode, mtime=item.mtime if item.kind == "file" else None)
            try:
                yield Request(wire.SETSTAT, self._full(item.path) + about.pack())
            except Fault as fault:
                if fault.code == wire.NO_SUCH_FILE:
                    raise
                self.unkept[fault.message] += 1

        return self._each(items, change)

    def delete(self, paths: Sequence[str], kinds: dict[str, str]) -> list[tuple[str, str]]:
        """Delete files, then folders, deepest first; what is gone already is no failure."""
        failed: list[tuple[str, str]] = []

        def drop(path: str) -> Task:
            kind = wire.RMDIR if kinds.get(path) == "dir" else wire.REMOVE
            try:
                yield Request(kind, self._full(path))
            except Fault as fault:
                if fault.code != wire.NO_SUCH_FILE:
                    raise

        def lost(path: str, why: str) -> None:
            failed.append((path, why))

        folders = [path for path in paths if kinds.get(path) == "dir"]
        self.remote.each((path for path in paths if kinds.get(path) != "dir"), drop, lost)
        for depth in sorted({path.count("/") for path in folders}, reverse=True):
            self.remote.each((path for path in folders if path.count("/") == depth), drop, lost)
        return failed

    def _each(self, items: Iterable[Item], work: Callable[[Item], Task]) -> list[tuple[str, str]]:
        failed: list[tuple[str, str]] = []
        self.remote.each(items, work, lambda item, why: failed.append((item.path, why)))
        return failed


class _Folder:
    """One folder's listing; `why` it can't be read, or that it is `gone`; the links whose goal can't."""

    def __init__(self, path: str) -> None:
        self.path, self.why, self.gone = path, "", False
        self.entries: dict[str, Entry] = {}
        self.failed: list[tuple[str, str]] = []
        self._twice: list[Entry] = []

    def add(self, name: str, attrs: Attrs) -> None:
        """Take one name of the host's answer."""
        if name in self.entries:
            self._twice.append(entry_at(name, attrs))
        elif name not in (".", ".."):
            self.entries[name] = entry_at(name, attrs)

    def listed(self) -> list[Entry]:
        """All entries, in the order of their names' bytes."""
        return sorted([*self.entries.values(), *self._twice], key=lambda entry: encode(entry.name))


class _Name(NamedTuple):
    """One entry about which the host is asked more."""

    folder: _Folder
    name: str

    @property
    def path(self) -> str:
        return f"{self.folder.path}/{self.name}" if self.folder.path else self.name

    @property
    def leads_out(self) -> bool:
        entry = self.folder.entries.get(self.name)
        return entry is not None and not link_stays_inside(self.path, entry.goal)

    def change(self, **facts: Any) -> None:
        self.folder.entries[self.name] = self.folder.entries[self.name]._replace(**facts)


def _names(found: dict[str, _Folder], kind: int) -> list[_Name]:
    return [
        _Name(folder, name)
        for folder in found.values()
        for name, e in folder.entries.items()
        if e.kind == kind
    ]


def _removed(path: str) -> Task:
    with contextlib.suppress(Fault):
        yield Request(wire.REMOVE, string(encode(path)))


def scan(remote: Remote, root: str, rules: Rules) -> Tree:
    """List the whole folder `root` of the host, sorted by path; options as in `gpunb.sync.local.scan`.

    Raises
    ------
    SyncError
        More entries than any honest tree has (5 million).
    """
    tree = Tree()
    for folder, entries in SftpSide(remote, root).folders(rules, tree):
        tree.items += [item_of(folder, entry) for entry in entries]
    tree.items.sort(key=lambda item: item.path)
    return tree

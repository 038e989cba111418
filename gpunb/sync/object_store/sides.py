"""The two sides of a sync with an object store, as the planner sees them.

A store has no folders, no links and no permissions, and its times are those of the upload. So its objects are
files with a tag, which stands where a link's goal would (`Entry.goal`): the MD5, where the store has one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gpunb.agent.shared import file_frames as wire
from gpunb.errors import BadInput
from gpunb.sync.object_store.store_transfer import md5, same_content
from gpunb.sync.object_store.via_host import CannotRun
from gpunb.sync.planning.plan import LeftOut
from gpunb.sync.planning.side import Entry, kept
from gpunb.sync.sftp.side import SftpSide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gpunb.sync.object_store.stores import Stored
    from gpunb.sync.planning.plan import Tree
    from gpunb.sync.planning.rules import Rules
    from gpunb.sync.sftp.host_tree import Remote

__all__ = ["HostBeside", "StoreSide", "mtime_of"]

NEVER = -1  # ns: of an object without a time; no file has it


def mtime_of(item: Stored) -> int:
    """The time of an object in nanoseconds; `NEVER` if it has none."""
    return NEVER if item.mtime is None else item.mtime * wire.NS


class StoreSide:
    """The objects below a URL, as a tree.

    Attributes
    ----------
    objects
        By path.
    clashes
        (path, reason) of objects whose name other objects have as their folder.
    """

    local = folds = False
    coarse = True

    def __init__(self, found: Iterable[Stored]) -> None:
        self.objects = {item.path: item for item in found}
        self.clashes: list[tuple[str, str]] = []
        self._inside: dict[str, dict[str, Entry]] = {"": {}}
        self._asked: deque[str] = deque()
        self._odd = [path for path in self.objects if "" in path.split("/")]
        for item in self.objects.values():
            if "" in item.path.split("/"):
                continue
            above, _, name = item.path.rpartition("/")
            entry = Entry(name, wire.FILE, 0o644, item.size, mtime_of(item), md5(item), item.size)
            names = self._folder(above)
            if name in names:
                self._clash(item.path)
            else:
                names[name] = entry

    def _clash(self, path: str) -> None:
        self.clashes.append((path, "the store has a folder of this name, too; a disk can't"))

    def _folder(self, path: str) -> dict[str, Entry]:
        if path not in self._inside:
            above, _, name = path.rpartition("/")
            names = self._folder(above)
            if name in names:
                self._clash(path)
            names[name] = Entry(name, wire.FOLDER, 0o755)
            self._inside[path] = {}
        return self._inside[path]

    def folders(self, rules: Rules, tree: Tree, *, follow: bool = False) -> Iterator[tuple[str, list[Entry]]]:  # noqa: ARG002
        """Yield each folder that goes and its entries that go; another user's bucket may hold ``../x``."""
        tree.left_out += [LeftOut(path, "name that is not a file name", cant_go=True) for path in self._odd]
        todo = [""]
        while todo:
            path = todo.pop()
            going = kept(path, self._inside[path].values(), rules, tree)
            start = f"{path}/" if path else ""
            todo += [start + entry.name for entry in reversed(going) if entry.kind == wire.FOLDER]
            yield path, going

    def one(self, name: str) -> Entry:
        """The entry of a single object."""
        return self._inside[""][name]

    def ask(self, path: str) -> None:
        """Request a folder's listing, which `take` returns."""
        self._asked.append(path)

    def take(self) -> tuple[str, list[Entry], str]:
        """Return the listing that was requested first."""
        path = self._asked.popleft()
        return path, list(self._inside.get(path, {}).values()), ""

    def hashes_begin(self, paths: Sequence[str]) -> None:
        """Do nothing: the tags are known."""

    def hashes(self, paths: Sequence[str]) -> list[str | None]:
        """Return the tags."""
        return [md5(self.objects[path]) or None for path in paths]


class HostBeside(SftpSide):
    """The host's folder: its digests are made as the store's tags are.

    Parameters
    ----------
    sure
        Where the host can't make digests that is an error; else its files count as what the store has.
    """

    def __init__(self, remote: Remote, root: str, store: StoreSide, *, sure: bool) -> None:
        super().__init__(remote, root)
        self._store, self._sure = store, sure

    def folders(self, rules: Rules, tree: Tree, *, follow: bool = False) -> Iterator[tuple[str, list[Entry]]]:
        """Yield each folder that goes and its entries that go, without links."""
        for path, entries in super().folders(rules, tree, follow=follow):
            start = f"{path}/" if path else ""
            links = [entry for entry in entries if entry.kind == wire.LINK]
            tree.left_out += [LeftOut(start + entry.name, "link: stores have none") for entry in links]
            yield path, [entry for entry in entries if entry.kind != wire.LINK] if links else entries

    def one(self, name: str) -> Entry:
        """The entry of a single file, links followed."""
        entry = self.item(f"{self.root}/{name}", follow=True)
        if entry is None:
            msg = f"source {self.root}/{name} is gone"
            raise BadInput(msg)
        return entry

    def hashes_begin(self, paths: Sequence[str]) -> None:
        """Compute the digests that `hashes` returns."""
        objects = self._store.objects
        tags = {path: md5(objects[path]) for path in paths}
        try:
            sizes = {path: objects[path].size for path in paths}
            same = same_content(self.remote.connection, self.root, tags, sizes)
        except CannotRun:
            if self._sure:
                raise
            same = set(paths)
        self._hashes.append([tags[path] if path in same else None for path in paths])

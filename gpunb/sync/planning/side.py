"""One side of a sync, here or on a host: what the planner and the engines ask of it."""

from __future__ import annotations

from stat import S_IFMT
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gpunb.agent.shared import file_frames as wire
from gpunb.sync.planning.plan import Item, LeftOut, link_stays_inside, why_link_stays
from gpunb.sync.planning.rules import PART

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Sequence

    from gpunb.sync.planning.plan import Tree
    from gpunb.sync.planning.rules import Rules
    from gpunb.sync.sftp.protocol import Attrs

__all__ = ["KINDS", "Entry", "HostEnd", "Side", "entry_at", "item_of", "kept", "name_problem"]

KINDS = {wire.FILE: "file", wire.FOLDER: "dir", wire.LINK: "link", wire.SPECIAL: "special"}
_FORMS = {0o100000: wire.FILE, 0o040000: wire.FOLDER, 0o120000: wire.LINK}
_LONGEST_PATH = 4096


class Entry(NamedTuple):
    """One name in a folder's listing.

    Attributes
    ----------
    kind
        One of `gpunb.agent.shared.file_frames`: FILE, FOLDER, LINK, SPECIAL.
    mode
        Permission bits.
    size
        Bytes of a file; of a folder 1 if it is a virtual environment, else 0.
    mtime
        Unix time in nanoseconds.
    goal
        Where a link leads.
    held
        Bytes of data: less than `size` in a file with holes.
    inode
        0 where it is not known.
    """

    name: str
    kind: int
    mode: int
    size: int = 0
    mtime: int = 0
    goal: str = ""
    held: int = 0
    inode: int = 0


class Side(Protocol):
    """A folder here or on a host, as the source or the target of a sync."""

    local: bool
    coarse: bool
    """It tells times in whole seconds only."""
    root: Any
    alias: dict[str, str]
    """For a single file: its own full path, by its name in the target."""
    unkept: Counter[str]

    # -- as a source

    def folders(self, rules: Rules, tree: Tree, *, follow: bool = False) -> Iterator[tuple[str, list[Entry]]]:
        """Yield each folder that goes and its entries that go, parents first; note the rest in `tree`."""

    def item(self, path: str, *, follow: bool) -> Entry | None:
        """Return the entry at an absolute path; None if there is none."""

    # -- as a target

    @property
    def folds(self) -> bool:
        """Whether it takes names that differ in case for one name."""

    def room(self, path: str) -> int | None:
        """Bytes free at the target `path`, which need not exist yet; None where it is not known."""

    def ask(self, path: str) -> None:
        """Request a folder's listing, which `take` returns."""

    def take(self) -> tuple[str, list[Entry], str]:
        """Return the listing that was requested first: path, entries, and why it can't be read.

        A folder that is not there has no entries and no reason.
        """

    def enter_soon(self, path: str) -> None:
        """Make the existing folder `path` the root of later paths."""

    def make_root(self, path: str) -> None:
        """Make the target folder, and its parents; raises `SyncError` if it can't be."""

    def make_folders(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Make folders, parents first; return the failures: path, reason."""

    def make_links(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Make links; return the failures."""

    def set_modes(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Set permissions, and times of files; return the failures."""

    def delete(self, paths: Sequence[str], kinds: dict[str, str]) -> list[tuple[str, str]]:
        """Delete in this order; return the failures."""

    # -- as both

    def hashes_begin(self, paths: Sequence[str]) -> None:
        """Request digests of whole files, which `hashes` returns."""

    def hashes(self, paths: Sequence[str]) -> list[str | None]:
        """Return the digests that were requested first; None for a file that can't be read."""

    def close(self, *, keep: bool = False) -> None:
        """Close it; with `keep` the connection may be used again."""


class HostEnd(Side, Protocol):
    """A side on a host: it also answers what the checks of a path ask."""

    mask: int
    """Permission bits that the umask removes here."""

    def look(self, path: str) -> None:
        """Fetch at once what the checks of `path` need, where that can be done."""

    def attrs(self, path: str, *, follow: bool = True) -> Attrs | None:
        """Return the attributes of `path`; None if nothing is there."""

    def real(self, path: str) -> str:
        """Return the absolute path of `path`, links followed."""


def item_of(folder: str, entry: Entry) -> Item:
    """Convert an entry of `folder` to a plan item."""
    name, kind, mode, size, mtime, goal, held, inode = entry
    path = f"{folder}/{name}" if folder else name
    seconds, nanos = divmod(mtime, 10**9)
    if kind == wire.FOLDER:
        size = held = 0
    return Item(path, KINDS[kind], size, seconds, mode, goal, nanos, held=min(held, size), inode=inode)


def entry_at(name: str, about: Attrs, mask: int = 0, goal: str = "") -> Entry:
    """Convert attributes to an entry called `name`, without the permission bits of `mask`."""
    mode, size = about.mode or 0, about.size or 0
    kind = _FORMS.get(S_IFMT(mode), wire.SPECIAL)
    if kind != wire.FILE:
        size = 0
    mtime = (about.mtime or 0) * 10**9 + about.nanos
    return Entry(name, kind, mode & 0o777 & ~mask, size, mtime, goal, size, about.inode)


def kept(folder: str, entries: Iterable[Entry], rules: Rules, tree: Tree, mask: int = 0) -> list[Entry]:
    """Those of a host's `entries` of `folder` that go; the rest is noted in `tree`.

    Parameters
    ----------
    mask
        Permission bits that they lose.
    """
    result = []
    start = f"{folder}/" if folder else ""
    names: set[str] = set()
    for entry in entries:
        name, kind = entry.name, entry.kind
        path = start + name
        problem = "name that is listed twice" if name in names else name_problem(name, path)
        names.add(name)
        if problem is not None:
            tree.left_out.append(LeftOut(path[:300], problem, cant_go=True))
            continue
        inside = ("pyvenv.cfg",) if kind == wire.FOLDER and entry.size else ()
        rule = rules.why_out(path, folder=kind == wire.FOLDER, names=inside)
        if rule is not None:
            if not name.startswith(PART):
                tree.left_out.append(LeftOut(path, rule))
        elif kind == wire.LINK and not (
            link_stays_inside(path, entry.goal) and len(entry.goal) < _LONGEST_PATH
        ):
            tree.left_out.append(LeftOut(path, why_link_stays(entry.goal), cant_go=True))
        elif kind in (wire.FILE, wire.FOLDER, wire.LINK):
            result.append(entry._replace(mode=entry.mode & ~mask) if entry.mode & mask else entry)
        else:
            why = "special file: not a file, folder or link"
            tree.left_out.append(LeftOut(path, why, cant_go=True))
    return result


def name_problem(name: str, path: str) -> str | None:
    """Return why a listed name is not a valid path, or None.

    A hostile host may list ``../x`` or ``/etc/passwd`` to make us write there.
    """
    raw = name.encode("utf-8", "surrogateescape")
    if not raw or b"/" in raw or b"\0" in raw or name in (".", ".."):
        return "name that is not a file name"
    if len(raw) > 255 or len(path) > _LONGEST_PATH:
        return "name that is too long"
    return None

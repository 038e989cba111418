"""What a sync will do, computed before any transfer: what is sent, kept and deleted."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

from gpunb.agent.shared.file_listing import stays_inside as link_stays_inside
from gpunb.sync.planning.spilled_list import Spool

_MOST = 10_000
OUT = "link that leads out of the folder"

__all__ = ["Item", "LeftOut", "Plan", "Tree", "link_stays_inside", "why_link_stays"]


@dataclass(slots=True)
class Item:
    """A file, folder or link of one side.

    Attributes
    ----------
    path
        Relative to the sync's root, ``/`` between names; bytes that are not
        UTF-8 are surrogate escapes.
    kind
        "file", "dir" or "link"; in a target also "special".
    size
        Bytes; 0 unless a file.
    mtime
        Unix time in whole seconds, which is what SFTP can carry.
    mode
        Permission bits, the lowest nine; nothing else travels.
    goal
        Where a link leads.
    nanos
        What `mtime` lacks, in nanoseconds; only the stream engine carries it.
    base
        For a file, what the target could begin with: -1 is nothing, else
        the size of the existing file.
    part
        Whether the target has a partial file of an earlier try.
    held
        Bytes of data: less than `size` in a file with holes; -1 where it is not known.
    inode
        Of the file as it was listed; 0 where it is not known.
    """

    path: str
    kind: str
    size: int = 0
    mtime: int = 0
    mode: int = 0
    goal: str = ""
    nanos: int = 0
    base: int = -1
    part: bool = False
    held: int = -1
    inode: int = 0

    @property
    def room(self) -> int:
        """Bytes that the file takes on a disk that supports sparse files."""
        return self.size if self.held < 0 else self.held

    @property
    def mtime_ns(self) -> int:
        """The mtime in nanoseconds."""
        return self.mtime * 10**9 + self.nanos


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path that is not sent, and the rule that leaves it out."""

    path: str
    rule: str
    cant_go: bool = False
    """No rule's choice: a link that leads out, a pipe, a name that no path can have."""

    @property
    def stays(self) -> bool:
        """Whether even ``--mirror`` keeps what the target has at this path."""
        return self.cant_go or self.rule.startswith(("default: ", "secret: "))


@dataclass(slots=True)
class Tree:
    """The listing of one side: its items, paths that a rule hides, paths that could not be read."""

    items: list[Item] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """What one sync does.

    Attributes
    ----------
    items
        Files and links that go: new ones and changed ones.
    folders
        Folders to be made, parents first.
    modes
        Files and folders whose content is right and permissions are not.
    unchanged
        Files and links that are there already (same size and time).
    deletions
        Paths to be deleted in the target, deepest first.
    left_out
        Paths of the source that stay, each with its rule.
    blocked
        Paths that can't go, each with the reason: the target has something of
        another kind there.
    notes
        Notes that the user must see.
    total_bytes
        Bytes of `items`.
    room_bytes
        Bytes of data in `items`: without their holes, which take no room.
    replaced_bytes
        Bytes of the target's files that `items` replace.
    kinds
        Of each deletion: "file", "dir", "link" or "special".
    deleted_bytes
        Bytes of data in the deletions.
    met
        Files and links of the source that the target has too, in whatever state.
    closed
        Folders of the target that their owner can't write into, with the mode
        that they have in the end.
    """

    items: Spool | list[Item] = field(default_factory=Spool)
    folders: Spool | list[Item] = field(default_factory=Spool)
    modes: Spool | list[Item] = field(default_factory=Spool)
    unchanged: Spool | list[Item] = field(default_factory=Spool)
    deletions: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    blocked: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    total_bytes: int = 0
    room_bytes: int = 0
    replaced_bytes: int = 0
    kinds: dict[str, str] = field(default_factory=dict)
    deleted_bytes: int = 0
    met: int = 0
    closed: list[Item] = field(default_factory=list)

    def opened(self) -> list[Item]:
        """The folders of `closed` in which something changes, parents first, made writable for the owner."""
        if not self.closed:
            return []
        paths = chain((item.path for item in chain(self.items, self.folders)), self.deletions)
        needed = {path.rpartition("/")[0] for path in paths}
        return [replace(item, mode=item.mode | 0o700) for item in self.closed if item.path in needed]

    def needed_bytes(self) -> int:
        """Room that the target needs: each new file exists beside the old one for a while."""
        most = max((item.room for item in self.items), default=0)
        return min(self.room_bytes, self.room_bytes - self.replaced_bytes + most)

    def largest(self, count: int = 5) -> list[Item]:
        """The `count` largest files that are sent, largest first."""
        return heapq.nlargest(count, self.items, key=lambda item: item.size)

    def data(self) -> dict[str, Any]:
        """The plan for ``--json``: the first 10,000 of each list, and its length."""
        return {
            "items": [{"path": i.path, "kind": i.kind, "bytes": i.size} for i in islice(self.items, _MOST)],
            "folders": [i.path for i in islice(self.folders, _MOST)],
            "modes": [i.path for i in islice(self.modes, _MOST)],
            "counts": {
                name: len(getattr(self, name))
                for name in ("items", "folders", "modes", "deletions", "left_out")
            },
            "unchanged": len(self.unchanged),
            "deletions": self.deletions[:_MOST],
            "left_out": [{"path": o.path, "rule": o.rule} for o in self.left_out[:_MOST]],
            "blocked": [{"path": path, "reason": reason} for path, reason in self.blocked],
            "notes": list(self.notes),
            "total_bytes": self.total_bytes,
        }


def why_link_stays(goal: str) -> str:
    """The reason why a link is not sent."""
    if goal.startswith("/") or not goal:
        return f"{OUT}: {goal[:300]}"
    parts = goal.split("/")
    if ".." in parts[next((n for n, part in enumerate(parts) if part != ".."), 0) :]:
        return f"link that steps up in the middle of its way, where another link may lead out: {goal[:300]}"
    return f"{OUT}: {goal[:300]}"

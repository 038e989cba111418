"""What a run wrote into a folder: the files that differ from those that were sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpunb.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gpunb.sync.planning.plan import Item, Tree

__all__ = ["BOUND", "SentFolder", "mark"]

BOUND = 2 << 30
"""Bytes that come back without having been named."""


def mark(item: Item) -> str:
    """A text that changes when the file or link changes; of all that SFTP tells."""
    return f"> {item.goal}" if item.kind == "link" else f"{item.size} {item.mtime}"


@dataclass(frozen=True, slots=True)
class SentFolder:
    """A folder as it was sent.

    Attributes
    ----------
    folder
        Its path on the host.
    files
        Path in it -> `mark`, of each file and link.
    bound
        Bytes that come back; larger files than the rest has room for stay and are named. None is no limit.
    """

    folder: str
    files: Mapping[str, str] = field(repr=False)
    bound: int | None = BOUND

    @classmethod
    def of(cls, folder: str, items: Iterable[Item]) -> SentFolder:
        """The folder that held `items` when it was sent."""
        return cls(folder, {item.path: mark(item) for item in items})

    def keep_written(self, tree: Tree) -> list[tuple[str, str]]:
        """Drop from `tree` what was sent and has not changed; returns (path, reason) of what is too large.

        Folders stay where something in them does.
        """
        written = [one for one in tree.items if one.kind != "dir" and self.files.get(one.path) != mark(one)]
        beyond: list[tuple[str, str]] = []
        if self.bound is not None:
            left, kept = self.bound, []
            for item in sorted(written, key=lambda one: (one.size, one.path)):
                if item.size <= left:
                    kept.append(item)
                    left -= item.size
                else:
                    most = bytes_text(self.bound)
                    beyond.append((item.path, f"{bytes_text(item.size)}; more than {most} comes if named"))
            written = kept
        above = {up for item in written for up in _above(item.path)}
        folders = [one for one in tree.items if one.kind == "dir" and one.path in above]
        tree.items = sorted([*folders, *written], key=lambda one: one.path)
        return beyond


def _above(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]

"""A side of a sync in memory: what the planner decides is seen without a disk or a host."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import file_frames as wire
from gpunb.sync.planning.plan import Tree
from gpunb.sync.planning.planner import Merge
from gpunb.sync.planning.rules import Rules
from gpunb.sync.planning.side import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gpunb.sync.planning.plan import Plan

__all__ = ["MemorySide", "folder", "link", "planned", "text"]


def text(size: int = 1, mtime: int = 5, mode: int = 0o644) -> Entry:
    return Entry("", wire.FILE, mode, size, mtime * 10**9, "", size, 0)


def folder(mode: int = 0o755) -> Entry:
    return Entry("", wire.FOLDER, mode)


def link(goal: str) -> Entry:
    return Entry("", wire.LINK, 0o777, goal=goal)


class MemorySide:
    """A folder whose entries are given by their paths; `digests` by theirs."""

    local, coarse, folds = True, False, False

    def __init__(self, entries: dict[str, Entry], digests: dict[str, str] | None = None) -> None:
        self._inside: dict[str, list[Entry]] = {"": []}
        for path in sorted(entries):
            above, _, name = path.rpartition("/")
            self._inside[above].append(entries[path]._replace(name=name))
            if entries[path].kind == wire.FOLDER:
                self._inside[path] = []
        self._digests = digests or {}
        self._asked: deque[str] = deque()

    def folders(self, *_: Any, **__: Any) -> Iterator[tuple[str, list[Entry]]]:
        yield from self._inside.items()

    def ask(self, path: str) -> None:
        self._asked.append(path)

    def take(self) -> tuple[str, list[Entry], str]:
        path = self._asked.popleft()
        return path, self._inside.get(path, []), ""

    def hashes_begin(self, paths: Sequence[str]) -> None:
        pass

    def hashes(self, paths: Sequence[str]) -> list[str | None]:
        return [self._digests.get(path) for path in paths]


def planned(
    source: dict[str, Entry], target: dict[str, Entry], tree: Tree | None = None, **options: Any
) -> Plan:
    """The plan that makes `target` hold what `source` holds; `tree` has what stays in the source."""
    one, two = MemorySide(source), MemorySide(target)
    merge = Merge(Rules(None), tree or Tree(), two, exists=True, **options)  # type: ignore[arg-type]
    plan = merge.run(one.folders())
    merge.compare_content(one)  # type: ignore[arg-type]
    return plan

"""A list of plan items that spills to disk: a million files fit into a plan."""

from __future__ import annotations

import os
import pickle
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gpunb.sync.planning.plan import Item

__all__ = ["Spool"]

CHUNK = 2000
"""Items that are kept as objects, and written to the disk together."""
HELD = 10 * CHUNK


class Spool:
    """An append-only list; beyond 20,000 items the older ones are in a temporary file."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._new: list[Item] = []
        self._chunks: list[tuple[int, int]] = []
        self._file: Any = None
        self._count = 0
        for item in items:
            self.append(item)

    def append(self, item: Item) -> None:
        """Append one item."""
        self._new.append(item)
        self._count += 1
        if len(self._new) >= HELD:
            self._store()

    def _store(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="gpunb-plan-")  # noqa: SIM115 - lives as long as we
        at = self._file.seek(0, os.SEEK_END)
        for start in range(0, len(self._new), CHUNK):
            fields = [
                (i.path, i.kind, i.size, i.mtime, i.mode, i.goal, i.nanos, i.base, i.part, i.held, i.inode)
                for i in self._new[start : start + CHUNK]
            ]
            data = pickle.dumps(fields, protocol=5)  # read back by us alone, from an unnamed file
            self._file.write(data)
            self._chunks.append((at, len(data)))
            at += len(data)
        self._file.flush()
        self._new = []

    def __iter__(self) -> Iterator[Item]:
        from gpunb.sync.planning.plan import Item

        for at, size in list(self._chunks):
            for fields in pickle.loads(os.pread(self._file.fileno(), size, at)):  # noqa: S301
                yield Item(*fields)
        yield from self._new

    def __reversed__(self) -> Iterator[Item]:
        yield from reversed(self._new)
        from gpunb.sync.planning.plan import Item

        for at, size in reversed(self._chunks):
            for fields in reversed(pickle.loads(os.pread(self._file.fileno(), size, at))):  # noqa: S301
                yield Item(*fields)

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | Spool):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: int) -> Item:
        for number, item in enumerate(self):
            if number == index:
                return item
        raise IndexError(index)

    def __repr__(self) -> str:
        return f"Spool({len(self)} items)"

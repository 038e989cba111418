"""Folding of what several ranks say: what is equal is shown once, and named after its ranks.

`Fold` joins items that are equal by their keys; it knows nothing of text. `Lines` cuts a rank's stream into
whole lines that can stand beside those of other ranks: none can move the cursor, colour what follows, or
break out of its line.
"""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.text import RESET, Escapes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

__all__ = ["Fold", "Lines", "Piece", "ranks_text"]

HOLD_S = 0.3  # how long an item waits for the same one of the other ranks
MOST_HELD = 5_000  # items of one rank that wait
MOST_SIZE = 4 << 20  # characters of one rank that wait
LONGEST = 64 << 10  # characters of one line; a longer one goes on in the next
UNFINISHED_S = 1.0  # after which the beginning of a line is shown
REDRAWN_S = 10.0  # the same of a line that is drawn again and again, such as a progress bar

_MOVES = re.compile("\x1b\\[[0-9]*[A-HJKSTf]|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029]")
_COLOUR = re.compile("\x1b\\[[0-9;:]*m")


def ranks_text(ranks: Iterable[int]) -> str:
    """Write ranks as ranges: ``0-3,5``.

    >>> ranks_text([3, 0, 1, 2, 5])
    '0-3,5'
    """
    runs: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


@dataclass(frozen=True, slots=True)
class Piece:
    """What `ranks` have said: ``items`` by rank, which are equal by their key."""

    ranks: tuple[int, ...]
    items: tuple[Any, ...]


@dataclass(slots=True)
class _Held:
    since: float
    key: Hashable
    item: Any
    size: int


class Fold:
    """Joins equal items of several ranks. Each rank's items stay in their order, and none is lost.

    An item waits until all ranks have said something, but no longer than `hold` seconds: a rank that is
    silent or slow holds nobody back.

    Parameters
    ----------
    ranks
        Those that may say something, until `end`.
    clock
        Seconds that only grow.
    """

    def __init__(
        self, ranks: Iterable[int], *, hold: float = HOLD_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queues: dict[int, deque[_Held]] = {rank: deque() for rank in sorted(ranks)}
        self._keys: dict[int, Counter[Hashable]] = {rank: Counter() for rank in self._queues}
        self._sizes = dict.fromkeys(self._queues, 0)
        self._open = set(self._queues)
        self._hold = hold
        self._clock = clock

    def put(self, rank: int, key: Hashable, item: Any, size: int = 1) -> None:
        """Add an item of `rank`; `size` is what it takes of the memory for what waits."""
        self._queues[rank].append(_Held(self._clock(), key, item, size))
        self._keys[rank][key] += 1
        self._sizes[rank] += size

    def end(self, rank: int) -> None:
        """Note that `rank` says no more: nobody waits for it."""
        self._open.discard(rank)

    @property
    def due(self) -> float | None:
        """Seconds until something that waits must be shown; None if nothing waits."""
        since = min((queue[0].since for queue in self._queues.values() if queue), default=None)
        return None if since is None else max(0.0, since + self._hold - self._clock())

    def take(self, *, everything: bool = False) -> list[Piece]:
        """Remove and return what is to be shown now, in order; `everything` waits for nobody."""
        result: list[Piece] = []
        while True:
            heads = {rank: queue[0] for rank, queue in self._queues.items() if queue}
            if not heads:
                return result
            alike: dict[Hashable, list[int]] = {}
            for rank, held in heads.items():
                alike.setdefault(held.key, []).append(rank)
            if not everything and any(not self._queues[rank] for rank in self._open):
                late = self._clock() - self._hold
                alike = {
                    key: ranks
                    for key, ranks in alike.items()
                    if any(heads[rank].since <= late or self._full(rank) for rank in ranks)
                }
                if not alike:
                    return result
            ranks = alike[self._choose(alike)]
            result.append(Piece(tuple(ranks), tuple(self._pop(rank) for rank in ranks)))

    def _choose(self, alike: dict[Hashable, list[int]]) -> Hashable:
        """The first key that no other rank still has behind another; else that of the lowest rank."""
        if len(alike) > 1:
            for key, ranks in alike.items():
                if not any(many[key] for rank, many in self._keys.items() if rank not in ranks):
                    return key
        return next(iter(alike))

    def _full(self, rank: int) -> bool:
        return len(self._queues[rank]) >= MOST_HELD or self._sizes[rank] >= MOST_SIZE

    def _pop(self, rank: int) -> Any:
        held = self._queues[rank].popleft()
        many = self._keys[rank]
        many[held.key] -= 1
        if not many[held.key]:
            del many[held.key]
        self._sizes[rank] -= held.size
        return held.item


class Lines:
    """Cuts one stream of a rank into lines. Each begins with the colours that it has, and ends plain.

    What a carriage return would overwrite in a terminal is left out: the journal on the host has it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._escapes = Escapes()
        self._part = ""  # the line that is not finished
        self._since = 0.0
        self._redrawn = False
        self._shown = False  # whether its beginning was shown already
        self._colour = ""

    def feed(self, text: str) -> list[str]:
        """Return the lines that are finished by `text`."""
        *whole, rest = (self._part + self._escapes.feed(text)).split("\n")
        if whole or not self._part:
            self._since = self._clock()
        lines: list[str] = []
        for line in whole:
            shown, self._shown, self._redrawn = self._shown, False, False
            if line.strip("\r") or not shown:  # an empty rest of a line that was shown is no line
                lines.append(self._line(line))
        at = _last_draft(rest)
        self._redrawn = self._redrawn or at > 0
        self._part = rest[at:]
        while len(self._part) > LONGEST:
            lines.append(self._line(self._part[:LONGEST]))
            self._part = self._part[LONGEST:]
            self._shown = True
        return lines

    def unfinished(self) -> list[str]:
        """Return the beginning of a line that has waited for its end for too long."""
        limit = REDRAWN_S if self._redrawn else UNFINISHED_S
        if not self._part.strip("\r") or self._clock() - self._since < limit:
            return []
        self._since = self._clock()
        return self._cut()

    @property
    def waits(self) -> bool:
        """Whether the beginning of a line is held."""
        return bool(self._part)

    def cut(self) -> list[str]:
        """Return the beginning of a line now: something else is shown after it."""
        return self._cut() if self._part.strip("\r") else []

    def finish(self) -> list[str]:
        """Return what is left at the end of the stream."""
        self._part += self._escapes.finish()
        return self._cut() if _COLOUR.sub("", self._part).strip("\r") else []

    def _cut(self) -> list[str]:
        part, self._part, self._shown = self._part, "", True
        return [self._line(part)]

    def _line(self, text: str) -> str:
        if "\r" in text:
            text = text.rstrip("\r")
            text = text[_last_draft(text) :]
        if not text.isprintable():
            text = _MOVES.sub("", text)
        if "\x1b" not in text and not self._colour:
            return text
        text = self._colour + text
        at = max(text.rfind(end) + len(end) if end in text else 0 for end in (RESET, "\x1b[m"))
        self._colour = "".join(_COLOUR.findall(text, at))
        if len(self._colour) > 64:
            self._colour = ""
        return text + RESET


def _last_draft(text: str) -> int:
    """Where the last version of a line begins that was drawn several times."""
    return text.rstrip("\r").rfind("\r") + 1

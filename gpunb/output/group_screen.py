"""One screen for the output of several ranks: equal lines once, each with its ranks before it.

A `GroupScreen` stands before the sink of a frontend, and gives each rank a sink of its own. Every line that a
host prints is shown behind ``[2]``, so that a rank can't pass for another one, or for gpunb.
"""

from __future__ import annotations

import html
import json
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpunb.hints import typed
from gpunb.output.folding import Fold, Lines, ranks_text
from gpunb.text import RESET, clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gpunb.output.sinks import Sink

__all__ = ["GroupScreen", "RankSink"]

WIDGET = "application/vnd.jupyter.widget-view+json"  # its model would be another kernel's
PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif")
MOST_PICTURE = 2 << 20  # characters of one picture that is unfolded
MOST_TEXT = 20_000  # the same of a text
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*\Z")
_TOKEN = re.compile("\x1b\\[[0-9;:]*m|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Said:
    """A line, a note or a display of one rank."""

    kind: str  # "stdout", "stderr", "note" or "shown"
    text: str = ""
    content: dict[str, Any] | None = None


class GroupScreen:
    """Shows what the ranks of a group print in one sink.

    Parameters
    ----------
    inner
        The frontend's sink.
    ranks
        Those that run.
    rich
        Whether displays are shown as they are, those of the lowest rank first and the others to unfold. Else
        they are their text.
    width
        Columns of the terminal: longer lines are broken, and begin with their ranks again. 0 breaks none.
    """

    def __init__(
        self,
        inner: Sink,
        ranks: Iterable[int],
        *,
        rich: bool = False,
        width: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inner = inner
        self.rich = rich
        self.width = width
        self.clock = clock
        self._sinks = {rank: RankSink(self, rank) for rank in ranks}
        self.fold = Fold(self._sinks, clock=clock)
        self._owner = threading.get_ident()
        self._notes: deque[tuple[int, str]] = deque()
        self._ids: set[tuple[int, str]] = set()  # displays that are shown, by rank and display id

    def sink(self, rank: int) -> RankSink:
        """The sink of one rank."""
        return self._sinks[rank]

    @property
    def due(self) -> float | None:
        """Seconds until `show` has something to do without a new output; None if nothing waits."""
        due = self.fold.due
        return 0.5 if due is None and any(sink.waits for sink in self._sinks.values()) else due

    def note(self, rank: int, text: str) -> None:
        """Take a note on a rank, also from the thread that reads what its host sends."""
        if threading.get_ident() == self._owner:
            self._sinks[rank].put("note", text)
        else:
            self._notes.append((rank, text))

    def show(self, *, everything: bool = False) -> None:
        """Show what is to be shown now."""
        while self._notes:
            rank, text = self._notes.popleft()
            self._sinks[rank].put("note", text)
        for sink in self._sinks.values():
            sink.tell_unfinished()
        stream, text = "", ""
        for piece in self.fold.take(everything=everything):
            said: _Said = piece.items[0]
            if said.kind in {"stdout", "stderr"}:
                if said.kind != stream and text:
                    self.inner.stream(stream, text)
                    text = ""
                stream = said.kind
                text += self._lines(ranks_text(piece.ranks), said.text)
                continue
            if text:
                self.inner.stream(stream, text)
                text = ""
            if said.kind == "note":
                self.inner.note(f"[{ranks_text(piece.ranks)}] {said.text}")
            else:
                self._display(piece.ranks, [one.content for one in piece.items])
        if text:
            self.inner.stream(stream, text)

    def finish(self) -> None:
        """Show all that is left."""
        self.show(everything=True)
        self.inner.finish()

    def update(self, rank: int, content: dict[str, Any]) -> bool:
        """Change a display that is shown; returns whether it is. One that was folded away stays as it was."""
        known = (rank, _display_id(content)) in self._ids
        if known:
            self.inner.display(content, update=True)
        return known

    def _lines(self, ranks: str, text: str) -> str:
        head = f"[{ranks}] "
        room = self.width - len(head)
        if self.width <= 0 or room < 20 or (len(text) <= room and text.isascii() and text.isprintable()):
            return f"{head}{text}\n"
        return "".join(f"{head}{part}\n" for part in _broken(text.expandtabs(8), room))

    def _display(self, ranks: tuple[int, ...], contents: list[Any]) -> None:
        first, *rest = contents
        alike = all(_bundle(one) == _bundle(first) for one in rest)
        shown = ranks if alike else ranks[:1]
        self.inner.stream("stdout", f"[{ranks_text(shown)}] shows:\n")
        name = _display_id(first)
        if name:
            self._ids.add((ranks[0], name))
        self.inner.display(first, update=False)
        if not alike:
            text, page = _unfolding(ranks[1:], rest)
            self.inner.display(
                {"data": {"text/plain": text, "text/html": page}, "metadata": {}}, update=False
            )


class RankSink:
    """The sink of one rank of a `GroupScreen`."""

    def __init__(self, screen: GroupScreen, rank: int) -> None:
        self.rank = rank
        self._screen = screen
        self._lines = {name: Lines(screen.clock) for name in ("stdout", "stderr")}
        self._displays = 0
        self._waiting: dict[str, dict[str, Any]] = {}  # displays by their display id

    def put(self, kind: str, text: str) -> None:
        """Take a line or a note."""
        self._screen.fold.put(self.rank, (kind, text), _Said(kind, text), len(text) + 1)

    def stream(self, name: str, text: str) -> None:
        """Take printed text; its whole lines are shown."""
        for line in self._lines[name].feed(text):
            self.put(name, line)

    @property
    def waits(self) -> bool:
        """Whether the beginning of a line is held."""
        return any(lines.waits for lines in self._lines.values())

    def tell_unfinished(self) -> None:
        """Take the beginning of a line whose end does not come."""
        for name, lines in self._lines.items():
            for line in lines.unfinished():
                self.put(name, line)

    def _whole(self) -> None:
        """Take what is printed before something else: no display stands before it."""
        for name, lines in self._lines.items():
            for line in lines.cut():
                self.put(name, line)

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Take a display: each rank's first belongs to the other ranks' first, and so on."""
        data = content.get("data")
        data = {kind: one for kind, one in data.items() if kind != WIDGET} if isinstance(data, dict) else {}
        name = _display_id(content)
        if update:
            if not self._screen.update(self.rank, {**content, "data": data}) and name in self._waiting:
                self._waiting[name]["data"] = data
            return
        text = data.get("text/plain")
        if self._screen.rich and set(data) - {"text/plain"}:
            self._whole()
            self._displays += 1
            said = _Said("shown", "", {**content, "data": data})
            if name and said.content is not None:
                self._waiting[name] = said.content
            size = sum(len(one) for one in data.values() if isinstance(one, str))
            self._screen.fold.put(self.rank, ("shown", self._displays), said, size)
        elif isinstance(text, str) and text:
            self._whole()
            self.stream("stdout", f"{text}\n")

    def result(self, content: dict[str, Any]) -> None:
        """Take the value of the cell's last line, as a display."""
        self.display(content, update=False)

    def error(self, content: dict[str, Any]) -> None:
        """Take a traceback that did not end its cell, as text."""
        self._whole()
        self.stream("stderr", "\n".join(content["traceback"]) + "\n")

    def clear(self, *, wait: bool) -> None:
        """Do nothing: what the other ranks have shown stays."""

    def ask(self, prompt: str, *, password: bool) -> str:
        """Ask the user, after all that was said before."""
        self._whole()
        self._screen.show(everything=True)
        return self._screen.inner.ask(f"[{self.rank}] {clean(prompt)} ", password=password)

    def note(self, text: str) -> None:
        """Take a note of gpunb's."""
        self._screen.note(self.rank, clean(text))

    def offer(self, run_id: str, text: str) -> None:
        """Say how to see what was left out."""
        self.note(f"{text}; " + typed("logs", run_id, "--trust") + " shows it as it is")

    def finish(self) -> None:
        """Take what is left; nobody waits for this rank from now on."""
        for name, lines in self._lines.items():
            for line in lines.finish():
                self.put(name, line)
        self._screen.fold.end(self.rank)


def _display_id(content: dict[str, Any]) -> str:
    return str((content.get("transient") or {}).get("display_id") or "")


def _bundle(content: Any) -> str:
    return json.dumps(content.get("data"), sort_keys=True, default=str)


def _unfolding(ranks: tuple[int, ...], contents: list[Any]) -> tuple[str, str]:
    """What the other ranks have shown, as text and as HTML to unfold: pictures and texts alone.

    A host's own HTML is not among it: it could look like another rank's.
    """
    texts, pages = [], []
    for rank, content in zip(ranks, contents, strict=True):
        data = content["data"]
        text = str(data.get("text/plain", ""))[:MOST_TEXT]
        texts.append("".join(f"[{rank}] {line}\n" for line in text.splitlines()))
        pages.append(f"<div>[{rank}]</div>{_page(data, text)}")
    head = f"{'rank' if len(ranks) == 1 else 'ranks'} {ranks_text(ranks)}"
    return "".join(texts), f"<details><summary>{head}</summary>{''.join(pages)}</details>"


def _page(data: dict[str, Any], text: str) -> str:
    for kind in PICTURES:
        value = data.get(kind)
        picture = "".join(value) if isinstance(value, list) else value
        if isinstance(picture, str) and len(picture) <= MOST_PICTURE and _BASE64.match(picture):
            return f'<img src="data:{kind};base64,{"".join(picture.split())}">'
    return f"<pre>{html.escape(clean(text, lines=True))}</pre>"


def _broken(text: str, room: int) -> Iterator[str]:
    """Break a line after `room` columns; colours go on in the next part."""
    from rich.cells import cell_len

    part, colour, used = "", "", 0
    for token in _TOKEN.findall(text):
        if token.startswith("\x1b"):
            part, colour = part + token, "" if token in (RESET, "\x1b[m") else colour + token
            continue
        size = 1 if token.isascii() else cell_len(token)
        if used + size > room:
            yield part + (RESET if colour else "")
            part, used = colour, 0
        part, used = part + token, used + size
    yield part

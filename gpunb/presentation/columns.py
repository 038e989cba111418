"""Table columns, and the choice of those that fit a terminal.

A figure is shown whole or not at all: a narrow terminal drops columns in a stated order, then turns
each row into a few lines; it never cuts a cell's digits or folds a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["GAP", "RULE", "Column", "Layout", "drawn", "fit"]

GAP = 2  # blanks between two columns
RULE = "\u2500"
_WORD_MAX = 28  # a longer word (an id, a path) may be folded


class Column(NamedTuple):
    """One column of a table.

    Parameters
    ----------
    heading
        Its heading.
    right
        Numbers: right-aligned, on one line.
    drop
        0 stays as long as there is a table; of the others the largest goes first.
    wrap
        Whether a cell may take several lines, broken between words.
    """

    heading: str
    right: bool = False
    drop: int = 0
    wrap: bool = False

    @classmethod
    def of(cls, heading: str | Column, *, first: bool = False) -> Column:
        """Return a column for `heading`; ``">cost"`` is right-aligned; text wraps, except the first."""
        if isinstance(heading, Column):
            return heading
        right = heading.startswith(">")
        return cls(heading.removeprefix(">"), right=right, wrap=not right and not first)


class Layout(NamedTuple):
    """The columns to show, by index, each with its width in terminal cells; without any, rows are stacked."""

    shown: tuple[int, ...]
    widths: tuple[int, ...]


def fit(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> Layout:
    """Choose the `columns` that fit into `width` terminal cells, and their widths.

    Parameters
    ----------
    columns
        The columns.
    cells
        Rows (and the total) of texts, each as long as `columns`.
    width
        Terminal cells in a line.
    """
    cell_len: Callable[[str], int] = len  # where all is ASCII rich is not needed, nor imported
    if not all(text.isascii() for row in ([column.heading for column in columns], *cells) for text in row):
        from rich.cells import cell_len
    whole, least = [], []
    for index, column in enumerate(columns):
        texts = [column.heading, *(row[index] for row in cells)]
        natural = max(cell_len(text) for text in texts)
        words = max((cell_len(word) for text in texts for word in text.split()), default=0)
        whole.append(natural)
        least.append(
            min(natural, max(cell_len(column.heading), min(words, _WORD_MAX))) if column.wrap else natural
        )
    shown = list(range(len(columns)))
    while _line(least, shown) > width:
        index = max(reversed(shown), key=lambda at: columns[at].drop)
        if not columns[index].drop:
            return Layout((), ())
        shown.remove(index)
    for at in sorted(set(range(len(columns))) - set(shown), key=lambda at: columns[at].drop):
        # a wide column may have been dropped after narrow ones that fit without it
        if _line(least, [*shown, at]) <= width:
            shown = sorted([*shown, at])
    widths = {at: whole[at] for at in shown}
    while (over := _line(widths, shown) - width) > 0:
        wide = max((at for at in shown if widths[at] > least[at]), key=lambda at: widths[at])
        widths[wide] -= min(over, widths[wide] - least[wide])
    return Layout(tuple(shown), tuple(widths[at] for at in shown))


def _line(widths: Sequence[int] | dict[int, int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + GAP * (len(shown) - 1)


def drawn(
    columns: Sequence[Column],
    layout: Layout,
    lines: Sequence[Sequence[tuple[str, str]]],
    *,
    total: bool,
) -> list[str] | None:
    """Draw a table as rich does, without importing it; None if a cell has to be wrapped.

    Parameters
    ----------
    lines
        The headings, the rows, and the total if there is one: of each cell its ASCII text and the
        code that begins its style ("" is none).
    """
    out = []
    rule = RULE * _line(layout.widths, range(len(layout.widths)))
    for number, line in enumerate(lines):
        row = []
        for at, room in zip(layout.shown, layout.widths, strict=True):
            text, style = line[at]
            if len(text) > room or not (text.isascii() and text.isprintable()) or text != text.strip():
                return None
            blank = " " * (room - len(text))
            shown = f"{style}{text}\x1b[0m" if style and text else text
            row.append(blank + shown if columns[at].right else shown + blank)
        if total and number == len(lines) - 1:
            out.append(" " * len(rule))
        out.append((" " * GAP).join(row))
        if number == 0:
            out.append(rule)
    return out

"""The result of a verb, shown in three ways: terminal (rich), notebook (HTML), ``--json``.

A result is a few blocks: notes, tables, fields, code. Their text may come from
a host or a cloud, so it is cleaned of control characters when a block is made
and escaped when it becomes HTML or rich text.
"""

from __future__ import annotations

import enum
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gpunb.hints import Hint, written
from gpunb.presentation.columns import GAP, Column, drawn, fit
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

__all__ = ["Cell", "Code", "Fields", "Note", "Opening", "Result", "Table", "to_json"]

_STYLES = {
    "": "",
    "ok": "green",
    "info": "cyan",
    "warn": "yellow",
    "bad": "bold red",
    "dim": "bright_black",
    "strong": "bold",
}
# the same for a terminal that is written to without rich
_CODES = {
    "": "",
    "ok": "\x1b[32m",
    "info": "\x1b[36m",
    "warn": "\x1b[33m",
    "bad": "\x1b[1;31m",
    "dim": "\x1b[90m",
    "strong": "\x1b[1m",
}
_CSS = {
    "": "",
    "ok": "color:var(--jp-success-color1,#388e3c)",
    "info": "color:var(--jp-info-color1,#0288d1)",
    "warn": "color:var(--jp-warn-color1,#b26a00)",
    "bad": "color:var(--jp-error-color1,#d32f2f);font-weight:600",
    "dim": "opacity:.65",
    "strong": "font-weight:600",
}


def escape(text: str, *, quote: bool = True) -> str:
    """Escape for HTML; the module comes with a table of 2,000 entities, which no terminal needs."""
    from html import escape as escaped

    return escaped(text, quote)


def to_json(value: Any) -> str:
    """Return `value` as strict JSON: ASCII, no NaN, unknown types as text."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=True, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return str(value)


class Cell(NamedTuple):
    """A piece of text with a tone: "", ok, info, warn, bad, dim or strong.

    `link` is an address that we made.
    """

    text: str
    tone: str = ""
    link: str = ""

    @classmethod
    def of(cls, value: object) -> Cell:
        """Return `value` as a cell; None gives an empty one."""
        if isinstance(value, Cell):
            return cls(cls.of(value.text).text, value.tone, value.link)
        if isinstance(value, Hint):
            return cls(value.plain())
        return cls("" if value is None else clean(value))


@dataclass(slots=True)
class Note:
    """A note of one line."""

    text: str
    tone: str = ""

    def rich(self) -> RenderableType:
        """Render for the terminal."""
        from rich.text import Text

        return Text(clean(self.text), style=_STYLES[self.tone])

    def lines(self, width: int, *, colour: bool) -> list[str] | None:
        """Render as rich would, without it; None if the text has to be wrapped or measured."""
        text = clean(self.text)
        if len(text) > width or not (text.isascii() and text.isprintable()):
            return None
        code = _CODES[self.tone] if colour else ""
        return [f"{code}{text}\x1b[0m" if code else text]

    def html(self) -> str:
        """Render for the notebook, as HTML."""
        text = escape(clean(written(self.text, "notebook")))
        return f'<div style="margin:2px 0;{_CSS[self.tone]}">{text}</div>'


class Code(NamedTuple):
    """Preformatted lines, to copy or read as they are."""

    text: str

    def rich(self) -> RenderableType:
        """Render for the terminal, never wrapped, so that it can be copied."""
        from rich.text import Text

        return Text(clean(self.text, lines=True), no_wrap=True, overflow="ignore")

    def html(self) -> str:
        """Render for the notebook, as HTML."""
        text = escape(clean(self.text, lines=True))
        return (
            '<pre style="margin:4px 0;padding:4px 8px;overflow-x:auto;white-space:pre-wrap;'
            f'background:var(--jp-layout-color2,rgba(128,128,128,.12))">{text}</pre>'
        )


def _linked(cell: Cell) -> str:
    """Return the cell's text as a link that sends no referrer and no opener."""
    text = escape(written(cell.text, "notebook"))
    if not cell.link.startswith("http://"):
        return text
    return f'<a href="{escape(cell.link, quote=True)}" target="_blank" rel="noopener noreferrer">{text}</a>'


class Fields(NamedTuple):
    """Labels and their values, one a line; empty values are left out."""

    rows: Sequence[tuple[str, object]]

    def _cells(self) -> list[tuple[str, Cell]]:
        cells = [(clean(label), Cell.of(value)) for label, value in self.rows]
        return [(label, cell) for label, cell in cells if cell.text]

    def rich(self) -> RenderableType:
        """Render for the terminal."""
        from rich.table import Table as RichTable
        from rich.text import Text

        grid = RichTable.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for label, cell in self._cells():
            grid.add_row(Text(label, style=_STYLES["dim"]), Text(cell.text, style=_STYLES[cell.tone]))
        return grid

    def html(self) -> str:
        """Render for the notebook, as HTML."""
        body = "".join(
            f'<tr><td style="text-align:left;opacity:.65;padding:1px 12px 1px 0">{escape(label)}</td>'
            f'<td style="text-align:left;padding:1px 0;{_CSS[cell.tone]}">{_linked(cell)}</td></tr>'
            for label, cell in self._cells()
        )
        return f'<table style="border:none;margin:4px 0">{body}</table>'


@dataclass(slots=True)
class Table:
    """A table: rows under headings.

    Parameters
    ----------
    columns
        Columns, or their headings; one that starts with ``>`` is right-aligned (numbers).
    rows
        Cells or plain values, as many as there are columns.
    total
        A last row, set apart.
    """

    columns: Sequence[Column | str]
    rows: Iterable[Sequence[object]]
    total: Sequence[object] | None = None
    title: str = ""
    _columns: list[Column] = field(init=False, repr=False)
    _made: list[list[Cell]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        made = [Column.of(column, first=index == 0) for index, column in enumerate(self.columns)]
        self._columns = [column._replace(heading=clean(column.heading)) for column in made]
        self._made = [[Cell.of(value) for value in row] for row in self.rows]
        for row in self._made:
            if len(row) != len(self.columns):
                msg = f"a row of {len(row)} cells under {len(self.columns)} headings"
                raise ValueError(msg)

    def rich(self) -> RenderableType:
        """Render for the terminal, with the columns that fit it (`gpunb.presentation.columns`)."""
        return _Fitted(self)

    def lines(self, width: int, *, colour: bool) -> list[str] | None:
        """Render as rich would, without it; None if it needs more than lines of cells."""
        total = (
            [Cell(Cell.of(value).text, "strong") for value in self.total] if self.total is not None else None
        )
        rows = [*self._made, total] if total else self._made
        layout = fit(self._columns, [[cell.text for cell in row] for row in rows], width)
        if self.title or len(layout.shown) < len(self._columns):
            return None
        rows = [[Cell(column.heading, "strong") for column in self._columns], *rows]
        cells = [[(cell.text, _CODES[cell.tone] if colour else "") for cell in row] for row in rows]
        return drawn(self._columns, layout, cells, total=total is not None)

    def fitted(self, width: int) -> RenderableType:
        """Render for a terminal of `width` cells."""
        from rich import box
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        total = [Cell.of(value) for value in self.total] if self.total is not None else None
        rows = [*self._made, total] if total else self._made
        layout = fit(self._columns, [[cell.text for cell in row] for row in rows], width)
        title = [Text(clean(self.title), style="italic")] if self.title else []
        if not layout.shown:
            return Group(*title, *self._stacked(rows))
        table = RichTable(
            box=box.SIMPLE_HEAD,
            show_footer=total is not None,
            show_edge=False,
            pad_edge=False,
            padding=(0, GAP - 1, 0, 0),
            header_style="bold",
        )
        for at, room in zip(layout.shown, layout.widths, strict=True):
            column = self._columns[at]
            table.add_column(
                column.heading,
                justify="right" if column.right else "left",
                no_wrap=not column.wrap,
                overflow="fold",
                width=room,
                footer=Text(total[at].text, style="bold") if total else "",
            )
        for row in self._made:
            table.add_row(*(Text(row[at].text, style=_STYLES[row[at].tone]) for at in layout.shown))
        gone = [column.heading for at, column in enumerate(self._columns) if at not in layout.shown]
        more = f"not shown here: {', '.join(gone)} (widen the window, or --json)"
        return Group(*title, table, *([Text(more, style=_STYLES["dim"])] if gone else []))

    def _stacked(self, rows: Sequence[Sequence[Cell]]) -> list[RenderableType]:
        """Render each row as lines of heading and value, for a terminal too narrow for a table."""
        out: list[RenderableType] = []
        for row in rows:
            named = zip((column.heading for column in self._columns), row, strict=True)
            out += [
                *([""] if out else []),
                Fields([(heading or "-", cell) for heading, cell in named]).rich(),
            ]
        return out

    def html(self) -> str:
        """Render for the notebook, as HTML."""

        def line(tag: str, cells: Sequence[Cell], extra: str = "") -> str:
            made = (
                f'<{tag} style="text-align:{"right" if column.right else "left"};padding:2px 10px 2px 0;'
                f"{'' if column.wrap else 'white-space:nowrap;'}font-variant-numeric:tabular-nums;"
                f'{extra}{_CSS[cell.tone]}">{escape(written(cell.text, "notebook"))}</{tag}>'
                for cell, column in zip(cells, self._columns, strict=True)
            )
            return f"<tr>{''.join(made)}</tr>"

        rule = "border-bottom:1px solid var(--jp-border-color1,#9e9e9e);"
        head = line("th", [Cell(column.heading) for column in self._columns], rule)
        body = "".join(line("td", row) for row in self._made)
        foot = ""
        if self.total is not None:
            top = "border-top:1px solid var(--jp-border-color1,#9e9e9e);font-weight:600;"
            foot = f"<tfoot>{line('td', [Cell.of(value) for value in self.total], top)}</tfoot>"
        title = f'<div style="font-weight:600">{escape(clean(self.title))}</div>' if self.title else ""
        return (
            f'{title}<table style="border-collapse:collapse;margin:4px 0">'
            f"<thead>{head}</thead><tbody>{body}</tbody>{foot}</table>"
        )


class _Fitted(NamedTuple):
    """A table that is laid out when the terminal's width is known."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.table.fitted(options.max_width)


Block = Note | Code | Fields | Table


class Opening(NamedTuple):
    """A widget that a notebook may show in place of a result: "picker" or "panel"."""

    what: str
    names: tuple[str, ...] = ()


class Result:
    """The result of one verb.

    Parameters
    ----------
    data
        Plain values for ``--json`` and for code (``r = %gpu ps``; ``r.data()``).
    blocks
        What people see, in order; nothing is shown if there are none.
    exit_code
        The exit code in a terminal.
    """

    def __init__(self, data: Any = None, *blocks: Block, exit_code: int = 0) -> None:
        self._data = data
        self.blocks = list(blocks)
        self.exit_code = exit_code
        self.as_json = False
        self.opening: Opening | None = None

    def data(self) -> Any:
        """Return the result as plain values."""
        return self._data

    def json(self) -> str:
        """Return the result as JSON text."""
        return to_json(self._data)

    @property
    def warnings(self) -> list[Block]:
        """Return the warnings, which are shown even where only the data is asked for."""
        return [block for block in self.blocks if isinstance(block, Note) and block.tone in ("warn", "bad")]

    def html(self) -> str:
        """Return the result as escaped HTML."""
        if self.as_json:
            return Code(self.json()).html() + "".join(block.html() for block in self.warnings)
        # "$" is money here, and mathematics to a page that typesets it
        inner = "".join(block.html() for block in self.blocks)
        return f'<div class="mathjax_ignore tex2jax_ignore">{inner}</div>' if inner else ""

    def lines(self, width: int, *, colour: bool) -> list[str] | None:
        """Render for a terminal of `width` cells as rich would, without importing it.

        Only short notes and tables that fit are simple enough; None where a block is not.
        """
        out: list[str] = []
        for block in self.blocks:
            made = block.lines(width, colour=colour) if isinstance(block, (Note, Table)) else None
            if made is None:
                return None
            out += made
        return out

    def text(self, width: int | None = None) -> str:
        """Return the result as plain text without colours, `width` cells wide (the terminal's, or 120)."""
        if self.as_json:
            return self.json()
        from io import StringIO
        from shutil import get_terminal_size

        from rich.console import Console

        out = StringIO()
        width = width or get_terminal_size((120, 24)).columns
        # in a kernel rich would show it there instead of writing it
        Console(file=out, width=width, color_system=None, legacy_windows=False, force_jupyter=False).print(
            self
        )
        return out.getvalue().rstrip("\n")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the blocks for rich, one after the other."""
        for block in self.blocks:
            yield block.rich()

    def _ipython_display_(self) -> None:
        # a result with nothing to show leaves no Out[n]
        if self.blocks or self.as_json:
            raise NotImplementedError

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/plain": self.text(), "text/html": self.html()}

    def __repr__(self) -> str:
        return f"<Result {len(self.blocks)} blocks>"

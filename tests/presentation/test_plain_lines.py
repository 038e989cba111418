"""Results that are written without rich look as rich writes them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from rich.text import Text

from gpunb.presentation.columns import Column
from gpunb.presentation.result import Cell, Code, Fields, Note, Result, Table
from tests.support.chance import drawn

if TYPE_CHECKING:
    import random

TONES = ["", "ok", "info", "warn", "bad", "dim", "strong"]
WORDS = ["ready", "$1.00", "-", "2x H100 SXM", "a job with a long name", "", "[bold]x[/]", ":smile: 12", "0"]


def by_rich(result: Result, width: int, *, colour: bool) -> str:
    out = io.StringIO()
    Console(
        file=out, width=width, force_terminal=colour, color_system="standard" if colour else None,
        legacy_windows=False, soft_wrap=not colour,
    ).print(result)  # fmt: skip
    return out.getvalue()


def looks(text: str) -> list[tuple[str, str]]:
    """Each letter of a terminal's text with its style; the style of a blank does not show."""
    out: list[tuple[str, str]] = []
    for line in text.splitlines():
        shown = Text.from_ansi(line)
        styles = [""] * len(shown.plain)
        for span in shown.spans:
            styles[span.start : span.end] = [str(span.style)] * (span.end - span.start)
        letters = zip(shown.plain, styles, strict=True)
        out += [(letter, "" if letter == " " else style) for letter, style in letters]
        out.append(("\n", ""))
    return out


def some(luck: random.Random) -> Result:
    columns = [
        Column(
            f"head {at}"[: luck.randint(1, 6)].strip() or "h",
            right=luck.random() < 0.4,
            drop=at,
            wrap=luck.random() < 0.3,
        )
        for at in range(luck.randint(1, 6))
    ]
    rows = [
        [luck.choice([Cell(luck.choice(WORDS), luck.choice(TONES)), luck.choice(WORDS)]) for _ in columns]
        for _ in range(luck.randint(0, 4))
    ]
    total = [luck.choice(WORDS) for _ in columns] if luck.random() < 0.5 else None
    notes = [Note(f"{luck.choice(WORDS)} and {luck.choice(WORDS)}", luck.choice(TONES)) for _ in range(2)]
    return Result(None, *notes[: luck.randint(0, 2)], Table(columns, rows, total))


def test_notes_and_tables_without_rich_are_those_of_rich() -> None:
    luck = drawn("plain lines")
    plainly = 0
    for _ in range(150):
        result = some(luck)
        width = luck.choice([30, 80, 1000])
        for colour in (False, True):
            lines = result.lines(width, colour=colour)
            if lines is None:
                continue
            plainly += 1
            text = "".join(f"{line}\n" for line in lines)
            wanted = by_rich(result, width, colour=colour)
            if colour:
                assert looks(text) == looks(wanted)
            else:
                assert text == wanted
    assert plainly > 100


@pytest.mark.parametrize(
    "block",
    [
        Note("a line that is longer than the terminal is wide"),
        Note("Grüße"),
        Table(["name"], [["東京"]]),
        Table(["name", Column("note", wrap=True)], [["a", "words that have to be folded over"]]),
        Table(["name", Column("wide", drop=1)], [["a", "x" * 40]]),
        Code("x = 1"),
        Fields([("a", "b")]),
    ],
)
def test_what_is_wrapped_measured_or_dropped_is_left_to_rich(block: Note | Table | Code | Fields) -> None:
    assert Result(None, block).lines(30, colour=False) is None

"""Results in three forms; text from strangers is harmless in each."""

from __future__ import annotations

import json
import math
import os
import pty
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gpunb import units
from gpunb.cli.progress import Lines
from gpunb.presentation.result import Cell, Code, Fields, Note, Result, Table, to_json
from gpunb.text import clean
from gpunb.units import (
    bytes_text,
    costs_text,
    duration,
    duration_text,
    files_text,
    hourly_text,
    money,
    money_text,
    price_text,
    took_text,
)

EVIL = "<script>alert(1)</script>\x1b[31mred\x1b]0;title\x07\u202egnp.exe & [bold]"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


def evil() -> Result:
    return Result(
        {"x": EVIL},
        Note(EVIL),
        Code(EVIL),
        Fields([(EVIL, EVIL), ("empty", "")]),
        Table([EVIL, ">n"], [[EVIL, Cell(EVIL, "bad")]], total=["t", EVIL], title=EVIL),
    )


def test_strangers_text_is_escaped_and_stripped() -> None:
    bundle = evil()._repr_mimebundle_()
    tags = Tags()
    tags.feed(bundle["text/html"])
    assert set(tags.seen) <= {"div", "pre", "table", "tr", "td", "th", "thead", "tbody", "tfoot"}
    for text in bundle.values():
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "\u202e" not in text
    assert "red" in bundle["text/plain"]
    assert "[bold]" in bundle["text/plain"]


def test_json_is_ascii_and_strict() -> None:
    text = to_json({"a": math.nan, "b": math.inf, "c": EVIL, "d": [1, (2,)], 3: {4}})
    assert text.isascii()
    assert json.loads(text) == {"a": None, "b": None, "c": EVIL, "d": [1, [2]], "3": [4]}


def test_numbers_stand_right() -> None:
    result = Result(
        None, Table(["name", ">cost"], [["a", "$1.00"], ["b", "$100.00"]], total=["total", "$101.00"])
    )
    lines = [line for line in result.text().splitlines() if "$" in line]
    assert len({line.rstrip().__len__() for line in lines}) == 1
    assert result.html().count("text-align:right") == 4


def test_a_row_must_fit_its_headings() -> None:
    with pytest.raises(ValueError, match="1 cells under 2"):
        Table(["a", "b"], [["x"]])


def test_megabytes_of_text_are_cut() -> None:
    assert len(clean("x" * 1_000_000)) < 3000
    assert "998000 characters more" in clean("x" * 1_000_000)


def test_lines_tell_the_last_message(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines("work") as progress:
        for number in range(1000):
            progress.say(f"step {number}")
            progress.advance(number, 1000, "files")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "work: step 999"
    assert len(lines) < 50


def test_spinner_in_a_real_terminal() -> None:
    code = (
        "import time\nfrom gpunb.cli.progress import shown\n"
        "with shown('title', 'terminal') as p:\n    p.say('evil \\x1b]0;x\\x07 [bold]text')\n"
        "    p.advance(5e6, 1e7, 'B')\n    time.sleep(0.5)\n"
    )
    ours, theirs = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    for _ in range(10_000):
        try:
            data = os.read(ours, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(ours)
    assert child.wait(30) == 0
    assert b"title: evil [bold]text: 5.0 MB of 10.0 MB (50 %)" in seen
    assert b"\x1b]0;" not in seen


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1d", 86400), ("1.5 h", 5400), ("45S", 45)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 parsecs", "-2h", "0m", "9999d", "1h, 2m", "nan", "1e9h"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"length of time|366 days"):
        duration(text)


@pytest.mark.parametrize(("text", "usd"), [("5", 5), ("$5", 5), ("2.50", 2.5), (".5", 0.5), ("$1_000", 1000)])
def test_money(text: str, usd: float) -> None:
    assert money(text) == usd


@pytest.mark.parametrize("text", ["", "-1", "5 EUR", "1e9", "nan", "inf", "$"])
def test_bad_money(text: str) -> None:
    with pytest.raises(ValueError, match="US dollars"):
        money(text)


def test_texts() -> None:
    assert [duration_text(s) for s in (0, 59, 90, 1799, 3900, 90000)] == [
        "0s",
        "59s",
        "1m 30s",
        "30m",
        "1h 05m",
        "1d 1h",
    ]
    assert [duration_text(s) for s in (math.inf, -90)] == ["no end", "-1m 30s"]
    assert [money_text(x) for x in (0, 1.255, 0.0004, 1234.5)] == ["$0.00", "$1.25", "<$0.01", "$1,234.50"]
    assert [price_text(x) for x in (0, 0.0004, 0.3476, 0.9996, 1.7)] == [
        "free", "<$0.001", "$0.348", "$1.00", "$1.70",
    ]  # fmt: skip
    assert [hourly_text(x) for x in (0, 0.3476)] == ["free", "$0.348 an hour"]
    assert [costs_text(x) for x in (0, 1.7)] == ["costs nothing", "costs $1.70 an hour"]
    assert [took_text(x) for x in (0.26, 9.94, 9.96, 75)] == ["0.3 s", "9.9 s", "10s", "1m 15s"]
    assert [files_text(x) for x in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [bytes_text(x) for x in (0, 999, 1500, 2e9)] == ["0 B", "999 B", "1.5 kB", "2.0 GB"]


def test_money_is_written_in_one_place() -> None:
    """A price of $0.003 was "$0.00/h" here and "$0.000 an hour" there: each text had a rule of its own."""
    package = Path(units.__file__).parent
    own = {"units.py", "offers/language/units.py"}
    files = {file.relative_to(package).as_posix(): file for file in package.rglob("*.py")}
    by_hand = [
        f"{name}:{number}"
        for name, file in files.items()
        if name not in own and not name.startswith("sim/")
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\$\{[^}]*:[,.0-9]*f\}|money_text\([a-z_.]*(usd_h|hourly|rate)\)", line)
    ]
    assert not by_hand

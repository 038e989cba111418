"""What the extension's sources keep to: known words, text that is text, small modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "labextension" / "src").glob("*.ts"))
STATIC = ROOT / "gpunb" / "notebook" / "widgets" / "static"


def words_of(source: str, start: str) -> set[str]:
    """The keys of the object that begins at `start`."""
    body = source[source.index(start) :]
    return set(re.findall(r"^ +(\w+):", body[: body.index("\n}")], re.MULTILINE))


@pytest.mark.parametrize(
    ("function", "file", "words"),
    [("pickerWords", "picker/words.js", "PICKER_WORDS"), ("cardWords", "panel/words.js", "CARD_WORDS")],
)
def test_each_translated_word_is_one_that_is_shown(function: str, file: str, words: str) -> None:
    ours = words_of((ROOT / "labextension" / "src" / "words.ts").read_text("utf-8"), f"function {function}")
    theirs = words_of((STATIC / file).read_text("utf-8"), f"const {words}")
    assert ours
    assert ours - theirs == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_texts_of_strangers_are_never_markup(path: Path) -> None:
    source = path.read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", source)
    assert path.name == "types.ts" or len(source.splitlines()) <= 300  # that one is made

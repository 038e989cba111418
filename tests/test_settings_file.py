"""A setting is written into the user's own file, and nothing else in it changes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from gpunb import settings
from gpunb.errors import SettingsError
from gpunb.settings import files, writing

if TYPE_CHECKING:
    from pathlib import Path

MINE = """\
# settings of mine
hours = 1 # short
clouds = [
  "local",  # first
  "vast",
]

# the account at work
[providers.vast] # table
key = "abcdefgh"

# and its neighbour
[providers.fluence]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "gpunb.toml"


def test_the_rest_of_the_file_stays_comments_and_order_included(file: Path) -> None:
    file.write_text(MINE)
    writing.write({"hours": 3.5, "budget": "$5", "save": ["out", 'a "b"\\c']})
    new = 'budget = "$5"\nsave = ["out", "a \\"b\\"\\\\c"]\n'
    assert file.read_text() == MINE.replace("hours = 1 #", "hours = 3.5 #").replace(
        "\n\n# the account", f"\n{new}\n# the account"
    )
    found = settings.load()
    assert (found.hours, found.budget, found.save) == (3.5, 5.0, ["out", 'a "b"\\c'])
    writing.write({"hours": None, "budget": None, "save": None})
    assert file.read_text() == MINE.replace("hours = 1 # short\n", "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[providers.vast]\nconnection = true\n"),
        ("hours = 1", "hours = 1\n[providers.vast]\nconnection = true\n"),
        (
            "[providers.vast]\n# why\nimage = 'x'\n\n# next\n[keys]\na = 1\n",
            "[providers.vast]\n# why\nimage = 'x'\nconnection = true\n\n# next\n[keys]\na = 1\n",
        ),
        ("[providers.vast]\nconnection = 'x' # no\n", "[providers.vast]\nconnection = true # no\n"),
        ("[providers]\nvast = {image = 'x'}\n", "[providers]\nvast = {image = 'x',connection = true}\n"),
        ("providers.vast.image = 'x'\nhours = 1\n", None),
        ("[providers.vast]\n[a]\n[providers.fluence]\nx = 1\n[b]\n[providers.vast.filters]\ny = 2\n", None),
    ],
)
def test_a_cloud_s_setting_goes_into_the_table_of_the_cloud(
    file: Path, before: str, after: str | None
) -> None:
    file.write_text(before)
    writing.write({"connection": True}, ("providers", "vast"))
    text = file.read_text()
    if after is not None:
        assert text.replace("\n\n[providers", "\n[providers") == after.replace(
            "\n\n[providers", "\n[providers"
        )
    assert files.tomllib.loads(text)["providers"]["vast"]["connection"] is True
    for line in before.splitlines():
        assert line.split("=")[0] in text


def test_line_ends_of_windows_stay(file: Path) -> None:
    file.write_bytes(b"# a\r\nhours = 1\r\n")
    writing.write({"disk_gb": 50.0})
    assert file.read_bytes() == b"# a\r\nhours = 1\r\ndisk_gb = 50.0\r\n"


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")
def test_a_new_file_is_made_for_the_user_alone_and_a_link_stays_one(file: Path) -> None:
    writing.write({"disk_gb": 50.0})
    assert file.read_text() == "disk_gb = 50.0\n"
    assert file.stat().st_mode & 0o077 == 0
    kept = file.rename(file.parents[1] / "dotfiles.toml")
    file.symlink_to(kept)
    writing.write({"disk_gb": 60.0})
    assert file.is_symlink()
    assert kept.read_text() == "disk_gb = 60.0\n"


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"hours": -1.0}, "hours"), ({"idle": "3"}, "idle"), ({"log_level": "loud"}, "log_level")],
)
def test_what_breaks_a_rule_is_not_written(file: Path, changes: dict[str, Any], word: str) -> None:
    file.write_text("hours = 1\n")
    with pytest.raises(SettingsError, match=word):
        writing.write(changes)
    assert file.read_text() == "hours = 1\n"


@pytest.mark.parametrize("text", ["not toml", "providers = 3\n", "[providers]\nvast = 1\n"])
def test_a_file_that_can_not_be_changed_is_left_alone_and_the_line_is_named(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"gpunb\.toml can't be changed") as caught:
        writing.write({"accept_terms": True}, ("providers", "vast"))
    assert caught.value.bill == "nothing was changed"
    assert "under [providers.vast]: accept_terms = true" in str(caught.value.hint)
    assert file.read_text() == text

"""The skill file: each line in it is in the grammar, and it is put where agents look."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gpunb.cli.context import Context
from gpunb.cli.registry import load, split
from gpunb.commands.account.skill import text

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb

LINES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("gpunb ")
]


def test_it_has_twelve_tasks_each_with_lines() -> None:
    tasks = re.split(r"^## \d+\. ", text(), flags=re.MULTILINE)[1:]
    assert len(tasks) == 12
    assert all("```sh\ngpunb " in one for one in tasks)
    assert len(LINES) >= 25


@pytest.mark.parametrize("line", LINES)
def test_each_line_is_in_the_grammar(
    line: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train.py", "prepare.py", "requirements.txt"):
        (tmp_path / name).write_text("")
    verb, args = split(shlex.split(line)[1:])
    assert verb, line
    with load(verb).make_context(verb, args, obj=Context("terminal")):
        pass


def test_it_is_printed_and_installed(gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "# gpunb" in gpunb("skill").out
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (only,) = gpunb("skill", "--install", "--json").json["files"]
    assert Path(only) == tmp_path / ".agents" / "skills" / "gpunb" / "SKILL.md"
    (tmp_path / ".claude").mkdir()
    first, second = gpunb("skill", "--install", "--json").json["files"]
    assert Path(first).read_text("utf-8") == Path(second).read_text("utf-8") == text()
    assert ".claude" in first
    (tmp_path / ".claude" / "skills" / "gpunb" / "SKILL.md").unlink()
    (tmp_path / ".claude" / "skills" / "gpunb").rmdir()
    (tmp_path / ".claude" / "skills" / "gpunb").write_text("")
    ran = gpunb("skill", "--install")
    assert ran.code != 0
    assert "can't be written" in ran.err

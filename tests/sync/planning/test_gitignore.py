from __future__ import annotations

import os
import random
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BadInput
from gpunb.sync.local.scan import scan
from gpunb.sync.planning.rules import Rules

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = [
    "a",
    "b",
    "foo",
    "foo1",
    "bar.log",
    "x.txt",
    "data",
    "build",
    "a b",
    ".hid",
    "foo.py",
    "[x]",
    "#c",
    "!n",
]
_TEXT = r"""*.log|/a|a/|!a|foo*|!foo1/|**/b|data/**|!data/x.txt|/build/*|!/build/foo|a/b|a/**/foo|*.txt
!x.txt|b/|[ab]|foo?|/foo/|!b/|\!n|data|*|!*/|!*.py|/*|**/foo/bar.log|**|a/*|.hid|/data/a|!data/|foo/**/|a b
x.txt/|!/a/b/|[!a]oo|[a-f]*|foo[0-9]|[[:alpha:]]|a\ b|foo |x.txt   |b/**/a|a**b|**foo|foo**/bar.log|[]a]|[^b]
\*|[a|fo\o|\#c|#c|\[x\]|a/b/**|/|//|!|a//b|**/|[z-a]|[[:bad:]]|foo\|***/x.txt|/**/foo|a?b|[a-|![ab]"""
_PATTERNS = _TEXT.replace("\n", "|").split("|")


def _grow(rng: random.Random, folder: Path, depth: int = 0) -> None:
    for name in rng.sample(_NAMES, rng.randint(2, 6)):
        path = folder / name
        if depth < 3 and rng.random() < 0.5:
            path.mkdir()
            _grow(rng, path, depth + 1)
        else:
            path.write_text("x")
    if rng.random() < (0.9 if depth == 0 else 0.3):
        text = "\n".join(rng.sample(_PATTERNS, rng.randint(1, 6)))
        (folder / ".gitignore").write_text(text + rng.choice(["", "\n", "\r\n"]))


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("seed", range(40))
def test_the_same_paths_as_git(tmp_path: Path, seed: int) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    _grow(random.Random(seed), tmp_path)
    rules = Rules(tmp_path)
    ours: dict[str, str | None] = {}

    def walk(folder: Path, out: str | None) -> None:
        for entry in os.scandir(folder):
            if entry.name != ".git":
                path = os.path.relpath(entry.path, tmp_path)
                ours[path] = out or rules.why_out(path, folder=entry.is_dir())
                if entry.is_dir():
                    walk(tmp_path / path, ours[path])

    walk(tmp_path, None)
    asked = subprocess.run(
        ["git", "-C", tmp_path, "check-ignore", "-z", "--no-index", "--stdin"],
        input="\0".join(ours) + "\0",
        capture_output=True,
        text=True,
        check=False,
    )
    assert {path for path, rule in ours.items() if rule} == set(asked.stdout.split("\0")) - {""}


def _make(root: Path, *paths: str, size: int = 1) -> None:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)


def _goes(root: Path, **given: list[str]) -> list[str]:
    return [i.path for i in scan(root, Rules(root, **given)).items if i.kind == "file"]


def test_defaults_stay_each_with_its_rule(tmp_path: Path) -> None:
    _make(
        tmp_path,
        ".git/config",
        "env/pyvenv.cfg",
        "env/bin/python",
        "a/__pycache__/x.pyc",
        "a/node_modules/m.js",
    )
    _make(tmp_path, "a/keep.py", ".ipynb_checkpoints/x", ".gpunb-part-0123", "a/.gpunb-partial/f")
    tree = scan(tmp_path, Rules(tmp_path))
    assert [item.path for item in tree.items] == ["a", "a/keep.py"]
    assert {out.path: out.rule for out in tree.left_out} == {
        ".git": "default: git's own data",
        "env": "default: a virtual environment",
        "a/__pycache__": "default: Python's cache",
        "a/node_modules": "default: installed node modules",
        ".ipynb_checkpoints": "default: Jupyter's checkpoints",
        "a/.gpunb-partial": "default: rsync's unfinished files",
    }


def test_gpunbignore_takes_the_place_of_gitignore(tmp_path: Path) -> None:
    _make(tmp_path, "a.bin", "b.log", "sub/a.bin", "sub/c.tmp")
    (tmp_path / ".gitignore").write_text("*.bin\n")
    assert "a.bin" not in _goes(tmp_path)
    (tmp_path / ".gpunbignore").write_text("*.log\n")
    (tmp_path / "sub/.gpunbignore").write_text("*.tmp\n")
    goes = _goes(tmp_path)
    assert {"a.bin", "sub/a.bin"} <= set(goes)
    assert not {"b.log", "sub/c.tmp"} & set(goes)


def test_include_and_exclude(tmp_path: Path) -> None:
    _make(tmp_path, "data/raw/a.csv", "data/raw/__pycache__/x", "data/b.csv", "c.csv", "d.py")
    (tmp_path / ".gitignore").write_text("data/\n*.csv\n")
    assert _goes(tmp_path) == [".gitignore", "d.py"]
    assert _goes(tmp_path, include=["data/raw/"]) == [".gitignore", "d.py", "data/raw/a.csv"]
    assert _goes(tmp_path, include=["data/"]) == [".gitignore", "d.py", "data/b.csv", "data/raw/a.csv"]
    assert _goes(tmp_path, include=["data/"], exclude=["*.csv", "!b.csv"]) == [
        ".gitignore",
        "d.py",
        "data/b.csv",
    ]
    for field in ("include", "exclude"):
        for bad in ("", "#x", "  ", "[a"):
            with pytest.raises(BadInput, match=f"^{field} "):
                Rules(tmp_path, **{field: [bad]})


def test_data_that_an_ignore_file_hides_is_said_loudly(tmp_path: Path) -> None:
    _make(tmp_path, "data/tiny")
    _make(tmp_path, "out/model.pt", "w.pt", size=11_000_000)
    _make(tmp_path, "logs/x", "small.pt")
    (tmp_path / ".gitignore").write_text("data/\nout/\n*.pt\nlogs/\n")
    notes = scan(tmp_path, Rules(tmp_path)).notes
    assert sorted(note.split(" ")[0] for note in notes) == ["data/", "out/", "w.pt"]
    assert "because of .gitignore:2 out/; to send it: --include 'out/'" in next(
        n for n in notes if n[:3] == "out"
    )


def test_links_and_special_files(tmp_path: Path) -> None:
    root = tmp_path / "root"
    _make(root, "a/b/file")
    goals = {
        "ok1": "a/b/file",
        "a/ok2": "../a/b",
        "a/b/ok3": "../..",
        "bad1": "..",
        "bad2": "/etc/passwd",
        "a/bad3": "../../x",
        "bad4": "a/../../root/a/../../x",
        "ok4": "a/../a/b",  # of ours it is known that it leads inside; of a host's it would stay
    }
    for name, goal in goals.items():
        (root / name).symlink_to(goal)
    os.mkfifo(root / "pipe")
    tree = scan(root, Rules(root))
    assert {i.path for i in tree.items if i.kind == "link"} == {"ok1", "a/ok2", "a/b/ok3", "ok4"}
    rules = {out.path: out.rule for out in tree.left_out}
    assert rules["bad2"] == "link that leads out of the folder: /etc/passwd"
    assert rules["pipe"] == "special file: a pipe"
    assert {"bad1", "a/bad3", "bad4"} <= set(rules)

"""Where a project begins, and which folders are never one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpunb.errors import BadInput
from gpunb.services.project import root


@pytest.mark.parametrize("marker", ["gpunb.toml", "pyproject.toml", ".git"])
def test_the_nearest_marker_upwards_is_the_project(tmp_path: Path, marker: str) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (tmp_path / "a" / marker).mkdir()
    (deep / "x.py").write_text("")
    assert root(deep) == root(deep / "x.py") == tmp_path / "a"


def test_without_a_marker_it_is_the_folder_itself(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("")
    assert root(tmp_path) == root(tmp_path / "x.py") == tmp_path


@pytest.mark.parametrize("given", ["~", "~/..", "/"])
def test_home_and_the_disk_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    home = tmp_path / "users" / "me"
    home.mkdir(parents=True)
    (home / ".git").mkdir()
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(BadInput, match="never taken as a project"):
        root(Path(given))
    inside = home / "stuff"
    inside.mkdir()
    assert root(inside) == inside, "a home folder under git makes no project of all that is in it"


@pytest.mark.parametrize("left_out", ["build", "__pycache__/x", "notes"])
def test_a_folder_that_the_project_leaves_out_is_one_of_its_own(tmp_path: Path, left_out: str) -> None:
    top = tmp_path / "project"
    inside, outside = top / "src" / "deep", top / left_out / "deep"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
    (top / "pyproject.toml").touch()
    (top / ".gitignore").write_text("build/\nnotes\n")
    assert root(inside) == top
    assert root(outside) == outside, "no part of it would be on the host"

"""What goes of a repository, compared with git itself: ``git ls-files`` of what is tracked or not ignored."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from gpunb.sync.local.scan import scan
from gpunb.sync.planning.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def git(where: Path, *words: str) -> str:
    argv = ["git", "-c", "protocol.file.allow=always", "-C", str(where), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def put(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for words in (("user.name", "a"), ("user.email", "a@b"), ("init.defaultBranch", "main")):
        git(home, "config", "--global", *words)
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q")
    names = (
        "a.py",
        "run.log",
        "src/b.py",
        "src/run.log",
        "src/deep/c.py",
        "src/deep/c.bin",
        "build/x",
        "x.own",
    )
    for name in (*names, "src/x.own", "src/deep/x.own", "src/build/y", "local/z", "src/local/z"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def ours(folder: Path) -> set[str]:
    return {item.path for item in scan(folder, Rules(folder)).items if item.kind != "dir"}


def gits(top: Path, folder: str) -> set[str]:
    said = git(top, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", folder or ".")
    prefix = f"{folder}/" if folder else ""
    found = {path.removeprefix(prefix) for path in said.split("\0") if path}
    return {path for path in found if not (top / prefix / path).is_dir()}


def in_the_file(root: Path, *lines: str, where: str = ".gitignore") -> None:
    (root / where).parent.mkdir(parents=True, exist_ok=True)
    (root / where).write_text("".join(f"{line}\n" for line in lines))


def tracked_all_the_same(root: Path) -> None:
    in_the_file(root, "*.bin", "build/", "*.log", "!src/run.log")
    git(root, "add", "-f", "src/deep/c.bin", "build/x")
    (root / "build/untracked").write_text("x")
    (root / "build/sub").mkdir()
    (root / "build/sub/untracked").write_text("x")


def of_the_user(root: Path) -> None:
    in_the_file(root.parent / "home", "*.own", where=".config/git/ignore")


def of_the_user_by_name(root: Path) -> None:
    in_the_file(root.parent / "home", "*.own", "/local/", where="my ignores")
    git(root, "config", "--global", "core.excludesFile", "~/my ignores")


def brought_back_from_the_users(root: Path) -> None:
    of_the_user(root)
    in_the_file(root, "!x.own", where="src/.gitignore")


SETUPS: dict[str, Callable[[Path], None]] = {
    "ignore files of folders above": lambda r: in_the_file(r, "*.log", "/build/", "/src/local", "deep/*.bin"),
    "negated below": lambda r: (in_the_file(r, "*.log"), in_the_file(r, "!run.log", where="src/.gitignore"))[
        0
    ],
    "info/exclude": lambda r: in_the_file(r, "/local/", "*.bin", where=".git/info/exclude"),
    "weaker than an ignore file": lambda r: (
        in_the_file(r, "*.log", where=".git/info/exclude"),
        in_the_file(r, "!run.log"),
    )[0],
    "the user's own": of_the_user,
    "the user's own by name": of_the_user_by_name,
    "the user's own negated": brought_back_from_the_users,
    "tracked": tracked_all_the_same,
}


@pytest.mark.parametrize("folder", ["", "src", "src/deep"])
@pytest.mark.parametrize("setup", SETUPS)
def test_what_goes_is_what_git_has(repo: Path, setup: str, folder: str) -> None:
    SETUPS[setup](repo)
    assert ours(repo / folder) == gits(repo, folder)


def test_an_ignored_folder_that_is_named_goes(repo: Path) -> None:
    in_the_file(repo, "/build/", "*.log")
    (repo / "build/a.log").write_text("x")
    assert ours(repo / "build") == {"x"}


def test_a_submodule_and_another_working_tree_have_their_own_rules(repo: Path, tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    git(lib, "init", "-q")
    put(lib, weights_dot_bin="w", keep_dot_log="k", sub__m_dot_log="m", other="o")
    in_the_file(lib, "sub/*.log")
    git(lib, "add", "-A")
    git(lib, "commit", "-qm", "x")
    in_the_file(repo, "*.bin", "*.log", "other", "/local/")
    git(repo, "add", ".gitignore", "a.py")
    git(repo, "submodule", "-q", "add", str(lib), "lib")
    git(repo, "commit", "-qm", "x")
    put(repo / "lib", sub__n_dot_log="n", extra_dot_log="e")
    in_the_file(repo, "extra.*", where=".git/modules/lib/info/exclude")
    inside = {f"lib/{path}" for path in gits(repo / "lib", "")}
    assert {path for path in ours(repo) if path.startswith("lib/")} - {"lib/.git"} == inside
    assert {path for path in ours(repo) if not path.startswith("lib/")} == gits(repo, "") - {"lib"}
    assert ours(repo / "lib") - {".git"} == gits(repo / "lib", "")

    in_the_file(repo, "/a.py", where=".git/info/exclude")
    git(repo, "worktree", "add", "-q", str(tmp_path / "wt"))
    put(tmp_path / "wt", run_dot_log="x", local__z="x", new="x")
    assert ours(tmp_path / "wt") - {".git"} == gits(tmp_path / "wt", "") - {"lib"}


def test_outside_of_a_repository_and_with_our_own_file_git_is_not_asked(repo: Path, tmp_path: Path) -> None:
    of_the_user(repo)
    plain = tmp_path / "plain"
    put(plain, x_dot_own="x", run_dot_log="x")
    assert ours(plain) == {"x.own", "run.log"}
    in_the_file(repo, "*.py", where=".gpunbignore")
    in_the_file(repo, "*.log")
    assert "run.log" in ours(repo)
    assert "x.own" in ours(repo)
    assert "a.py" not in ours(repo)


def test_a_cloned_folder_runs_nothing(repo: Path, tmp_path: Path) -> None:
    """Its configuration is somebody else's."""
    mark = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    for name in ("core.fsmonitor", "core.editor", "core.pager", "core.sshCommand", "alias.ls-files"):
        git(repo, "config", name, str(script))
    for hook in ("post-index-change", "pre-commit", "fsmonitor-watchman"):
        (repo / ".git/hooks").mkdir(exist_ok=True)
        os.link(script, repo / f".git/hooks/{hook}")
    tracked_all_the_same(repo)
    mark.unlink(missing_ok=True)
    assert "build/x" in ours(repo)
    assert not mark.exists()


ODD = {
    "an empty file": lambda path: path.touch(),
    "no path": lambda path: path.write_text("gitdir:"),
    "another text": lambda path: path.write_text("large\n"),
    "a NUL": lambda path: path.write_bytes(b"gitdir: a\0b\n"),
    "no UTF-8": lambda path: path.write_bytes(b"gitdir: \xff\n\xff/\n"),
    "a place that is missing": lambda path: path.write_text("gitdir: ../nowhere"),
    "a loop": lambda path: path.write_text("gitdir: .git"),
    "a link out": lambda path: path.symlink_to("/etc/hostname"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [".git", ".gitignore", ".git/info/exclude", ".git/commondir"])
@pytest.mark.parametrize("odd", ODD)
def test_what_is_none_of_gits_files_leaves_out_nothing_and_stops_nothing(
    tmp_path: Path, name: str, odd: str
) -> None:
    root = tmp_path / "data"
    for folder in (root, root / "sub"):
        (folder / "a").mkdir(parents=True)
        (folder / "a/x.csv").write_text("x")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        ODD[odd](folder / name)
    kept = {path for path in ours(root) if path.endswith("x.csv")}
    assert kept == {"a/x.csv", "sub/a/x.csv"}

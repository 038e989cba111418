"""Results brought back before the end: all of them, over nothing that is here, and onto the disk."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import BadInput, NotEnoughSpace, SyncError
from gpunb.ssh import Connection
from gpunb.sync.bring import Brought, bring
from gpunb.sync.local import autorun
from gpunb.sync.local.safe_root import LocalRoot
from gpunb.sync.local.tree import LocalWriter
from gpunb.sync.planning import locations
from gpunb.sync.sftp import digests
from tests.support.machines import sshd as support
from tests.support.machines.hosts import agent_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpunb.remote import AgentClient


AGENTS: list[AgentClient] = []
"""The agent of the host, where it has one now."""


@pytest.fixture(scope="module", params=["sftp", "agent"])
def line(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """One host for all: without an agent, then with one."""
    if not support.available():
        pytest.skip("needs OpenSSH's sshd and sftp-server")
    server = support.Sshd(tmp_path_factory.mktemp("bring") / "sshd").start()
    try:
        with contextlib.ExitStack() as stack:
            if request.param == "agent":
                AGENTS.append(stack.enter_context(agent_on(server)))
            yield stack.enter_context(Connection.open(server.endpoint()))
    finally:
        AGENTS.clear()
        server.stop()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The folder that plays the host's disk."""
    folder = tmp_path / "host"
    folder.mkdir()
    return folder


def put(root: Path, **files: str) -> Path:
    for name, text in files.items():
        write(root / name, text)
    return root


def write(path: Path, text: str = "x", *, at: int = 1_700_000_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def fetch(line: Connection, path: Path | str, target: Path, **more: Any) -> Brought:
    agent = AGENTS[0] if AGENTS else None
    return bring(line, str(path), target, **{"word": "fit", "guard": False, "agent": agent, **more})


def tree(root: Path) -> dict[str, str]:
    """Each file's text, each link's goal, each folder."""
    out = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        out[name] = (
            f"-> {path.readlink()}" if path.is_symlink() else "/" if path.is_dir() else path.read_text()
        )
    return out


def test_no_rule_leaves_anything_out(line: Connection, host: Path, tmp_path: Path) -> None:
    names = (
        ".git/HEAD",
        "node_modules/a/r.json",
        "__pycache__/m.pyc",
        "env/pyvenv.cfg",
        ".ipynb_checkpoints/x",
    )
    for name in (*names, ".DS_Store", ".gitignore", ".mypy_cache/y", "empty/"):
        if name.endswith("/"):
            (host / "out" / name).mkdir(parents=True)
        else:
            write(host / "out" / name, name)
    (host / "out/.gitignore").write_text("*\n")
    done = fetch(line, host / "out", tmp_path / "here/out")
    assert tree(tmp_path / "here/out") == tree(host / "out")
    assert [done.failed, done.left, done.beside, done.held] == [[], [], [], []]
    assert (done.files, done.bytes) == (
        8,
        sum(p.stat().st_size for p in (host / "out").rglob("*") if p.is_file()),
    )


def test_links_that_lead_out_are_followed_within_bounds(line: Connection, host: Path, tmp_path: Path) -> None:
    out = host / "out"
    write(out / "step1.pt", "one")
    write(host / "disk/model.bin", "big")
    write(host / "disk/deep/more.bin", "more")
    write(host / "else/x", "behind another link")
    (host / "disk/again").symlink_to(host / "else")
    goals = {
        "models": host / "disk",
        "latest.pt": out / "step1.pt",  # absolute, and yet inside
        "alone.bin": host / "disk/model.bin",
        "twice": host / "disk",
        "up": host,
        "self": out,
        "proc": "/proc/self",
        "etc": "/etc",
        "root": "/",
        "nothing": host / "not there",
        "inside": "step1.pt",
    }
    for name, goal in goals.items():
        (out / name).symlink_to(goal)
    os.mkfifo(out / "pipe")
    done = fetch(line, out, tmp_path / "out")
    found = tree(tmp_path / "out")
    # a copy, or a link to the one in the folder that came before
    assert found.pop("alone.bin") in {"big", "-> models/model.bin", "-> twice/model.bin"}
    assert (tmp_path / "out/alone.bin").read_text() == "big"
    # of two links to one folder one is followed, and the other leads there
    copy, link = ("models", "twice") if found["models"] == "/" else ("twice", "models")
    assert found == {
        "step1.pt": "one",
        "latest.pt": "-> step1.pt",
        "inside": "-> step1.pt",
        copy: "/",
        f"{copy}/model.bin": "big",
        f"{copy}/deep": "/",
        f"{copy}/deep/more.bin": "more",
        f"{copy}/again": "/",
        f"{copy}/again/x": "behind another link",
        link: f"-> {copy}",
    }
    assert {path for path, _ in done.left} == {"up", "self", "proc", "etc", "root", "nothing", "pipe"}
    assert all(why for _, why in done.left)
    assert not done.failed


def test_nothing_that_is_here_is_overwritten(line: Connection, host: Path, tmp_path: Path) -> None:
    out, here = host / "out", tmp_path / "out"
    put(
        out,
        **{
            "metrics.json": "theirs",
            "same.txt": "same",
            "new.txt": "new",
            "README": "theirs",
            "a.tar.gz": "t",
        },
    )
    put(out, **{"folder/deep.txt": "in a folder", "linked/deep.txt": "in another", "name": "a file"})
    put(here, **{"metrics.json": "mine, longer", "same.txt": "same", "README": "my own", "a.tar.gz": "mine"})
    assert len("my own") == len("theirs"), "of one size and one second, and another file"
    put(here, **{"folder": "I am a file", "name/mine.txt": "a folder of mine"})
    write(tmp_path / "elsewhere/keep.txt", "not theirs")
    (here / "linked").symlink_to(tmp_path / "elsewhere")
    before = tree(here)
    done = fetch(line, out, here)
    after = tree(here)
    assert {name: after[name] for name in before} == before
    assert {name: text for name, text in after.items() if name not in before} == {
        "metrics.fit.json": "theirs",
        "new.txt": "new",
        "README.fit": "theirs",
        "a.tar.fit.gz": "t",
        "folder.fit": "/",
        "folder.fit/deep.txt": "in a folder",
        "linked.fit": "/",
        "linked.fit/deep.txt": "in another",
        "name.fit": "a file",
    }
    assert tree(tmp_path / "elsewhere") == {"keep.txt": "not theirs"}
    assert dict(done.beside)["metrics.json"] == "metrics.fit.json"
    assert (done.files, done.failed) == (8, [])
    # again: all of it is here, and nothing comes twice
    again = fetch(line, out, here)
    assert (tree(here), again.moved, again.files) == (after, 0, 8)
    # the host wrote on, and the first copy was edited here: both stay
    write(out / "metrics.json", "theirs, later", at=1_700_000_100)
    fetch(line, out, here)
    assert (here / "metrics.fit.json").read_text() == "theirs"
    assert (here / "metrics.fit-2.json").read_text() == "theirs, later"


def test_two_that_save_into_one_folder_at_once_lose_nothing(
    line: Connection, host: Path, tmp_path: Path
) -> None:
    for name in ("t1", "t2", "t3"):
        for number in range(20):
            write(
                host / name / f"f{number}.txt",
                f"{name} {number} {'x' * len(name)}{number}",
                at=1_700_000_000 + ord(name[1]),
            )
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            fetch(line, host / name, tmp_path / "out", word=name)
        except BaseException as err:  # noqa: BLE001 - told by the test
            errors.append(err)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("t1", "t2", "t3")]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert not errors
    found = sorted(tree(tmp_path / "out").values())
    assert found == sorted(text for name in ("t1", "t2", "t3") for text in tree(host / name).values())


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("out/*.csv", {"a.csv", "b.csv"}),
        ("out/**/*.csv", {"a.csv", "b.csv", "deep/c.csv", "deep/er/d.csv"}),
        ("out/[ab].csv", {"a.csv", "b.csv"}),
        ("out/?.csv", {"a.csv", "b.csv"}),
        ("out/d*/er", {"deep/er/d.csv"}),
        ("o*/deep/*.csv", {"out/deep/c.csv"}),
        ("out/odd [1].txt", {"odd [1].txt"}),  # a name that is there is no pattern
        ("out/link*", {"linked.csv"}),
    ],
)
def test_patterns_are_matched_on_the_host(
    line: Connection, host: Path, tmp_path: Path, pattern: str, wanted: set[str]
) -> None:
    for name in ("a.csv", "b.csv", "deep/c.csv", "deep/er/d.csv", "x.txt", ".hidden.csv", "odd [1].txt"):
        write(host / "out" / name, name)
    write(host / "else/e.csv", "linked.csv")
    (host / "out/linked.csv").symlink_to(host / "else/e.csv")
    if pattern in ("out/*.csv", "out/**/*.csv"):
        (host / "out/linked.csv").unlink()
    target = tmp_path / "here" / ("odd [1].txt" if "odd" in pattern else "")
    done = fetch(line, host / pattern, target)
    found = {name: text for name, text in tree(tmp_path / "here").items() if text != "/"}
    assert set(found) == wanted
    assert all(name.endswith(text) for name, text in found.items())
    assert (done.files, done.failed, done.left) == (len(wanted), [], [])


def test_what_is_not_there_or_matches_nothing_is_an_error(
    line: Connection, host: Path, tmp_path: Path
) -> None:
    for path, words in (
        ("gone", "is not found"),
        ("*.csv", "no file on the host matches"),
        ("gone/*", "no file"),
    ):
        with pytest.raises(BadInput, match=words):
            fetch(line, host / path, tmp_path / "x")


def test_a_relative_path_is_looked_for_where_runs_and_syncs_put_files(
    line: Connection, host: Path, tmp_path: Path
) -> None:
    write(host / "proj/out/m.json", "of the run")
    write(host / "other/out/m.json", "of another folder")
    done = fetch(line, "out", tmp_path / "out", folders=[str(host / "empty"), str(host / "proj")])
    assert tree(tmp_path / "out") == {"m.json": "of the run"}
    assert done.to == [str(tmp_path / "out")]
    # in two folders: both come, each to a place of its own
    done = fetch(line, "out", tmp_path / "o", folders=[str(host / "proj"), str(host / "other")])
    assert [tree(tmp_path / one) for one in ("o", "o-of-other")] == [
        {"m.json": "of the run"},
        {"m.json": "of another folder"},
    ]
    assert len(done.to) == 2


def test_what_could_run_here_comes_under_a_name_that_nothing_runs(
    line: Connection, host: Path, tmp_path: Path
) -> None:
    names = [
        ".git/hooks/pre-commit",
        ".GIT/config",
        ".bashrc",
        "deep/.vscode/tasks.json",
        "a.pth",
        "conftest.py",
    ]
    for name in (*names, "model.pt"):
        write(host / "out" / name, name)
    done = fetch(line, host / "out", tmp_path / "out", guard=True)
    found = tree(tmp_path / "out")
    assert found["model.pt"] == "model.pt"
    assert found[".git.held/hooks/pre-commit"] == names[0]
    assert not [path for path in found if any(autorun.why(name) for name in path.split("/"))]
    assert sorted(text for text in found.values() if text != "/") == sorted([*names, "model.pt"]), (
        "nothing is lost"
    )
    assert {path for path, _ in done.held} == {
        ".git",
        ".GIT",
        ".bashrc",
        "deep/.vscode",
        "a.pth",
        "conftest.py",
    }
    # what the user typed is taken by that name
    fetch(line, host / "out/.bashrc", tmp_path / "y/.bashrc", guard=True)
    assert tree(tmp_path / "y") == {".bashrc": ".bashrc"}


def test_modes_are_masked_by_the_user_s_umask(line: Connection, host: Path, tmp_path: Path) -> None:
    for mode in (0o777, 0o6755, 0o666, 0o400):
        write(host / "out" / f"m{mode:o}").chmod(mode)
    (host / "out/open").mkdir()
    (host / "out/open").chmod(0o1777)
    before = os.umask(0o077)
    try:
        fetch(line, host / "out", tmp_path / "out")
    finally:
        os.umask(before)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.stat().st_mode & 0o7077]


def _broken_for_a(real: Any) -> Any:
    def broken(self: Any, item: Any, given: Any) -> None:
        if item.path == "a":
            raise OSError(5, "Input/output error")
        real(self, item, given)

    return broken


def test_a_file_that_can_t_be_read_is_named_and_the_rest_comes(
    line: Connection, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(host / "out", a="a", b="b")
    with monkeypatch.context() as patched:
        for kind, name in ((LocalRoot, "finish"), (LocalWriter, "_write")):  # of SFTP, of the stream engine
            patched.setattr(kind, name, _broken_for_a(getattr(kind, name)))
        done = fetch(line, host / "out", tmp_path / "out")
    assert [path for path, _ in done.failed] == ["a"]
    assert (done.files, tree(tmp_path / "out")) == (1, {"b": "b"})


def test_all_that_came_is_flushed_before_it_returns(
    line: Connection, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(host / "out/deep/er/f.bin")
    write(host / "disk/behind.bin")
    (host / "out/linked").symlink_to(host / "disk")
    flushed: set[str] = set()
    real = os.fsync

    def fsync(handle: int) -> None:
        flushed.add(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    here = tmp_path / "new/here/out"
    fetch(line, host / "out", here)
    wanted = {here, here.parent, here.parent.parent, tmp_path, *here.rglob("*")}
    assert {str(path) for path in wanted} <= flushed
    # what was here already may lie in the cache since a sync
    flushed.clear()
    fetch(line, host / "out", here)
    assert str(here / "deep/er/f.bin") in flushed

    def broken(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(SyncError, match="could not be flushed"):
        fetch(line, host / "out", tmp_path / "other")


def test_many_files_are_flushed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpunb.sync.local import flush

    called: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: called.append("sync"))
    flush.flush([write(tmp_path / str(number)) for number in range(flush.MANY + 1)])
    assert called == ["sync"]


def test_large_files_of_one_size_and_second_are_told_apart_by_their_ends(
    line: Connection, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(host / "out/same.pt", "a" * 5000)
    write(host / "out/other end.pt", "a" * 4999 + "b")
    write(host / "out/other\nstart.pt", "b" + "a" * 4999)
    for name in ("same.pt", "other end.pt", "other\nstart.pt"):
        write(tmp_path / "out" / name, "a" * 5000)
    fetch(line, host / "out", tmp_path / "out")
    found = {name: text[0] + text[-1] for name, text in tree(tmp_path / "out").items()}
    assert found == {
        "same.pt": "aa",
        "other end.pt": "aa",
        "other end.fit.pt": "ab",
        "other\nstart.pt": "aa",
        "other\nstart.fit.pt": "ba",
    }


def test_without_sha256sum_on_the_host_nothing_is_taken_for_the_same(
    line: Connection, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_run", lambda *_: "")
    write(host / "out/a.txt", "theirs")
    write(tmp_path / "out/a.txt", "my own")
    fetch(line, host / "out", tmp_path / "out")
    assert tree(tmp_path / "out") == {"a.txt": "my own", "a.fit.txt": "theirs"}


def test_what_does_not_fit_here_is_refused_before_it_comes(
    line: Connection, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(host / "out/big.bin", "b" * 5000)
    monkeypatch.setattr(locations, "free_here", lambda _: 4999)
    with pytest.raises(NotEnoughSpace, match=r"5\.0 kB free, the plan needs 5\.0 kB"):
        fetch(line, host / "out", tmp_path / "here")
    monkeypatch.setattr(locations, "free_here", lambda _: 5000)
    assert fetch(line, host / "out", tmp_path / "here").files == 1

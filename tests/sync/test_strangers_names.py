"""A host never says what a file is called here, nor sends what runs here, whichever way it comes."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.agent.shared import file_frames as wire
from gpunb.errors import BadInput
from gpunb.sync import sync
from gpunb.sync.fs.filesystem import HostsFileSystem
from gpunb.sync.fs.guard import HeldBack
from gpunb.sync.local import autorun
from gpunb.sync.planning.plan import Tree
from gpunb.sync.planning.planner import Merge
from gpunb.sync.planning.rules import Rules
from gpunb.sync.planning.side import Entry
from gpunb.sync.stream.sync_session import SyncOptions, by_agents

if TYPE_CHECKING:
    from gpunb.remote import AgentClient
    from gpunb.ssh import Connection
    from gpunb.sync import SyncReport
    from tests.support.machines.hosts import Two
    from tests.support.machines.sshd import Sshd

GIT = [".git", ".GIT", ".Git", "GIT~1", "git~2", ".git.", ".git ", ".git . .", ".git::$INDEX_ALLOCATION"]
GIT += [f".g{chr(point)}it" for point in (0x200C, 0x200D, 0x202E, 0x206F, 0xFEFF)] + [".git\u200c"]
RUNS = [
    *GIT,
    *[
        ".hg",
        ".svn",
        ".jj",
        ".vscode",
        ".VSCode",
        ".idea",
        ".envrc",
        ".env",
        ".bashrc",
        "BASHRC~1",
        ".zshenv",
        ".profile",
        ".config",
        ".local",
    ],
    *[
        ".ssh",
        f".{chr(0x17F)}sh",
        ".ipython",
        ".jupyter",
        "jupyter_server_config.py",
        "x.pth",
        "X.PTH",
        "ABCDEF~1.PTH",
    ],
    *["sitecustomize.py", "SITECU~1.PY", "usercustomize.py", "conftest.py", "Conftest.PY", "a.pyc", ".pdbrc"],
    *["matplotlibrc", "evil.desktop", "gpunb.toml", ".netrc", ".gnupg", ".vimrc", ".emacs.d"],
]
PLAIN = [
    *[
        "model.pt",
        "out",
        "config",
        "git",
        "github",
        ".gitignore",
        ".gitkeep",
        "model~1",
        "GITHUB~1",
        "bashrc",
        "ssh",
        "train.py",
        "pth",
    ],
    *["environment.yml", "events.out.tfevents.1", ".hydra", "wandb", "a.pt.h", "ipython", "local"],
]


@pytest.mark.parametrize("name", RUNS)
def test_each_spelling_is_known(name: str) -> None:
    assert autorun.why(name)
    assert Rules(None, guard=True).why_out(f"deep/{name}", folder=False)
    assert Rules(None, guard=True, include=["*", "**", ".*", "*.*"]).why_out(name, folder=True), (
        "* names nothing"
    )
    assert (
        Rules(None, guard=True, include=[f"/{name.strip()}", name]).why_out(name.strip(), folder=True) is None
    )


@pytest.mark.parametrize("name", PLAIN)
def test_results_are_not_held_back(name: str) -> None:
    assert autorun.why(name) is None
    assert Rules(None, guard=True).why_out(name, folder=False) is None


@pytest.mark.parametrize("name", GIT)
def test_git_s_folder_comes_from_nobody(name: str) -> None:
    """From a host of one's own, too: it would be mixed into the one that is here."""
    assert Rules(None).why_out(name, folder=True)


def test_what_is_included_by_name_comes_and_no_more() -> None:
    rules = Rules(None, guard=True, include=[".vscode/settings.json", "*.pth"])
    assert rules.why_out(".vscode", folder=True) is None
    assert rules.why_out(".vscode/settings.json", folder=False) is None
    assert rules.why_out(".vscode/tasks.json", folder=False)
    assert rules.why_out("a/b.pth", folder=False) is None
    assert rules.why_out("a/conftest.py", folder=False)


# -- the name of a single file -----------------------------------------------------------------


def ways(agent: AgentClient, source: str, target: Path | str, engine: str, **more: Any) -> SyncReport:
    through = agent if engine == "stream" else None
    return sync(agent.connection, source, str(target), direction="down", agent=through, **more)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home, which is the working folder."""
    folder = tmp_path / "user"
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".bashrc").write_text("mine")
    (folder / ".ssh/authorized_keys").write_text("mine")
    monkeypatch.chdir(folder)
    return folder


def texts(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("engine", ["stream", "sftp"])
@pytest.mark.parametrize("target", [".", "./", "", "somewhere/"])
def test_a_file_takes_the_name_that_was_typed(
    agent: AgentClient, sshd: Sshd, home: Path, engine: str, target: str
) -> None:
    agent.trust = "stranger"
    (sshd.home / "a").mkdir()
    (sshd.home / "a/.bashrc").write_text("theirs")
    (sshd.home / "a/model.pt").symlink_to(".bashrc")
    before = texts(home)
    report = ways(agent, "a/model.pt", target or ".", engine)
    assert not report.failed
    assert texts(home) == {**before, str(Path(target) / "model.pt"): "theirs"}


@pytest.mark.parametrize("engine", ["stream", "sftp"])
def test_a_folder_in_a_file_s_place_is_not_poured_out(
    agent: AgentClient, sshd: Sshd, home: Path, engine: str
) -> None:
    agent.trust = "stranger"
    evil = sshd.home / "b/model.pt"
    for name in (".ssh/authorized_keys", ".bashrc", "train.py", ".config/autostart/x.desktop"):
        (evil / name).parent.mkdir(parents=True, exist_ok=True)
        (evil / name).write_text("theirs")
    before = texts(home)
    with pytest.raises(BadInput, match="is a folder on the host, and its name is like a file's"):
        ways(agent, "b/model.pt", ".", engine)
    assert texts(home) == before
    # said to be a folder, or under its own name: what it is, without what runs here
    for source, target, there in (("b/model.pt/", ".", ""), ("b/model.pt", "model.pt", "model.pt/")):
        report = ways(agent, source, target, engine)
        assert texts(home) == {**before, f"{there}train.py": "theirs"}
        (note,) = report.plan.notes
        assert "held back" in note
        assert ".bashrc" in note
        assert "--include" in note
        (home / f"{there}train.py").unlink()
    report = ways(agent, "b/model.pt", "model.pt", engine, include=[".bashrc"])
    assert texts(home / "model.pt") == {"train.py": "theirs", ".bashrc": "theirs"}


@pytest.mark.parametrize("engine", ["stream", "sftp"])
def test_delete_and_mirror_leave_what_is_held_back(
    agent: AgentClient, sshd: Sshd, home: Path, engine: str
) -> None:
    agent.trust = "stranger"
    (sshd.home / "out").mkdir()
    (sshd.home / "out/r.txt").write_text("r")
    (home / "out/.vscode").mkdir(parents=True)
    for name in ("conftest.py", ".vscode/x", ".envrc", "old.txt"):
        (home / "out" / name).write_text("mine")
    how = {"mirror": True} if engine == "stream" else {"delete": True}
    ways(agent, "out", "out", engine, **how)
    assert set(texts(home / "out")) == {"conftest.py", ".vscode/x", ".envrc", "r.txt"}


@pytest.mark.parametrize("engine", ["stream", "sftp"])
def test_from_a_host_of_one_s_own_all_but_git_comes(
    agent: AgentClient, sshd: Sshd, home: Path, engine: str
) -> None:
    agent.trust = "own"
    for name in (".bashrc", ".GIT/hooks/pre-commit", ".vscode/x"):
        (sshd.home / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (sshd.home / "out" / name).write_text("x")
    ways(agent, "out", "out", engine, guard=False if engine == "sftp" else None)
    assert set(texts(home / "out")) == {".bashrc", ".vscode/x"}


@pytest.mark.parametrize("engine", ["stream", "sftp", "rsync"])
def test_no_bit_that_the_umask_takes_comes(agent: AgentClient, sshd: Sshd, home: Path, engine: str) -> None:
    for name, mode in (("f", 0o777), ("s", 0o6755), ("w", 0o666)):
        (sshd.home / "out").mkdir(exist_ok=True)
        (sshd.home / "out" / name).write_text("x")
        (sshd.home / "out" / name).chmod(mode)
    (sshd.home / "out/d").mkdir()
    (sshd.home / "out/d").chmod(0o1777)
    through = agent if engine == "stream" else None
    before = os.umask(0o027)
    try:
        for _ in range(2):
            report = sync(
                agent.connection, "out", "out", direction="down", agent=through, engine=engine,  # type: ignore[arg-type]
            )  # fmt: skip
    except BadInput:
        pytest.skip("needs rsync 3.4")
    finally:
        os.umask(before)
    assert not report.plan.items
    assert not report.plan.modes
    found = {path.name: path.stat().st_mode & 0o7777 for path in (home / "out").iterdir()}
    assert found == {"f": 0o750, "s": 0o750, "w": 0o640, "d": 0o750}
    # a file of one's own that is more open than the umask is left as it is
    (home / "out/w").chmod(0o666)
    sync(agent.connection, "out", "out", direction="down", agent=through)
    assert (home / "out/w").stat().st_mode & 0o777 in {0o666, 0o644}


# -- the other ways ----------------------------------------------------------------------------


@pytest.mark.slow
def test_from_a_stranger_to_a_host_of_one_s_own(hosts: Two) -> None:
    hosts.one.trust = "stranger"
    evil = hosts.a.home / "a"
    (evil / "pour.pt").mkdir(parents=True)
    for name in (".bashrc", "conftest.py", "r.txt", "pour.pt/x"):
        (evil / name).write_text("theirs")
    (evil / "model.pt").symlink_to(".bashrc")
    two = hosts.two()
    for direct in (True, False):
        target = f"in-{direct}"
        report = by_agents(hosts.one, "a", two, target, SyncOptions(direct=direct))
        assert {path.name for path in (hosts.b.home / target).iterdir()} == {"r.txt", "pour.pt", "model.pt"}
        assert any("held back" in note for note in report.plan.notes)
    by_agents(hosts.one, "a/model.pt", two, ".", SyncOptions())
    assert (hosts.b.home / "model.pt").read_text() == "theirs"
    assert not (hosts.b.home / ".bashrc").exists()
    with pytest.raises(BadInput, match="name is like a file's"):
        by_agents(hosts.one, "a/pour.pt", two, ".", SyncOptions())


class _OneHost(HostsFileSystem):
    protocol = "gpunb-names-test"
    cachable = False

    def __init__(self, line: Connection, *, stranger: bool, **more: Any) -> None:
        super().__init__(**more)
        self._line, self._is_stranger = line, stranger

    def connect(self, host: str) -> Connection:
        return self._line

    def hosts(self) -> list[str]:
        return ["box"]

    def stranger(self, host: str) -> bool:
        return self._is_stranger


def test_fsspec_holds_back_and_warns(connection: Connection, sshd: Sshd, tmp_path: Path) -> None:
    for name in ("r.txt", ".git/hooks/pre-commit", "deep/a.pth", ".bashrc", "conftest.py"):
        (sshd.home / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (sshd.home / "out" / name).write_text(name)
    fs = _OneHost(connection, stranger=True)
    with pytest.warns(HeldBack, match="include="):
        fs.get("box/out/", f"{tmp_path}/all/", recursive=True)
    assert set(texts(tmp_path / "all")) == {"r.txt"}
    with pytest.warns(HeldBack):
        fs.get("box/out/*", f"{tmp_path}/star/")
    assert set(texts(tmp_path / "star")) == {"r.txt"}
    with pytest.warns(HeldBack):
        fs.get("box/out/", f"{tmp_path}/some/", recursive=True, include=[".bashrc", "*.pth"])
    assert set(texts(tmp_path / "some")) == {"r.txt", ".bashrc", "deep/a.pth"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fs.get("box/out/.bashrc", f"{tmp_path}/named/")  # what is typed comes
        fs.get(["box/out/.bashrc", "box/out/r.txt"], f"{tmp_path}/list/")
    own = _OneHost(connection, stranger=False)
    with pytest.warns(HeldBack, match=r"\.git \("):
        own.get("box/out/", f"{tmp_path}/own/", recursive=True)
    own.get("box/out/", f"{tmp_path}/git/", recursive=True, include=[".git"])
    assert set(texts(tmp_path / "named")) == {".bashrc"}
    assert set(texts(tmp_path / "list")) == {".bashrc", "r.txt"}
    assert len(texts(tmp_path / "own")) == 4
    assert len(texts(tmp_path / "git")) == 5


# -- names that a file system here takes for one ------------------------------------------------


class _Folding:
    """A target whose file system takes names that differ in case for one."""

    local = True

    def __init__(self, entries: list[Any]) -> None:
        self._entries = entries

    def ask(self, path: str) -> None:
        self._path = path

    def take(self) -> tuple[str, list[Any], str]:
        return self._path, self._entries, ""


@pytest.mark.parametrize(
    ("theirs", "mine"), [("DATA", "data"), ("cafe\u0301", "caf\u00e9"), ("\u017fet", "set")]
)
def test_another_spelling_of_what_stands_here_is_what_stands_here(theirs: str, mine: str) -> None:
    """A link of one's own is not passed through by a folder of another spelling."""
    there = _Folding([Entry(mine, wire.LINK, 0o777, goal="/elsewhere")])
    merge = Merge(Rules(None), Tree(), there, exists=True, folds=True)  # type: ignore[arg-type]
    plan = merge.run([("", [Entry(theirs, wire.FOLDER, 0o755)])])
    assert plan.folders == []
    assert plan.blocked == [(theirs, "a link stands in its place")]

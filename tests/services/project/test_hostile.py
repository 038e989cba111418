"""A hostile host: what it lists, names and sends must not run, lead out or fill the disk here.

The first half writes real files on the host. The second speaks through an agent that lies.
"""

from __future__ import annotations

import json
import os
import shlex
import zlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.errors import ProtocolError
from gpunb.services.project import Limits
from gpunb.sessions.project import bringing
from gpunb.sessions.project.host_folder import Changes, HostFile, HostFolder
from gpunb.sessions.project.report import Brought
from gpunb.sessions.project.state import State

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Rig

CODE = ["helpers.py", "new.py", "a.ipynb", "x.so", "x.pth", ".bashrc", "Makefile", "conftest.py", "run.sh"]


def everything(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


@pytest.mark.slow
def test_what_a_stranger_smuggles_is_named_and_stays(rig: Rig) -> None:
    rig.project.send()
    rig.stranger()
    before = everything(rig.root)
    rig.shell("mkdir -p .git/hooks; echo evil > .git/hooks/post-checkout; ln -s / away; ln -s ../../x up")
    rig.shell("".join(f"echo evil > {name}; " for name in CODE) + "echo fine > fine.txt; chmod 777 fine.txt")
    rig.shell("printf x > \"$(printf 'a\\033[2Jb')\"; printf x > \"$(printf 'line\\nbreak')\"; mkfifo pipe")
    out = rig.project.bring_back()
    assert [path for path, _ in out.taken] == ["fine.txt"]
    assert (rig.root / "fine.txt").stat().st_mode & 0o111 == 0
    assert sorted(path for path, _ in out.held) == sorted(CODE)
    assert {path for path, _ in out.left} >= {".git", "away", "up", "pipe"}
    after = everything(rig.root)
    assert {path: after[path] for path in before} == before
    assert set(after) - set(before) == {"fine.txt"}
    said = "\n".join(text for text, _ in out.lines(rig.session))
    assert "\x1b" not in said
    assert "helpers.py" in said
    # a yes takes one, by name
    rig.shell("echo again > new.py")
    out = rig.project.bring_back(Limits(only=("new.py",), held=True))
    assert [path for path, _ in out.taken] == ["new.py"]


@pytest.mark.slow
def test_the_commands_that_are_shown_bring_what_was_held_or_too_big(rig: Rig) -> None:
    from gpunb.cli.main import run

    rig.project.send()
    rig.stranger()
    rig.shell("echo NEW = 2 > helpers.py; head -c 70000000 /dev/zero > data/x.csv")
    out = rig.project.bring_back()
    for text, _ in out.lines(rig.session):
        _, _, typed = str(text).partition(": gpunb ")
        assert typed, text
        assert run(shlex.split(typed)) == 0, typed
    assert (rig.root / "helpers.py").read_text() == "NEW = 2\n"
    assert (rig.root / "data/x.csv").stat().st_size == 70_000_000
    sent = rig.project.send()
    assert (sent.files, sent.kept) == (0, []), "what was brought by hand is the same on both sides"
    # edited here, and once more there, without a look in between
    rig.shell("head -c 70000001 /dev/zero > data/x.csv")
    rig.project.bring_back()
    (rig.root / "data/x.csv").write_text("mine")
    ((path, why),) = rig.project.send().kept
    assert path == "data/x.csv"
    assert run(shlex.split(str(why).partition(": gpunb ")[2])) == 0
    assert (rig.there / "data/x.csv").read_text() == "mine"
    assert rig.project.send().kept == []


@pytest.mark.slow
def test_code_that_changed_on_both_sides_lies_beside_under_a_name_that_nothing_runs(rig: Rig) -> None:
    rig.project.send()
    rig.stranger()
    rig.shell("echo evil > helpers.py")
    (rig.root / "helpers.py").write_text("MINE = 1\n")
    sent = rig.project.send()
    assert sent.brought is not None
    assert sent.brought.beside == [("helpers.py", "helpers.demo.py.held")]
    assert (rig.root / "helpers.py").read_text() == "MINE = 1\n"
    assert (rig.there / "helpers.py").read_text() == "MINE = 1\n"


@pytest.mark.slow
def test_credentials_do_not_go_to_a_stranger(rig: Rig) -> None:
    rig.stranger()
    (rig.root / ".env").write_text("TOKEN=abc\n")
    (rig.root / "id_rsa").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    rig.project.send()
    (rig.root / "server.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    (rig.root / "data/x.csv").write_text("changed")
    rig.project.send()
    assert (rig.there / "data/x.csv").read_text() == "changed"
    assert not [name for name in (".env", "id_rsa", "server.pem") if (rig.there / name).exists()]


@pytest.mark.slow
def test_a_link_here_is_never_written_through(rig: Rig, tmp_path: Path) -> None:
    rig.project.send()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.txt").write_text("precious")
    os.symlink(outside, rig.root / "out")
    os.symlink(outside / "x.txt", rig.root / "y.txt")
    rig.shell("mkdir out; echo evil > out/x.txt; echo evil > y.txt; echo evil > out/new.txt")
    out = rig.project.bring_back()
    assert (outside / "x.txt").read_text() == "precious"
    assert not (outside / "new.txt").exists()
    assert {path for path, _ in out.failed} == {"out/x.txt", "out/new.txt"}
    assert out.beside == [("y.txt", "y.demo.txt")]


# -- an agent that lies


class Liar:
    """A client whose host answers what it likes."""

    name, trust = "liar", "stranger"

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    def begin(self, op: str, parts: Any = (), **_: Any) -> Any:
        call = SimpleNamespace(error=None, answer=dict(self.answer))
        call.done = SimpleNamespace(wait=lambda _: True)
        if op == "folder_read":
            call.answer = {"why": [""], "parts": [memoryview(b"short")]}
        return call


def listing(
    entries: list[Any], contents: list[bytes] = (), inline: list[Any] = (), **more: Any
) -> dict[str, Any]:  # type: ignore[assignment]
    body = zlib.compress(json.dumps({"changed": entries, "gone": [], "inline": list(inline)}).encode())
    return {
        "there": True,
        "number": 2,
        "whole": True,
        "parts": [memoryview(body), *map(memoryview, contents)],
        **more,
    }


def brought(root: Path, answer: dict[str, Any], limits: Limits | None = None) -> tuple[Brought, State]:
    host = HostFolder(Liar(answer), "proj", "token")  # type: ignore[arg-type]
    state = State(root.parent / "state.json")
    found = host.changes(0)
    return bringing.bring(root, host, state, found, limits or Limits(), word="liar", trusted=False), state


@pytest.mark.parametrize(
    "path",
    [
        "../escaped.txt",
        "a/../../escaped.txt",
        "/tmp/escaped.txt",
        "",
        "a//b",
        "./x",
        "nul\0name",
        "\x1b[2J.txt",
    ],
)
def test_no_listed_name_leads_out(tmp_path: Path, path: str) -> None:
    root = tmp_path / "a" / "proj"
    root.mkdir(parents=True)
    out, _ = brought(root, listing([[path, "f", 4, 1, 0o644]], [b"evil"], [0]))
    assert out.taken == []
    assert [name for name, _ in out.left] == [path]
    assert everything(tmp_path) == {}


def test_before_the_end_what_was_held_comes_under_a_name_that_nothing_runs(tmp_path: Path) -> None:
    root = tmp_path / "proj"
    root.mkdir()
    (root / "train.py").write_text("mine")
    names = ["train.py", "new.py", ".bashrc", ".git/config", "env/pyvenv.cfg", "env/lib/big.txt", "out/r.txt"]
    entries = [[name, "f", 4, 1, 0o755] for name in [*names, "asked/x.txt"]]
    limits = Limits(each=None, total=None, files=None, aside=True, without=["asked"])
    out, state = brought(root, listing(entries, [b"evil"] * 8, list(range(8))), limits)
    beside = {"train.liar.py.held", "new.liar.py.held", ".bashrc.liar.held", "out/r.txt"}
    assert everything(root) == {**dict.fromkeys(beside, b"evil"), "train.py": b"mine"}
    assert not any(path.stat().st_mode & 0o111 for path in root.rglob("*") if path.is_file())
    assert {path for path, _ in out.left} == {".git/config", "env"}
    assert (out.held, out.failed, out.moved) == ([], [], 16)
    again = bringing.bring(
        root, HostFolder(Liar({}), "proj", "token"), state,  # type: ignore[arg-type]
        Changes(whole=True, changed=[HostFile(*one) for one in entries]), limits, word="liar", trusted=False,
    )  # fmt: skip
    assert (again.taken, again.beside) == ([], []), "what came does not come again"


def test_names_that_differ_in_case_alone_do_not_replace_one_another(tmp_path: Path) -> None:
    root = tmp_path / "proj"
    root.mkdir()
    entries = [["A.txt", "f", 1, 1, 0o644], ["a.txt", "f", 1, 2, 0o644]]
    out, _ = brought(root, listing(entries, [b"1", b"2"], [0, 1]))
    assert sorted(everything(root).values()) == [b"1", b"2"]
    assert len(out.taken) + len(out.beside) == 2


@pytest.mark.slow
def test_a_million_listed_files_fill_nothing(tmp_path: Path) -> None:
    root = tmp_path / "proj"
    root.mkdir()
    out, state = brought(root, {"there": True, "many": True})
    assert out.many
    entries = [[f"{n}.txt", "f", 0, 1, 0o644] for n in range(1_000_000)]
    out, state = brought(root, listing(entries))
    assert len(out.taken) == 1000
    assert len(list(root.iterdir())) == 1000
    assert len(state.known) <= 1000
    assert len(out.lines(SimpleNamespace(name="liar"))) < 10  # type: ignore[arg-type]


def test_a_file_of_another_length_than_listed_does_not_come(tmp_path: Path) -> None:
    root = tmp_path / "proj"
    root.mkdir()
    out, _ = brought(root, listing([["x.bin", "f", 1000, 1, 0o644]]))
    assert out.taken == []
    assert out.failed[0][0] == "x.bin"
    assert everything(root) == {}


def test_a_sparse_file_of_50_gb_is_named_by_its_size(tmp_path: Path) -> None:
    root = tmp_path / "proj"
    root.mkdir()
    out, _ = brought(root, listing([["huge.bin", "f", 50 << 30, 1, 0o644]]))
    assert out.big == [("huge.bin", 50 << 30)]
    out, _ = brought(root, listing([["huge.bin", "f", 1 << 50, 1, 0o644]]), Limits(each=None, total=None))
    assert "no room" in out.failed[0][1]
    assert everything(root) == {}


@pytest.mark.parametrize(
    "answer",
    [
        {"there": True, "number": 1, "parts": []},
        {"there": True, "number": 1, "parts": [memoryview(b"not zlib")]},
        {"there": True, "number": 1, "parts": [memoryview(zlib.compress(b"[1, 2]"))]},
        listing([["x", "f", -1, 0, 0]]),
        listing([["x", "f", "1", 0, 0]]),
        listing([["x", "f", True, 0, 0]]),
        listing([[1, "f", 1, 0, 0]]),
        listing([["x", "f", 1]]),
        listing([["x", "f", 1, 1, 1]], [b"1"], [7]),
        listing([["x", "f", 1, 1, 1]], [b"123"], [0]),
        listing([["x", "f", 1, 1, 1]], number="2"),
    ],
)
def test_a_listing_that_is_none_is_refused_in_one_error(tmp_path: Path, answer: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="not a valid answer"):
        brought(tmp_path, answer)


def test_a_listing_that_unpacks_to_a_terabyte_is_not_unpacked(tmp_path: Path) -> None:
    bomb = zlib.compress(b" " * (200 << 20))
    with pytest.raises(ProtocolError):
        brought(tmp_path, {"there": True, "number": 1, "parts": [memoryview(bomb)]})


def test_no_state_of_a_host_file_is_kept_that_it_did_not_list() -> None:
    assert HostFile("x", "f", 1, 2, 3).state == (1, 2)

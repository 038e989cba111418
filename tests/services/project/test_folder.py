"""The project's folder on a real host: what goes, what comes, what stays, and both sides at once."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from gpunb.errors import BadInput
from gpunb.services.project import Limits, Project, place
from gpunb.sessions.project import local_tree

if TYPE_CHECKING:
    from conftest import Rig


def test_changes_go_and_come_and_nothing_else_moves(rig: Rig) -> None:
    sent = rig.project.send()
    assert sent.files == 3
    assert (rig.there / "data/x.csv").read_text() == "a,b\n1,2\n"
    assert rig.project.bring_back().taken == []
    (rig.root / "helpers.py").write_text("NEW = 1\n")
    (rig.root / "data" / "y.csv").write_text("y")
    (rig.root / "out").mkdir()
    sent = rig.project.send()
    assert sent.files == 2
    assert sent.changed == ["helpers.py"]
    assert (rig.there / "helpers.py").read_text() == "NEW = 1\n"
    assert (rig.there / "out").is_dir(), "an empty folder goes, or open('out/log.txt', 'w') would fail there"
    rig.shell("echo one > out/log.txt; echo z > data/z.csv; head -c 3000000 /dev/urandom > out/model.bin")
    brought = rig.project.bring_back()
    assert sorted(path for path, _ in brought.taken) == ["data/z.csv", "out/log.txt", "out/model.bin"]
    assert (rig.root / "out/log.txt").read_text() == "one\n"
    assert (rig.root / "out/model.bin").read_bytes() == (rig.there / "out/model.bin").read_bytes()
    assert rig.project.send().files == 0
    assert rig.project.bring_back().taken == []


def test_where_nothing_changed_the_host_is_not_asked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.project.send()
    time.sleep(0.05)
    monkeypatch.setattr(Project, "host", lambda *_: pytest.fail("the host was asked"))
    assert rig.project.send().files == 0


def test_a_file_changed_on_both_sides_is_kept_twice(rig: Rig) -> None:
    rig.project.send()
    rig.shell("echo there > data/x.csv")
    (rig.root / "data/x.csv").write_text("here\n")
    sent = rig.project.send()
    assert sent.brought is not None
    assert sent.brought.beside == [("data/x.csv", "data/x.demo.csv")]
    assert (rig.root / "data/x.csv").read_text() == "here\n"
    assert (rig.root / "data/x.demo.csv").read_text() == "there\n"
    assert (rig.there / "data/x.csv").read_text() == "here\n"
    assert "data/x.csv changed here and there" in str(sent.lines(rig.session))
    # again on both sides: the copy of before is not the user's, and is renewed
    rig.shell("echo there again > data/x.csv")
    (rig.root / "data/x.csv").write_text("here again\n")
    assert rig.project.bring_back().beside == [("data/x.csv", "data/x.demo.csv")]
    assert (rig.root / "data/x.demo.csv").read_text() == "there again\n"
    # a copy that the user has edited stays, too
    (rig.root / "data/x.demo.csv").write_text("mine now\n")
    rig.project.send()
    rig.shell("echo third > data/x.csv")
    (rig.root / "data/x.csv").write_text("third here\n")
    assert rig.project.bring_back().beside == [("data/x.csv", "data/x.demo-2.csv")]
    assert (rig.root / "data/x.demo.csv").read_text() == "mine now\n"


def test_what_is_deleted(rig: Rig) -> None:
    rig.project.send()
    rig.shell("echo result > result.txt; rm data/x.csv")
    rig.project.bring_back()
    assert (rig.root / "data/x.csv").exists(), "nothing is deleted here"
    (rig.root / "helpers.py").unlink()
    (rig.root / "result.txt").unlink()
    rig.project.send()
    assert not (rig.there / "helpers.py").exists(), "what went from here goes away there"
    assert (rig.there / "result.txt").exists(), "what a run wrote stays there"
    rig.shell("echo newer > helpers.py")
    assert ("helpers.py", 6) in rig.project.bring_back().taken


def test_a_run_that_deletes_the_folder(rig: Rig) -> None:
    rig.project.send()
    shutil.rmtree(rig.there)
    brought = rig.project.bring_back()
    assert brought.vanished
    assert "nothing was deleted here" in str(brought.lines(rig.session))
    assert (rig.root / "helpers.py").exists()
    assert rig.project.send().files == 3
    assert (rig.there / "helpers.py").exists()
    # between two runs, without a look: the next change finds out
    shutil.rmtree(rig.there)
    (rig.root / "data/x.csv").write_text("new")
    rig.project.send()
    assert (rig.there / "helpers.py").exists()
    assert (rig.there / "data/x.csv").read_text() == "new"


def test_what_is_too_big_is_named_and_never_replaced_there(rig: Rig) -> None:
    (rig.root / "out").mkdir()
    (rig.root / "out/model.bin").write_bytes(b"old")
    rig.project.send()
    rig.shell("truncate -s 50G out/huge.bin; head -c 70000000 /dev/zero > out/model.bin")
    begin = time.monotonic()
    brought = rig.project.bring_back()
    assert time.monotonic() - begin < 10
    assert sorted(path for path, _ in brought.big) == ["out/huge.bin", "out/model.bin"]
    said = str(brought.lines(rig.session))
    assert "out/huge.bin (53.7 GB) stays there" in said
    assert "sync demo:proj/out/huge.bin out/huge.bin" in said
    assert not (rig.root / "out/huge.bin").exists()
    (rig.root / "out/model.bin").write_bytes(b"newer here")
    sent = rig.project.send()
    assert [path for path, _ in sent.kept] == ["out/model.bin"]
    assert (rig.there / "out/model.bin").stat().st_size == 70000000
    taken = rig.project.bring_back(Limits(each=None, total=None, only=("out/m*",))).taken
    assert taken == [], "the answer has only what is new: a file that stayed is brought by sync"


def test_a_state_that_was_lost_loses_no_file(rig: Rig, home: str) -> None:
    rig.project.send()
    rig.shell("echo there > data/x.csv; echo r > r.txt")
    (rig.root / "data/x.csv").write_text("here\n")
    for file in (rig.project.context.ledger.path.parent / "projects").glob("*.json"):
        file.unlink()
    rig.project.send()
    assert (rig.root / "data/x.demo.csv").read_text() == "there\n"
    assert (rig.root / "data/x.csv").read_text() == (rig.there / "data/x.csv").read_text() == "here\n"
    assert (rig.root / "r.txt").exists()


def test_two_sessions_bound_to_one_folder_lose_nothing(rig: Rig) -> None:
    from gpunb.cli.main import run

    assert run(["rent", "--name", "second", "--for", "30m"]) == 0
    one, two = rig.project, Project(rig.context, rig.context.session("second"), rig.root)
    one.send()
    two.send()
    home = rig.context.agent(two.session).info.home
    rig.shell("echo one > log.txt")
    with open(f"{home}/proj/log.txt", "w") as file:
        file.write("two\n")
    assert one.bring_back().taken == [("log.txt", 4)]
    assert two.bring_back().beside == [("log.txt", "log.second.txt")]
    assert (rig.root / "log.txt").read_text() == "one\n"
    assert (rig.root / "log.second.txt").read_text() == "two\n"


def test_second_folders_of_one_name_lie_apart(rig: Rig) -> None:
    other = rig.root.parent / "other" / "proj"
    other.mkdir(parents=True)
    ledger = rig.context.ledger
    assert place(ledger, rig.session, rig.root) == "proj"
    assert place(ledger, rig.session, other) == "proj-2"
    assert place(ledger, rig.session, rig.root) == "proj"


def test_a_folder_with_too_many_files_is_refused_before_anything_goes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_tree, "MOST", 50)
    for n in range(60):
        (rig.root / "data" / f"{n}.txt").write_text("")
    with pytest.raises(BadInput, match=r"more than 50 files") as told:
        rig.project.send()
    assert ".gpunbignore" in str(told.value.hint)
    assert not rig.there.exists()
    (rig.root / ".gpunbignore").write_text("data/\n")
    assert rig.project.send().files == 3


def test_rules_follow_their_files(rig: Rig) -> None:
    (rig.root / "a.tmp").write_text("t")
    rig.project.send()
    assert (rig.there / "a.tmp").exists()
    (rig.root / ".gpunbignore").write_text("*.tmp\n")
    (rig.root / "b.tmp").write_text("t")
    (rig.root / "a.tmp").write_text("changed")
    rig.project.send()
    assert not (rig.there / "b.tmp").exists()
    assert (rig.there / "a.tmp").read_text() == "t", "what is ignored by now neither goes nor is deleted"


@pytest.mark.parametrize("kind", ["atomic", "in place", "same size"])
def test_each_kind_of_edit_is_seen(rig: Rig, kind: str) -> None:
    rig.project.send()
    target = rig.root / "data/x.csv"
    if kind == "atomic":
        (rig.root / "data/.new").write_text("9,9,9,9\n")
        os.replace(rig.root / "data/.new", target)
    else:
        target.write_text("b,a\n1,2\n" if kind == "same size" else "longer than it was")
    rig.project.send()
    assert (rig.there / "data/x.csv").read_text() == target.read_text()


def test_many_changes_and_large_ones_leave_what_a_run_writes_meanwhile(rig: Rig) -> None:
    rig.project.send()
    rig.shell("echo line 1 > log.txt")
    rig.project.bring_back()
    rig.shell("echo line 2 >> log.txt")  # a job goes on, and nothing has come back since
    for n in range(700):
        (rig.root / "data" / f"{n}.txt").write_text(str(n))
    (rig.root / "large.bin").write_bytes(os.urandom(9 << 20))
    os.symlink("helpers.py", rig.root / "link.py")
    sent = rig.project.send()
    assert sent.files == 702
    assert (rig.there / "data/699.txt").read_text() == "699"
    assert (rig.there / "large.bin").read_bytes() == (rig.root / "large.bin").read_bytes()
    assert (rig.there / "link.py").is_symlink()
    assert (rig.there / "log.txt").read_text() == "line 1\nline 2\n"
    assert rig.project.send().files == 0
    rig.project.bring_back()
    assert (rig.root / "log.txt").read_text() == "line 1\nline 2\n"

"""``run --here`` and ``rent --here``: the project goes along, the job runs in it, what it wrote is here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow


def test_a_job_runs_in_the_project_and_brings_back_what_it_wrote(demo: Gpunb) -> None:
    work = Path.cwd()
    (work / "data").mkdir()
    (work / "data" / "x.csv").write_text("a,b\n")
    (work / "train.py").write_text(
        "import os\nprint(open('data/x.csv').read())\nos.makedirs('out')\n"
        "open('out/log.txt', 'w').write('done')\nraise SystemExit(3)\n"
    )
    ran = demo("run", "train.py", "--here")
    assert ran.code == 3
    assert "a,b" in ran.out
    assert (work / "out" / "log.txt").read_text() == "done"
    assert "out/log.txt" in ran.err
    # bound: the next job needs no flag, also from a folder below, with a path upwards
    (work / "train.py").write_text("import os; print(os.path.basename(os.getcwd()))")
    (work / "sub").mkdir()
    import os

    os.chdir(work / "sub")
    ran = demo("run", "../train.py")
    assert (ran.code, ran.out.split()[0]) == (0, "sub"), ran.err
    os.chdir(work)
    # a script outside of the project: named with --here; bound, it runs in the home folder and that is said
    outside = work.parent / "outside.py"
    outside.write_text("import os; print(os.getcwd() == os.path.expanduser('~'))")
    ran = demo("run", str(outside))
    assert ran.out.strip() == "True"
    assert "outside of" in ran.err
    ran = demo("run", str(outside), "--here")
    assert ran.code != 0
    assert "outside of the project" in ran.err
    ran = demo("run", "--shell", "pwd", "--no-here")
    assert not ran.out.strip().endswith("/work")


def test_save_and_here_have_one_idea_of_where_out_is(
    gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "proj"
    (root / "sub").mkdir(parents=True)
    (root / "gpunb.toml").write_text("")
    (root / "big.py").write_text(
        "import os; os.makedirs('out'); open('out/model.bin', 'wb').truncate(70_000_000)\n"
    )
    monkeypatch.chdir(root / "sub")
    rented = gpunb("rent", "--name", "demo", "--for", "30m", "--here", "--save", "out")
    assert rented.code == 0, rented.err
    monkeypatch.chdir(root)
    ran = gpunb("run", "big.py")
    assert ran.code == 0, ran.err
    assert "out/model.bin (70.0 MB) stays there; to bring it:" in ran.err
    assert not (root / "out" / "model.bin").exists()
    ended = gpunb("down", "demo", "--yes")
    assert ended.code == 0, ended.err
    assert (root / "out" / "model.bin").stat().st_size == 70_000_000


@pytest.mark.slow
@pytest.mark.parametrize("script", ["scratch.py", "build/made.py"])
def test_a_script_that_the_project_leaves_out_goes_because_it_is_named(
    demo: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    project = tmp_path / "ruled"
    (project / "build").mkdir(parents=True)
    (project / "pyproject.toml").touch()
    (project / ".gitignore").write_text("build/\nscratch.py\n")
    (project / script).write_text("print('ran')")
    monkeypatch.chdir(project)
    for line in (
        ["run", "--sync", ".", script],
        ["run", "--here", script],
        ["once", "--for", "10m", "--yes", script],
    ):
        ran = demo(*line, *(["-s", "demo"] if line[0] == "run" else []))
        assert ran.code == 0, ran.err
        assert ran.out.splitlines()[0] == "ran"
        assert "came back" not in ran.err, "the script itself is no result"

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpunb.sessions.ledger.sessions import Ledger

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "quickstart.ipynb"


def cells() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found


def test_the_notebook_in_git_has_no_outputs() -> None:
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


def test_the_notebook_ends_what_it_rents() -> None:
    verbs = re.findall(r"^%gpu (\w+)", "\n".join("".join(cell["source"]) for cell in cells()), re.MULTILINE)  # type: ignore[arg-type]
    assert verbs.count("rent") == 1
    assert verbs[-1] == "down"


@pytest.mark.slow
def test_train_script_runs_anywhere(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("sklearn")
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(10), 4)
    x = rng.random((40, 64))
    np.savez(tmp_path / "data" / "digits.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "train.py"), "--epochs", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("epoch")] == ["1", "2"]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["history"]) == 2
    with np.load(tmp_path / "out" / "model.npz", allow_pickle=False) as weights:
        assert weights["w0"].shape == (64, 64)


#: the demo, with a session that somebody rented before and one that somebody rents after its own
BESIDE = """
import subprocess, sys
import nbformat
sys.path.insert(0, {examples!r})
import demo

rent = [sys.executable, "-m", "gpunb", "rent", "--for", "30m", "--yes", "--name"]
execute = demo.execute

def among_others(path):
    if path.name == "quickstart.ipynb":
        subprocess.run([*rent, "older"], check=True, stdin=subprocess.DEVNULL)
        book = nbformat.read(path, as_version=4)
        at = next(n for n, cell in enumerate(book.cells) if cell.source.startswith("%gpu rent"))
        newer = [*rent, "newer"]
        code = f"import subprocess; subprocess.run({{newer}}, check=True, stdin=subprocess.DEVNULL);"
        book.cells.insert(at + 1, nbformat.v4.new_code_cell(code))
        nbformat.write(book, path)
    execute(path)

demo.execute = among_others
sys.exit(demo.main())
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """What the demo said and left: run once, with two other sessions alive."""
    pytest.importorskip("nbclient")
    build = tmp_path_factory.mktemp("examples") / "demo"
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("GPUNB_", "PYTEST_"))
    }
    done = None
    try:
        done = subprocess.run(
            [sys.executable, "-c", BESIDE.format(examples=str(EXAMPLES)), "--build", str(build)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=380,
            check=False,
        )
    finally:
        if done is None:  # the demo ends all by itself, unless it was killed
            environment |= {"GPUNB_HOME": str(build / "home"), "GPUNB_CLOUDS": "local"}
            down = [sys.executable, "-m", "gpunb", "down", "--all", "--yes"]
            subprocess.run(down, env=environment, capture_output=True, timeout=60, check=False)
    return done, build


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_demo_runs_to_its_end_and_leaves_nothing_running(
    demo: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, build = demo
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "nothing is left running" in done.stdout
    executed = json.loads((build / "quickstart.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert (build / "out" / "model.npz").is_file()
    assert "image/png" in (build / "quickstart.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_quickstart_uses_its_own_session_among_others(
    demo: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """Everything ran on what the notebook rented, also `%gpu down`; nothing came to the others."""
    done, build = demo
    with Ledger.open(build / "home" / "ledger.sqlite") as ledger:
        found = {one.name: one for one in ledger.sessions(alive=False)}
        assert {"older", "demo", "newer"} <= set(found), done.stdout
        assert found["older"].created < found["demo"].created < found["newer"].created
        runs = {name: [run.kind for run in ledger.runs(one.id)] for name, one in found.items()}
        moved = {name: len(ledger.transfers(one.id)) for name, one in found.items()}
        receipts = {name: ledger.receipt(one.id) for name, one in found.items()}
    assert sorted(runs["demo"]) == ["cell", "job"]
    assert runs["older"] == runs["newer"] == []
    assert moved["demo"] >= 2
    assert moved["older"] == moved["newer"] == 0
    ended = {name: one.confirmed for name, one in receipts.items() if one is not None and one.confirmed}
    assert set(ended) == set(found), "the other notebook's and once's, too"
    assert ended["demo"] < min(ended["older"], ended["newer"]), "down ended another one first"

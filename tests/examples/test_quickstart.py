from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_the_demo_runs_to_its_end_and_leaves_nothing_running(tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("GPUNB_", "PYTEST_"))
    }
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py"), "--build", str(tmp_path / "demo")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "nothing is left running" in done.stdout
    executed = json.loads((tmp_path / "demo" / "quickstart.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert (tmp_path / "demo" / "out" / "model.npz").is_file()
    assert "image/png" in (tmp_path / "demo" / "quickstart.html").read_text(encoding="utf-8")

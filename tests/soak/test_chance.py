"""What a run draws can be drawn again, and no kind of case is left out of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import chance

ROOT = Path(__file__).parents[2]
CASES = {f"{tree}-{engine}": (tree, engine) for tree in range(6) for engine in range(9)}
MODULE = """
import pytest

@pytest.mark.sample
@pytest.mark.parametrize("tree", ["small", "large", "odd"])
@pytest.mark.parametrize("engine", ["rsync", "stream"])
def test_pairs(tree, engine):
    print("RAN", tree, engine)

@pytest.mark.sample(2)
@pytest.mark.parametrize("number", range(9))
def test_numbers(number):
    print("RAN", number)
"""


def test_each_value_of_each_parameter_is_in_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(50):
        monkeypatch.setenv(chance.SEED, str(seed))
        chosen = chance.sample("pairs", CASES, 0)
        assert {CASES[name][0] for name in chosen} == set(range(6))
        assert {CASES[name][1] for name in chosen} == set(range(9))
        assert len(chosen) == 9, "no more than it takes"


def test_a_seed_draws_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for seed in ("7", "7", "8"):
        monkeypatch.setenv(chance.SEED, seed)
        seen.append((chance.sample("pairs", CASES, 5), chance.drawn("drops").random()))
    assert seen[0] == seen[1] != seen[2]


def run(folder: Path, *args: str, **more: str) -> str:
    (folder / "conftest.py").write_text("pytest_plugins = ['tests.support.chance']\n")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    (folder / "test_it.py").write_text(MODULE)
    env = {name: value for name, value in os.environ.items() if name not in (chance.SEED, chance.SOAK)}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-s", *args]
    done = subprocess.run(
        argv, cwd=folder, env={**env, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), **more},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_takes_a_sample_and_soak_all(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert first.count("RAN") == 3 + 2
    assert all(f"RAN {tree}" in first for tree in ("small", "large", "odd"))
    (line,) = [line for line in first.splitlines() if chance.SEED in line]
    seed = line.rpartition("=")[2]

    def cases(out: str) -> set[str]:
        return {line.rpartition("RAN")[2] for line in out.splitlines() if "RAN" in line}

    assert cases(run(tmp_path, **{chance.SEED: seed})) == cases(first)
    assert len(cases(run(tmp_path, **{chance.SOAK: "1"}))) == 6 + 9
    # who names a case gets it
    assert len(cases(run(tmp_path, "test_it.py::test_numbers[8]"))) == 1

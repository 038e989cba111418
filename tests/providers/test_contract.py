"""The contract fails each cloud of `wrong_clouds`, in the test that is meant for its fault."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

WRONG = Path(__file__).with_name("wrong_clouds.py")
ROOT = Path(__file__).parents[2]


def wrong_clouds() -> dict[str, str]:
    out = {}
    for node in ast.parse(WRONG.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            (value,) = (
                one.value.value
                for one in node.body
                if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant)
            )
            out[node.name] = value
    return out


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What failed of each, when its author runs the contract as the page says."""
    report = tmp_path_factory.mktemp("contract") / "report.xml"
    wanted = " or ".join(f"({name} and {fails.partition('[')[0]})" for name, fails in wrong_clouds().items())
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-k", wanted]
    words += [f"--junitxml={report}", str(WRONG)]
    environment = {**os.environ, "GPUNB_HOME": str(report.parent / "home")}
    ran = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 1, ran.stdout[-3000:] + ran.stderr
    out: dict[str, set[str]] = {name: set() for name in wrong_clouds()}
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None:
            out[case.attrib["classname"].rpartition(".")[2]].add(case.attrib["name"])
    return out


@pytest.mark.parametrize(("name", "fails"), wrong_clouds().items())
def test_it_is_failed(verdicts: dict[str, set[str]], name: str, fails: str) -> None:
    assert fails in verdicts[name]

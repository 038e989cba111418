"""The plug-ins of tests/support/plugins in runs of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plugins.order import LONGEST

ROOT = Path(__file__).parents[2]

LEAKS = """
import gc, socket, subprocess, sys

def test_leaves_a_socket():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    server.close()
    client.me = client  # collected later only

def test_leaves_a_process():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.me = process

def test_is_blamed():
    gc.collect()
"""


@pytest.mark.slow
def test_what_nobody_closed_is_shown_with_the_test_and_the_line_that_made_it(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['tests.support.plugins.origins']\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "test_it.py").write_text(LEAKS)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "where it came from" in done.stdout
    for test, line in (("test_leaves_a_socket", 6), ("test_leaves_a_process", 11)):
        assert f"made in test_it.py::{test}\n  {tmp_path}/test_it.py:{line} {test}" in done.stdout


def test_the_files_that_come_first_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)

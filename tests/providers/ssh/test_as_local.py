"""What is written for `local` holds on a machine of one's own: a few of the tests of TEST_HOSTS=ssh."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machines import own_hosts

ROOT = Path(__file__).parents[3]
THESE = [
    "commands/test_verbs.py::test_the_whole_story",
    "commands/running/test_once.py::test_exit_code_and_output_are_the_scripts[sys.exit(3)-3]",
    "notebook/test_magics.py::test_the_whole_story",
    "python_api/test_renting.py::test_the_block_ends_the_session_results_first",
    "server/test_flow.py::test_rent_run_extend_stop_start_down",
    "stories/test_script_once.py::test_script_once",
    "sync/test_local.py",
]


@pytest.mark.slow
@pytest.mark.sample(1)
@pytest.mark.timeout(400)
@pytest.mark.skipif(not own_hosts.available(), reason="needs OpenSSH's ssh, sshd and sftp-server")
@pytest.mark.parametrize("test", THESE)
def test_as_on_local(test: str) -> None:
    argv = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", f"tests/{test}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GPUNB_"))}
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**env, "TEST_HOSTS": "ssh"},
        capture_output=True,
        text=True,
        timeout=390,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout

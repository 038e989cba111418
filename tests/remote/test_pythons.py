"""The agent on the oldest and the newest Python found here, each with the ipykernel made for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpunb.errors import JobFailed
from gpunb.output import show
from gpunb.remote import AgentClient, get, put
from tests.remote.conftest import Screen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

VENVS = Path(__file__).parents[2] / "build" / "pythons"


def interpreter(version: str) -> str | None:
    """Path of a Python `version`: on PATH, else pyenv's."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for found in (shutil.which(f"python{version}"), *map(str, pyenv)):
        if found and subprocess.run([found, "-c", "import ssl, venv"], capture_output=True).returncode == 0:
            return found
    return None


def made(folder: Path, version: str, imports: str, *what: str) -> str:
    """The interpreter of a venv of Python `version` that `imports` what it was given; made once."""
    python = folder / "bin" / "python"
    check = [python, "-c", f"import {imports}"]
    if python.exists() and subprocess.run(check, capture_output=True).returncode == 0:
        return str(python)
    base = interpreter(version)
    if base is None:
        pytest.skip(f"Python {version} is not on this machine")
    uv = str(Path(sys.executable).with_name("uv"))
    env = {**os.environ, "UV_HTTP_RETRIES": "0"}  # it works at once or not at all
    ways = [
        (
            [uv, "venv", "-q", "--python", base, folder],
            [uv, "pip", "install", "-q", "--python", python, *what],
        ),
        # uv does not read pip's settings (a company's mirror, say); pip does
        ([base, "-m", "venv", folder], [python, "-m", "pip", "install", "-q", *what]),
    ]
    for steps in ways[0 if Path(uv).exists() else 1 :]:
        shutil.rmtree(folder, ignore_errors=True)
        for step in (*steps, check):
            done = subprocess.run(step, env=env, capture_output=True, text=True)
            if done.returncode:
                break
        else:
            return str(python)
    shutil.rmtree(folder, ignore_errors=True)
    pytest.skip(f"{imports} for Python {version} can't be installed: {done.stderr[-300:]}")


def with_ipykernel(version: str) -> str:
    """A Python `version` that has ipykernel."""
    return made(VENVS / version, version, "ipykernel", "ipykernel")


@pytest.mark.parametrize("version", ["3.8", "3.13"])
def test_cells_jobs_and_variables(host, version):
    with AgentClient.connect(host.endpoint(), python=with_ipykernel(version), trust="own") as client:
        assert client.info.python_version.startswith(version)
        screen = Screen(["typed"])
        code = "import sys\nprint(sys.version_info[:2]); name = input('? ')\nname"
        show(client.run_cell(code), screen)
        assert screen.text() == f"({version.replace('.', ', ')})\n"
        assert ("result", "'typed'") in screen.events
        put(client, {"numbers": [1, 2], "pair": (1, {2})})
        assert get(client, ["numbers", "pair"]) == {"numbers": [1, 2], "pair": (1, {2})}
        with pytest.raises(JobFailed, match="exit code 4"):
            show(client.run_job(shell="exit 4"), Screen())
        client.shutdown()

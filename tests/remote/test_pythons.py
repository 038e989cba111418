"""The agent on the oldest and the newest Python found here, each with the ipykernel made for it."""

from __future__ import annotations

import shutil
import subprocess
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


def with_ipykernel(version: str) -> str:
    """A Python `version` that has ipykernel, made once."""
    python = VENVS / version / "bin" / "python"
    if (
        not python.exists()
        or subprocess.run([python, "-c", "import ipykernel"], capture_output=True).returncode
    ):
        base = interpreter(version)
        if base is None:
            pytest.skip(f"Python {version} is not on this machine")
        shutil.rmtree(VENVS / version, ignore_errors=True)
        subprocess.run([base, "-m", "venv", VENVS / version], check=True, capture_output=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "ipykernel"]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(VENVS / version, ignore_errors=True)
            pytest.skip(f"ipykernel for Python {version} can't be installed: {done.stderr[-300:]}")
    return str(python)


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

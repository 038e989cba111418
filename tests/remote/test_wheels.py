"""A host that reaches no package index gets ipykernel through the line."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from gpunb.errors import BootstrapFailed
from gpunb.output import show
from gpunb.remote import AgentClient, wheels
from tests.remote.conftest import Screen

pytestmark = pytest.mark.slow


@pytest.fixture
def bare(host, tmp_path):
    """A Python on the host without ipykernel, and a host whose index refuses every connection."""
    venv = tmp_path / "bare"
    for python in ("python3", sys.executable):
        made = subprocess.run([python, "-m", "venv", str(venv)], capture_output=True)
        if made.returncode == 0:
            break
    else:
        pytest.skip("no Python here can make a virtual environment")
    enter = host.root / "enter"
    first, rest = enter.read_text().split("\n", 1)
    # nothing listens on port 9; uv would be asked first
    refuse = "export PIP_INDEX_URL=http://127.0.0.1:9/simple PIP_CONFIG_FILE=/dev/null PATH=/usr/bin:/bin"
    enter.write_text(f"{first}\n{refuse}\n{rest}")
    return str(venv / "bin" / "python")


@pytest.fixture
def stock(host, tmp_path):
    """As on a stock Debian or Ubuntu: python3, and neither ensurepip nor pip."""
    real = "/usr/bin/python3"
    if subprocess.run([real, "-m", "venv", "-h"], capture_output=True).returncode:
        pytest.skip("no stock Python here")
    wrapper = tmp_path / "python3"
    wrapper.write_text(
        "#!/bin/bash\n"
        'case " $* " in\n'
        '*" -m pip "*) echo "No module named pip" >&2; exit 1;;\n'
        '*" --without-pip "*) ;;\n'
        '*" -m venv "*) echo "ensurepip is not available" >&2; exit 1;;\n'
        "esac\n"
        f'exec -a "$0" {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    enter = host.root / "enter"
    first, rest = enter.read_text().split("\n", 1)
    enter.write_text(f"{first}\nexport PATH=/usr/bin:/bin\n{rest}")
    return str(wrapper)


@pytest.mark.timeout(400)
def test_a_python_without_ensurepip_and_pip_gets_its_wheels_unpacked(host, stock, home):
    # pypa/pipx#474, pypa/packaging.python.org#399: stock images of Ubuntu and Debian
    try:
        client = AgentClient.connect(host.endpoint(), python=stock, trust="own")
    except BootstrapFailed as err:
        if "neither" in err.message:
            pytest.skip("no package index can be reached from here either")
        raise
    with client:
        screen = Screen()
        show(client.run_cell("import sys, ipykernel; print(sys.prefix)"), screen)
        assert screen.text().strip() == str(host.home / ".gpunb" / "venv")
        client.shutdown()


@pytest.mark.timeout(400)
def test_wheels_are_sent_and_kept(host, bare, home):
    said = []

    class Supervision:
        def say(self, message):
            said.append(message)

        def advance(self, *_):
            pass

    try:
        client = AgentClient.connect(host.endpoint(), python=bare, trust="own", progress=Supervision())
    except BootstrapFailed as err:
        if "neither" in err.message:
            pytest.skip("no package index can be reached from here either")
        raise
    with client:
        screen = Screen()
        show(client.run_cell("import sys; print(sys.prefix)"), screen)
        assert screen.text().strip() == str(host.home / ".gpunb" / "venv")
        assert any("downloading" in text for text in said)
        assert any(text.startswith("sending") for text in said)
        client.shutdown()
    (kept,) = (home / "wheels").iterdir()
    assert (kept / "complete").exists()


def test_without_an_index_on_either_side_the_reason_is_named(host, bare, home, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(BootstrapFailed, match="neither the host nor this machine") as caught:
        AgentClient.connect(host.endpoint(), python=bare, trust="own")
    assert "image" in caught.value.hint
    assert "billed" in caught.value.bill


@pytest.mark.parametrize(
    "wanted",
    [
        {"python": "3.11; rm", "machine": "x86_64", "glibc": 36},
        {"python": "3.11", "machine": "../../x", "glibc": 36},
        {"python": "2.7", "machine": "x86_64", "glibc": 36},
        {"python": "3.11", "machine": "x86_64", "glibc": "36"},
        {},
    ],
)
def test_a_host_can_ask_for_known_systems_only(wanted, home):
    with pytest.raises(BootstrapFailed, match="unknown system"):
        wheels.archive(wanted)


def test_tags_of_old_and_other_systems():
    assert wheels._platforms("aarch64", 17)[0] == "manylinux_2_17_aarch64"
    assert "manylinux_2_5_x86_64" in wheels._platforms("x86_64", 36)
    assert wheels._platforms("x86_64", 0) == ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64"]


def test_this_machines_python_is_not_assumed_to_have_pip(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        assert wheels._pip()[0] == sys.executable
    else:
        with pytest.raises(BootstrapFailed, match="no pip"):
            wheels._pip()

"""The file that editors and plain ssh read is kept up to date; `code` needs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from gpunb.sessions.integrations import ssh_config
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow


@pytest.fixture
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's ssh configuration: the system's ssh reads the passwd entry's home, so it is told which."""
    config = tmp_path / "user_config"
    config.write_text("")
    programs = tmp_path / "bin"
    programs.mkdir()
    ssh = programs / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    editor = programs / "code"
    editor.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path / "opened"}\nexit 3\n')
    for program in (ssh, editor):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return config


def shell(name: str) -> str:
    done = subprocess.run(
        ["ssh", "-o", "BatchMode=yes", name, "echo there"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout.strip()


def test_one_file_follows_the_sessions(demo: Gpunb, own_config: Path, tmp_path: Path) -> None:
    refused = demo("code", "-s", "demo")
    assert refused.code == 1
    assert "does not know gpunb-demo yet" in refused.err
    line = ssh_config.include_line()
    assert f"gpunb ssh --config --install, then put this line first in ~/.ssh/config: {line}" in refused.err
    assert not ssh_config.file().exists(), "nothing is written unasked"

    installed = demo("ssh", "--config", "--install", "--json")
    assert installed.code == 0, installed.err
    assert json.loads(installed.out)["include"] == line
    assert ssh_config.file().stat().st_mode & 0o777 == 0o600
    own_config.write_text(f"{line}\nHost other\n  Port 77\n")
    assert shell("gpunb-demo") == "there", "plain ssh gets there by that line alone"

    opened = demo("code", "/srv/project", "-s", "demo")
    assert opened.code == 3, "the editor's own"
    arguments = (tmp_path / "opened").read_text().splitlines()
    assert arguments == ["--remote", "ssh-remote+gpunb-demo", "/srv/project"]

    assert demo("rename", "train", "-s", "demo").code == 0
    assert shell("gpunb-train") == "there"
    with Ledger.open() as ledger:  # a new address, as after a restart at the cloud
        ledger.update(ledger.find("train").id, port=4711)
        ssh_config.refresh(ledger.sessions())
        assert "Port 4711" in ssh_config.file().read_text()
        assert ledger.find("train").state is SessionState.READY
    assert demo("down", "train", "--yes").code == 0
    assert "Host " not in ssh_config.file().read_text(), "the address may be another's by now"
    removed = demo("ssh", "--config", "--remove")
    assert removed.code == 0
    assert not ssh_config.file().exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ssh", "--install"], "--install goes with --config"),
        (["ssh", "--config", "--install", "--remove"], "--remove"),
        (["ssh", "--config", "--install", "train"], "--config --install"),
    ],
)
def test_options_that_do_not_go_together_are_named(gpunb: Gpunb, words: list[str], said: str) -> None:
    ran = gpunb(*words)
    assert ran.code == 2, ran.err
    assert said in ran.err


def test_an_editor_that_is_not_there_is_named(demo: Gpunb, own_config: Path) -> None:
    ran = demo("code", "--editor", "emacs-of-mine")
    assert ran.code == 2
    assert "there is no program 'emacs-of-mine'" in ran.err

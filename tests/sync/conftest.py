"""A real sshd, and a source with every odd name."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import pytest

from gpunb.agent import processes
from gpunb.remote import AgentClient
from gpunb.ssh import Connection
from tests.support import sshd as support
from tests.support.trees import odd_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _gpunb_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "gpunb-home"))


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[support.Sshd]:
    if not support.available():
        pytest.skip("needs OpenSSH's sshd and sftp-server")
    server = support.Sshd(tmp_path / "sshd").start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def connection(sshd: support.Sshd) -> Iterator[Connection]:
    with Connection.open(sshd.endpoint()) as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir()
    odd_tree(root)
    return root


@pytest.fixture
def agent(sshd: support.Sshd) -> Iterator[AgentClient]:
    """The sshd's agent, which ends with the test."""
    with agent_on(sshd) as found:
        yield found


@contextlib.contextmanager
def agent_on(sshd: support.Sshd, **changes: object) -> Iterator[AgentClient]:
    try:
        with AgentClient.connect(sshd.endpoint(**changes), python=sys.executable, patience=30.0) as found:
            yield found
    finally:
        processes.end_tree(None, f"HOME={sshd.home}", grace=2.0)

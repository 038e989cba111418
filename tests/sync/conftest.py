"""A real sshd, and a source with every odd name."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from gpunb.remote import AgentClient
from gpunb.ssh import Connection
from tests.support.bench import Bench, Hosts
from tests.support.machines import own_hosts
from tests.support.machines import sshd as support
from tests.support.machines.hosts import Two, agent_on
from tests.support.trees import odd_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.machines.localhost import LocalHost


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
def local_host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalHost]:
    """A running instance of the local provider, or with TEST_HOSTS=ssh a rented machine of provider ssh."""
    if own_hosts.wanted():
        with own_hosts.rented_host(tmp_path) as found:
            yield found
        return
    yield request.getfixturevalue("any_local_host")


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


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as found:
        yield found


@pytest.fixture
def hosts(tmp_path: Path, stack: contextlib.ExitStack) -> Two:
    if not support.available():
        pytest.skip("needs OpenSSH's sshd and sftp-server")
    return Two(tmp_path, stack)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    if not support.available():
        pytest.skip("needs OpenSSH's sshd and sftp-server")
    root = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("GPUNB_HOME", str(root / "gpunb-home"))
        hosts = Two(root, stack)
        yield Bench(hosts.one, hosts.two(), Hosts(hosts.one.connection))

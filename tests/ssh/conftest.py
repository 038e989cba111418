"""A real sshd for the tests of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.machines import sshd as support

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpunb.ssh import Connection

needs_sshd = pytest.mark.skipif(not support.available(), reason="needs OpenSSH's sshd and sftp-server")


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
    from gpunb.ssh import Connection

    with Connection.open(sshd.endpoint()) as found:
        yield found

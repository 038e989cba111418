"""A machine of one's own for each test that asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def lab(home: Path, tmp_path: Path) -> Iterator[own_hosts.OwnHost]:
    if not own_hosts.available():
        pytest.skip("needs OpenSSH's ssh, sshd and sftp-server")
    host = own_hosts.OwnHost(tmp_path / "lab3")
    try:
        yield host
    finally:
        host.stop()

"""A Jupyter server that runs, for each test or for a module."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.machines.jupyter import Jupyter
from tests.support.rentals.supervisors import end_supervisors

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def base(home: Path) -> Path:
    """The folder beside GPUNB_HOME."""
    return home.parent


@pytest.fixture
def jupyter(home: Path) -> Iterator[Jupyter]:
    """A server in the test's home; ended, with what it handed over to."""
    server = Jupyter(home).start()
    try:
        yield server
    finally:
        server.end()
        end_supervisors(home)


@pytest.fixture
def another() -> Iterator[Jupyter]:
    """A second server, of somebody else on this machine."""
    base = Path(tempfile.mkdtemp(prefix="gpnb", dir="/tmp"))
    server = Jupyter(base / "home").start()
    try:
        yield server
    finally:
        server.end()
        end_supervisors(server.home)
        _destroy(server.home)
        shutil.rmtree(base, ignore_errors=True)


def _destroy(home: Path) -> None:
    from gpunb.providers.local import LocalProvider

    before = os.environ.get("GPUNB_HOME")
    os.environ["GPUNB_HOME"] = str(home)
    try:
        provider = LocalProvider()
        for instance in provider.instances():
            provider.destroy(instance.id)
    finally:
        if before is None:
            del os.environ["GPUNB_HOME"]
        else:
            os.environ["GPUNB_HOME"] = before

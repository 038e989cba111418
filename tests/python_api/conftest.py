"""A working folder and a home of its own, and one session for the tests that need no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.rentals.supervisors import end_supervisors

import gpunb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def work(home: Path, rented_from: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; afterwards no connection and no supervisor is left."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    from gpunb.sessions.access import host_access

    host_access.close_all()
    end_supervisors(home)


@pytest.fixture
def session(work: Path) -> Iterator[gpunb.Session]:
    """A live session, which ends with the test."""
    with gpunb.rent(hours=0.5, name="demo") as made:
        yield made

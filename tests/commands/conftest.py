"""The terminal door, called in process, and a live local session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.machines.terminal import Ran
from support.rentals.supervisors import end_supervisors

from gpunb.cli.main import run
from gpunb.sessions.access import host_access

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb


@pytest.fixture
def gpunb(capfd: pytest.CaptureFixture[str], home: Path) -> Iterator[Gpunb]:
    """``gpunb("ps", "--json")`` as typed in a terminal without a keyboard."""

    def call(*args: str) -> Ran:
        capfd.readouterr()
        code = run(list(args))
        out, err = capfd.readouterr()
        return Ran(code, out, err, args)

    yield call
    host_access.close_all()
    end_supervisors(home)


@pytest.fixture
def demo(gpunb: Gpunb, rented_from: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpunb:
    """The same, with a session called demo, in an empty working folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    rented = gpunb("rent", "--name", "demo", "--for", "30m")
    assert rented.code == 0, rented.err
    return gpunb

"""The terminal door, called in process, and a live local session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.supervisors import end_supervisors
from support.terminal import Ran

from gpunb.commands.cli import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.terminal import Gpunb


@pytest.fixture
def gpunb(capfd: pytest.CaptureFixture[str], home: Path) -> Iterator[Gpunb]:
    """``gpunb("ps", "--json")`` as typed in a terminal without a keyboard."""

    def call(*args: str) -> Ran:
        capfd.readouterr()
        code = run(list(args))
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    yield call
    from gpunb.sessions import reach

    reach.close_all()
    end_supervisors(home)


@pytest.fixture
def demo(gpunb: Gpunb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpunb:
    """The same, with a session called demo, in an empty working folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    rented = gpunb("rent", "--name", "demo", "--for", "30m")
    assert rented.code == 0, rented.err
    return gpunb

"""On the local provider, whose SFTP server is another one than OpenSSH's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gpunb.ssh import Connection, Endpoint
from gpunb.sync import sync
from tests.support.trees import odd_tree, shape

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.machines.localhost import LocalHost


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sftp", "rsync"])
def test_trees_are_equal_both_ways(local_host: LocalHost, tmp_path: Path, engine: str) -> None:
    (tmp_path / "s").mkdir()
    odd_tree(tmp_path / "s")
    with Connection.open(Endpoint(**local_host.facts)) as line:
        for _ in range(2):
            report = sync(line, str(tmp_path / "s"), "t", direction="up", engine=engine)  # type: ignore[arg-type]
            report.check()
        assert report.plan.items == []
        assert shape(local_host.home / "t") == shape(tmp_path / "s")
        for _ in range(2):
            report = sync(line, "t", str(tmp_path / "b"), direction="down", engine=engine)  # type: ignore[arg-type]
            report.check()
        assert report.plan.items == []
        assert shape(tmp_path / "b") == shape(tmp_path / "s")
        (tmp_path / "s/sub/plain.txt").unlink()
        sync(line, str(tmp_path / "s"), "t", direction="up", delete=True).check()
        assert shape(local_host.home / "t") == shape(tmp_path / "s")


@pytest.mark.slow
@pytest.mark.parametrize("when", [10_413_792_000, -10_000_000, 2**32 + 7])
def test_a_date_that_sftp_can_not_carry_hides_no_file(
    local_host: LocalHost, tmp_path: Path, when: int
) -> None:
    out = local_host.home / "out"
    out.mkdir()
    for name in ("far", "near"):
        (out / name).write_text(name)
    os.utime(out / "far", (when, when))
    with Connection.open(Endpoint(**local_host.facts)) as line:
        sync(line, "out", str(tmp_path / "b"), direction="down", engine="sftp").check()
        assert {p.name: p.read_text() for p in (tmp_path / "b").iterdir()} == {"far": "far", "near": "near"}
        sync(line, str(out), "again", direction="up", engine="sftp").check()
        assert sync(line, str(out), "again", direction="up", engine="sftp").sent_files == 0

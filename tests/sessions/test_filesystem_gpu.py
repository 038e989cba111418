"""``gpu://``: found by fsspec and pandas, over a rented (local) session's connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fsspec
import pandas as pd
import pytest

from gpunb.errors import WrongState
from gpunb.providers.local import LocalProvider
from gpunb.sessions import lifecycle
from gpunb.sessions.access import host_access
from gpunb.sessions.integrations.filesystem import GpuFileSystem
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.lifecycle import RentRequest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_pandas_and_fsspec_reach_a_session(home: Path, tmp_path: Path) -> None:
    from gpunb.providers import OfferQuery

    cloud = LocalProvider()
    GpuFileSystem.clear_instance_cache()
    if fsspec.registry.get("gpu") is None:  # an installation made before this entry point was
        fsspec.register_implementation("gpu", GpuFileSystem, clobber=True)
    with Ledger.open() as ledger:
        session = lifecycle.rent(
            ledger, cloud, cloud.search(OfferQuery()), RentRequest(name="trainer", hours=1)
        )
        try:
            frame = pd.DataFrame({"step": range(1000), "loss": [1 / (n + 1) for n in range(1000)]})
            frame.to_parquet("gpu://trainer/out/x.parquet")
            assert host_access.connection(session).run("stat -c %s out/x.parquet").code == 0
            assert pd.read_parquet("gpu://trainer/out/x.parquet").equals(frame)
            with fsspec.open("gpu://trainer/out/x.parquet") as file:
                assert file.read(4) == b"PAR1"
            fs = fsspec.filesystem("gpu")
            assert fs.ls("", detail=False) == ["trainer"]
            assert fs.ls("gpu://trainer/out", detail=False) == ["trainer/out/x.parquet"]
            fs.get("gpu://trainer/out/", f"{tmp_path}/out/", recursive=True)
            assert (tmp_path / "out" / "x.parquet").stat().st_size == fs.du("trainer/out")
            fs._small.note()
            moved = {(one.direction, one.bytes) for one in ledger.transfers(session.id)}
            size = fs.du("trainer/out")
            assert ("down", size) in moved, "what moved is in the books"
            assert ("up", size) in moved
            assert fs._hosts["trainer"].connection is host_access.connection(session), "one connection"
            with pytest.raises(FileNotFoundError, match="nobody"):
                fs.cat("nobody/x")
        finally:
            lifecycle.down(ledger, cloud, session)
            host_access.close_all()
        with pytest.raises((WrongState, FileNotFoundError)):
            fs.cat("trainer/out/x.parquet")

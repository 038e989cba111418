"""``nvidia-smi`` of a simulated host, run as the program that it is."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from gpunb.sim.hosts import smi
from gpunb.sim.hosts.machines import HostSpec
from gpunb.sim.hosts.real import install_smi

if TYPE_CHECKING:
    from pathlib import Path


def call(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [folder / "nvidia-smi", *words], capture_output=True, text=True, check=False, timeout=30
    )
    return done.returncode, done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    install_smi(tmp_path, HostSpec(id="abc", gpu="H100 SXM", gpus=2, vram_mib=81_559))
    return tmp_path


def test_query_with_header_and_units(folder: Path) -> None:
    code, out = call(folder, "--query-gpu=name,memory.total,utilization.gpu", "--format=csv")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "name, memory.total [MiB], utilization.gpu [%]"
    assert len(lines) == 3
    assert lines[1].startswith("NVIDIA H100 SXM, 81559 MiB, ")


def test_query_without_header_and_units(folder: Path) -> None:
    _, out = call(
        folder, "-i", "1", "--query-gpu=index,memory.used,memory.free", "--format=csv,noheader,nounits"
    )
    index, used, free = out.strip().split(", ")
    assert index == "1"
    assert int(used) + int(free) == 81_559


def test_the_plain_table_is_straight(folder: Path) -> None:
    code, out = call(folder)
    lines = out.splitlines()[1:]
    assert code == 0
    assert {len(line) for line in lines} == {len(lines[0])}
    assert out.count("NVIDIA H100 SXM") == 2


def test_list_and_refusals(folder: Path) -> None:
    code, out = call(folder, "-L")
    assert code == 0
    assert out.splitlines()[1].startswith("GPU 1: NVIDIA H100 SXM (UUID: GPU-")
    assert call(folder, "--query-gpu=colour", "--format=csv") == (
        2,
        'Field "colour" is not a valid field to query.\n',
    )
    assert call(folder, "-i", "2")[0] == 6
    assert call(folder, "--dance")[0] == 1


def test_the_load_moves_and_stays_plausible() -> None:
    spec = {
        "seed": "s",
        "vram_mib": 24_000,
        "watts": 450,
        "gpus": 1,
        "name": "x",
        "driver": "1",
        "compute_cap": "8.9",
    }
    seen = [smi.state(spec, 0, 1_800_000_000 + second) for second in range(0, 200, 5)]
    loads = [int(row["utilization.gpu"][0]) for row in seen]
    assert len(set(loads)) > 10
    assert all(0 <= load <= 100 for load in loads)
    assert all(0 < float(row["power.draw"][0]) <= 450 for row in seen)
    assert all(0 < int(row["memory.used"][0]) < 24_000 for row in seen)

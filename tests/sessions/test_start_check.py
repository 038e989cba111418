"""The comparison of an offer with what a host reports of itself."""

from __future__ import annotations

from typing import Any

import pytest

from gpunb.offers.gpus import same_model
from gpunb.providers.base import Offer
from gpunb.sessions.model import Transfer
from gpunb.sessions.start_check import Limits, StartCheck, _line, compare

H100 = {"name": "NVIDIA H100 80GB HBM3", "mib": 81559, "ecc": 0, "slowed": ""}


def offer(**more: Any) -> Offer:
    return Offer(**{"provider": "p", "id": "o", "gpu": "H100 SXM", "gpus": 2, "vram_gb": 80.0, **more})


def report(gpus: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    rows = [dict(H100), dict(H100)] if gpus is None else gpus
    return {
        "smi": "",
        "gpus": rows,
        "driver": "550.54.15",
        "cuda": "12.4",
        "slices": [],
        "took_s": 1.0,
        **more,
    }


def judged(found: StartCheck) -> tuple[str, str]:
    return "; ".join(found.wrong), "; ".join(found.weak)


@pytest.mark.parametrize(
    ("offered", "there", "wrong", "weak"),
    [
        ({}, report(), "", ""),
        ({}, report([dict(H100)] * 3), "", ""),  # more than rented is no reason to end it
        ({}, report([dict(H100)]), "it has 1 of 2 GPUs", ""),
        ({}, report([]), "it has 0 of 2 GPUs", ""),
        ({}, report([H100, {**H100, "name": "NVIDIA H100 PCIe"}]), "it has H100 PCIe, and H100 SXM", ""),
        ({}, report([H100, {**H100, "mib": 40960}]), "a GPU has 40 GB of memory, and 80 GB", ""),
        ({}, report([H100, {**H100, "mib": None}]), "", ""),  # "[N/A]"
        ({"vram_gb": 0.0}, report([{**H100, "mib": 40960}] * 2), "", ""),  # not said, not compared
        # a driver keeps some for itself: 23028 MiB of an A10G's 24 GB, with ECC
        (
            {"gpu": "A10G", "gpus": 1, "vram_gb": 24.0},
            report([{"name": "NVIDIA A10G", "mib": 23028}]),
            "",
            "",
        ),
        ({}, report([{**H100, "ecc": 3.0}, H100]), "", "GPU 0 had 3 memory errors"),
        ({}, report([H100, {**H100, "slowed": "power brake"}]), "", "GPU 1 is slowed down (power brake)"),
        ({}, report(smi="No devices were found", gpus=[]), "does not answer (No devices", ""),
        ({}, report(smi="missing", gpus=[], driver=""), "", ""),
        ({"gpu": "", "gpus": 0}, report(smi="failed", gpus=[]), "", ""),  # no GPU was rented
        ({}, report(slices=["1g.10gb"] * 2), "2 MIG slices (1g.10gb) of 2x H100 SXM, and whole GPUs", ""),
        ({"gpu_raw": "H100 MIG 1g.10gb", "vram_gb": 10.0}, report(slices=["1g.10gb"] * 2), "", ""),
        ({}, report(image_cuda="12.4.1"), "", ""),
        ({}, report(image_cuda="12.8"), "", ""),  # one major version runs on each driver of it
        ({}, report(image_cuda="13.0.0"), "is too old for the image, which needs CUDA 13.0", ""),
        ({}, report(image_cuda="13.0", work=[{"gpu": 0, "by": "torch", "why": ""}]), "", ""),  # it computes
        ({"cuda": 12.8}, report(), "", "is older than offered (CUDA 12.8)"),
        ({"cuda": 12.4}, report(cuda=None), "", ""),
    ],
)
def test_what_ends_it_and_what_is_told(
    offered: dict[str, Any], there: dict[str, Any], wrong: str, weak: str
) -> None:
    found = judged(compare(offer(**offered), there, Limits()))
    assert bool(found[0]) == bool(wrong)
    assert bool(found[1]) == bool(weak)
    assert wrong in found[0]
    assert weak in found[1]


@pytest.mark.parametrize(
    ("lines", "wrong", "weak"),
    [
        ([(0, "driver", ""), (1, "driver", "")], "", ""),
        (
            [(0, "driver", ""), (1, "driver", "CUDA_ERROR_ECC_UNCORRECTABLE")],
            "GPU 1 does not work (CUDA_ERROR",
            "",
        ),
        ([(-1, "driver", "cuInit: CUDA_ERROR_NO_DEVICE")], "its GPU does not work (cuInit", ""),
        # the driver works, so a library that does not is the image's: another machine has the same
        (
            [(0, "driver", ""), (0, "torch", "no kernel image")],
            "",
            "torch of the image fails on GPU 0 (no kernel",
        ),
        ([(0, "driver", ""), (-1, "torch", "driver too old")], "", "torch of the image fails on its GPU"),
        ([(0, "torch", "out of memory")], "GPU 0 does not work (out of memory)", ""),
    ],
)
def test_the_first_computation(lines: list[tuple[int, str, str]], wrong: str, weak: str) -> None:
    work = [{"gpu": gpu, "by": by, "why": why} for gpu, by, why in lines]
    found = judged(compare(offer(), report(work=work, work_over=True), Limits()))
    assert wrong in found[0]
    assert weak in found[1]
    assert bool(found[0]) == bool(wrong)
    assert bool(found[1]) == bool(weak)


def test_what_can_not_be_compared_is_said_and_ends_nothing() -> None:
    found = compare(offer(), report(smi="missing", gpus=[], driver="", work=[], work_over=False), Limits())
    assert (found.wrong, found.weak) == ([], [])
    assert [one.split(":")[0] for one in found.notes] == [
        "there is no nvidia-smi",
        "the first computation on the GPUs had not ended within the check's time",
    ]


def test_a_disk_is_held_against_what_was_offered_and_only_then() -> None:
    weak = compare(offer(disk_mbps=2000.0), report(disk_mbps=300.0), Limits())
    assert judged(weak) == ("", "its disk writes 300 MB/s, and 2000 were offered")
    assert compare(offer(disk_mbps=1000.0), report(disk_mbps=300.0), Limits()).weak == []
    assert compare(offer(disk_mbps=2000.0), report(), Limits()).weak == []
    assert "disk" not in {one.what for one in compare(offer(), report(disk_mbps=1.0), Limits()).figures}


@pytest.mark.parametrize(
    "odd",
    [
        {"gpus": "x"},
        {"gpus": [3]},
        {"work": {"gpu": 1}},
        {"disk_mbps": "fast"},
        {"slices": 3},
        {"cores": -1},
        {"ram_gb": True},
        {"work": [{"gpu": "0"}]},
    ],
)
def test_a_host_that_answers_nonsense_raises_nothing(odd: dict[str, Any]) -> None:
    data = compare(offer(disk_mbps=5.0, cores=4, ram_gb=8), {**report(), **odd}, Limits()).data()
    assert StartCheck.from_data(data).data() == data


def test_the_line_is_the_first_large_transfer() -> None:
    def moved(direction: str, size: int, seconds: float, state: str = "ok") -> Transfer:
        return Transfer(
            session_id="s", direction=direction, bytes=size, started=0.0, ended=seconds, state=state
        )

    found = StartCheck()
    rows = [
        moved("up", 1000, 1.0),
        moved("up", 90_000_000, 1.0, "broken"),
        moved("up", 10_000_000, 4.0),
        moved("up", 90_000_000, 1.0),
        moved("down", 50_000_000, 1.0),
    ]
    _line(found, offer(inet_down_mbps=500.0, inet_up_mbps=500.0), rows, Limits())
    assert [(one.what, one.found, one.verdict) for one in found.figures] == [
        ("line to it", "20 Mbit/s", "weak"),
        ("line from it", "400 Mbit/s", ""),
    ]
    assert "your own line may be the slower one" in found.weak[0]


@pytest.mark.parametrize(
    ("offered", "shown", "same"),
    [
        ("RTX 4090", "NVIDIA GeForce RTX 4090", True),
        ("RTX 4090", "NVIDIA GeForce RTX 4090 D", False),
        ("RTX 4090", "NVIDIA GeForce RTX 3090", False),
        ("H100", "NVIDIA H100 NVL", True),
        ("H100 SXM", "NVIDIA H100 80GB HBM3", True),
        ("H100 PCIe", "NVIDIA H100 80GB HBM3", False),
        ("H100 PCIe", "NVIDIA H100 PCIe", True),
        ("H100 NVL", "NVIDIA H100 PCIe", False),
        ("H200 SXM", "NVIDIA H200", True),
        ("A100_80GB", "NVIDIA A100-SXM4-80GB", True),
        ("A100 SXM", "NVIDIA A100-PCIE-40GB", False),
        ("L40S", "NVIDIA L40S", True),
        ("L40S", "NVIDIA L40", False),
        ("RTX 6000", "Quadro RTX 6000", True),
        ("RTX 6000", "NVIDIA RTX 6000 Ada Generation", True),
        ("RTX 6000", "NVIDIA RTX A6000", False),
        ("RTX PRO 6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", True),
        ("GH200", "NVIDIA GH200 480GB", True),
        ("Tesla V100", "Tesla V100-SXM2-16GB", True),
        ("H100 SXM", "NVIDIA Graphics Device", None),
        ("Moonshot 9", "NVIDIA H100 PCIe", None),
    ],
)
def test_one_model_by_two_names(offered: str, shown: str, same: bool | None) -> None:
    assert same_model(offered, shown) is same

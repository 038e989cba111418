from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunb.offers.gpus import known_names, normalise, snap_vram, vram_from_mib, wanted

# what the clouds, their pages and the driver call them
SPELLINGS = [
    ("NVIDIA H100 80GB HBM3", "H100 SXM"),
    ("NVIDIA H100 PCIe", "H100 PCIe"),
    ("NVIDIA H100 NVL", "H100 NVL"),
    ("H100_SXM", "H100 SXM"),
    ("H100_SXM5", "H100 SXM"),
    ("H100SXM", "H100 SXM"),
    ("8xH100-80GB", "H100"),
    ("H100", "H100"),
    ("h200 SXM", "H200 SXM"),
    ("H200", "H200"),
    ("H200_NVL", "H200 NVL"),
    ("NVIDIA B200", "B200"),
    ("2xB200-180GB", "B200"),
    ("1xB100-180GB", "B100"),
    ("GB200 NVL72", "GB200"),
    ("GH200_SXM", "GH200"),
    ("NVIDIA A100-SXM4-80GB", "A100 SXM"),
    ("NVIDIA A100 80GB PCIe", "A100 PCIe"),
    ("A100_PCIE", "A100 PCIe"),
    ("A100 80GB", "A100"),
    ("A100_80G", "A100"),
    ("A100X", "A100X"),
    ("A800_PCIE", "A800 PCIe"),
    ("Tesla V100-SXM2-16GB", "V100 SXM"),
    ("Tesla V100", "V100"),
    ("V100", "V100"),
    ("Tesla T4", "T4"),
    ("Tesla P100-PCIE-16GB", "P100 PCIe"),
    ("NVIDIA A10G", "A10G"),
    ("A10", "A10"),
    ("NVIDIA A40", "A40"),
    ("NVIDIA L40S", "L40S"),
    ("L40", "L40"),
    ("NVIDIA L4", "L4"),
    ("RTX A6000", "RTX A6000"),
    ("A6000", "RTX A6000"),
    ("RTX_6000Ada", "RTX 6000 Ada"),
    ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
    ("RTX_4000Ada", "RTX 4000 Ada"),
    ("RTX_PRO_6000_WS", "RTX PRO 6000 WS"),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 WS"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 S"),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000 Max-Q"),
    ("Q_RTX_8000", "Quadro RTX 8000"),
    ("Quadro RTX 8000", "Quadro RTX 8000"),
    ("RTX_4090", "RTX 4090"),
    ("NVIDIA GeForce RTX 4090", "RTX 4090"),
    ("Geforce RTX 4090", "RTX 4090"),
    ("rtx4090", "RTX 4090"),
    ("4090", "RTX 4090"),
    ("RTX 4090D", "RTX 4090 D"),
    ("RTX_4070S_Ti", "RTX 4070 Ti SUPER"),
    ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX 4070 Ti SUPER"),
    ("RTX_4080S", "RTX 4080 SUPER"),
    ("RTX 2080 Ti", "RTX 2080 Ti"),
    ("2080 Ti", "RTX 2080 Ti"),
    ("1080 Ti", "GTX 1080 Ti"),
    ("GTX_1660_S", "GTX 1660 SUPER"),
    ("GTX_TITAN_X", "Titan X"),
    ("TITAN RTX", "Titan RTX"),
    ("RTX 5090", "RTX 5090"),
    ("RTX_3060_laptop", "RTX 3060 Laptop"),
    ("P104-100", "P104-100"),
    ("InstinctMI50", "MI50"),
    ("AMD Instinct MI300X OAM", "MI300X"),
    ("AMD Instinct MI250X", "MI250X"),
    ("RX_6950_XT", "RX 6950 XT"),
    ("Radeon_VII", "Radeon VII"),
]


@pytest.mark.parametrize(("spelled", "name"), SPELLINGS)
def test_every_spelling_is_one_model(spelled, name):
    found = normalise(spelled)
    assert found.name == name
    assert found.known


def test_names_of_the_table_stand_for_themselves():
    assert [name for name in known_names() if normalise(name).name != name] == []


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("NVIDIA Banana_9", "Banana 9"),
        ("  Tensor\x1b[31mThing \x07 X ", "TensorThing X"),
        ("", ""),
        ("nvidia", "nvidia"),
        ("H1000", "H1000"),
        ("A1000", "A1000"),
    ],
)
def test_unknown_names_pass_through_cleaned(raw, name):
    found = normalise(raw)
    assert found.name == name
    assert not found.known


@given(st.text(max_size=300) | st.sampled_from([name for name, _ in SPELLINGS]))
@settings(max_examples=300)
def test_a_second_pass_changes_nothing(raw):
    once = normalise(raw).name
    assert normalise(once).name == once
    assert once == "" or once.isprintable()
    assert len(once) <= 70


@pytest.mark.parametrize(
    ("mib", "raw", "gb"),
    [
        (81559, "H100 SXM", 80),
        (95830, "H100 NVL", 94),
        (143771, "H200", 141),
        (183359, "B200", 180),
        (24564, "RTX 4090", 24),
        (49140, "RTX 4090", 48),
        (40960, "A100 SXM4", 40),
        (81920, "A100", 80),
        (15360, "Tesla T4", 16),
        (23028, "A10", 24),
        (46068, "L40S", 48),
        (46068, "A40", 48),
        (49140, "RTX 6000Ada", 48),
        (16384, "Tesla V100", 16),
        (12288, "RTX 3060", 12),
        (8192, "RTX 3060", 8),
        (11264, "RTX 2080 Ti", 11),
        (6144, "RTX 3060 laptop", 6),
        (196608, "MI300X", 192),
        (97887, "RTX PRO 6000 S", 96),
    ],
)
def test_what_a_driver_reports_is_the_makers_figure(mib, raw, gb):
    sizes = normalise(raw).vram
    assert vram_from_mib(mib, sizes) == gb
    assert snap_vram(mib / 1000, sizes) == gb  # Vast's client divides by 1000


def test_memory_that_no_model_has_is_left_as_it_is():
    assert snap_vram(7.53) == 8
    assert snap_vram(33.0, (80,)) == 33.0
    assert snap_vram(0.0, (24, 48)) == 0.0
    assert snap_vram(0.0, (24,)) == 24.0


def test_a_family_means_all_its_forms_and_a_size_narrows_it():
    assert wanted("h100").names == {"h100", "h100 sxm", "h100 pcie", "h100 nvl"}
    assert wanted("H100 SXM").names == {"h100 sxm"}
    assert wanted("A100 80GB").vram_gb == 80
    assert wanted("RTX PRO 6000").names >= {"rtx pro 6000 ws", "rtx pro 6000 s"}
    assert wanted("3080").names == {"rtx 3080"}
    assert not wanted("Banana").known


def test_a_clouds_own_filter_gets_its_own_spellings():
    assert "RTX 6000Ada" in wanted("RTX 6000 Ada").spellings
    assert "RTX 4070S Ti" in wanted("RTX 4070 Ti SUPER").spellings
    assert "A100 SXM4" in wanted("A100 SXM").spellings
    assert "RTX 4090D" in wanted("RTX 4090 D").spellings
    assert "InstinctMI50" in wanted("MI50").spellings

"""Table of GPU models, and normalisation of the clouds' spellings to its names.

"NVIDIA A100-SXM4-80GB", "A100_SXM4" and "a100 sxm" are one model; "RTX 4070S
Ti" is "RTX 4070 Ti SUPER". A name that the table does not know passes through,
cleaned. Memory sizes are the makers'; what a driver reports (81559 MiB) is
snapped to them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from gpunb.offers.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gpu", "Wanted", "known_names", "normalise", "same_model", "snap_vram", "vram_from_mib", "wanted"]

LONGEST_NAME = 60
SNAP = 0.08  # a driver shows up to 6.3 % less than the maker's figure (T4: 15360 MiB of 16 GB)

# name, memory in GB (several where it is sold with several), other spellings
_PLAIN: tuple[tuple[str, tuple[int, ...], tuple[str, ...]], ...] = (
    ("B100", (180, 192), ()),
    ("B200", (180, 192), ()),
    ("B300", (288,), ()),
    ("GB200", (186, 192), ()),
    ("GB300", (288,), ()),
    ("GH200", (96, 144), ()),
    ("H20", (96, 141), ()),
    ("A100X", (80,), ()),
    ("A40", (48,), ()),
    ("A30", (24,), ()),
    ("A16", (16,), ()),
    ("A10", (24,), ()),
    ("A10G", (24,), ()),
    ("A2", (16,), ()),
    ("L40S", (48,), ()),
    ("L40", (48,), ()),
    ("L20", (48,), ()),
    ("L4", (24,), ()),
    ("T4", (16,), ()),
    ("T4G", (16,), ()),
    ("P40", (24,), ()),
    ("P4", (8,), ()),
    ("K80", (12, 24), ()),
    ("M40", (12, 24), ()),
    ("M60", (8, 16), ()),
    ("P104-100", (4, 8), ()),
    ("RTX PRO 6000", (96,), ("pro6000",)),
    ("RTX PRO 6000 WS", (96,), ("rtxpro6000workstation", "pro6000ws")),
    ("RTX PRO 6000 S", (96,), ("rtxpro6000server", "rtxpro6000se", "pro6000s")),
    ("RTX PRO 6000 Max-Q", (96,), ("rtxpro6000maxqworkstation", "pro6000maxq")),
    ("RTX PRO 5000", (48, 72), ("pro5000",)),
    ("RTX PRO 4500", (32,), ("pro4500",)),
    ("RTX PRO 4000", (24,), ("pro4000",)),
    ("RTX PRO 2000", (16,), ("pro2000",)),
    ("RTX 6000 Ada", (48,), ("6000ada", "l6000ada")),
    ("RTX 5880 Ada", (48,), ("5880ada",)),
    ("RTX 5000 Ada", (32,), ("5000ada",)),
    ("RTX 4500 Ada", (24,), ("4500ada",)),
    ("RTX 4000 Ada", (20,), ("4000ada", "rtx4000sffada")),
    ("RTX 2000 Ada", (16,), ("2000ada",)),
    ("RTX A6000", (48,), ("a6000",)),
    ("RTX A5500", (24,), ("a5500",)),
    ("RTX A5000", (24,), ("a5000",)),
    ("RTX A4500", (20,), ("a4500",)),
    ("RTX A4000", (16,), ("a4000",)),
    ("RTX A2000", (6, 12), ("a2000",)),
    ("RTX 6000", (24, 48), ()),  # the cloud does not say which of the two generations it is
    ("Quadro RTX 8000", (48,), ("qrtx8000", "rtx8000")),
    ("Quadro RTX 6000", (24,), ("qrtx6000",)),
    ("Quadro RTX 5000", (16,), ("qrtx5000", "rtx5000")),
    ("Quadro RTX 4000", (8,), ("qrtx4000", "rtx4000")),
    ("Quadro GV100", (32,), ("gv100",)),
    ("Quadro P6000", (24,), ("p6000",)),
    ("Quadro P5000", (16,), ("p5000",)),
    ("Quadro P4000", (8,), ("p4000",)),
    ("Quadro K2200", (4,), ("k2200",)),
    ("Titan RTX", (24,), ()),
    ("Titan V", (12, 32), ()),
    ("Titan Xp", (12,), ()),
    ("Titan X", (12,), ("gtxtitanx",)),
    ("MI355X", (288,), ()),
    ("MI350X", (288,), ()),
    ("MI325X", (256,), ()),
    ("MI300X", (192,), ()),
    ("MI300A", (128,), ()),
    ("MI250X", (64, 128), ()),
    ("MI250", (64, 128), ()),
    ("MI210", (64,), ()),
    ("MI100", (32,), ()),
    ("MI60", (32,), ()),
    ("MI50", (16, 32), ()),
    ("Radeon VII", (16,), ()),
    ("Radeon PRO W7900", (48,), ("w7900",)),
    ("RX 7900 XTX", (24,), ("radeonrx7900xtx", "7900xtx")),
    ("RX 7900 XT", (20,), ("radeonrx7900xt", "7900xt")),
    ("RX 6950 XT", (16,), ("radeonrx6950xt", "6950xt")),
    ("RX 6900 XT", (16,), ("radeonrx6900xt", "6900xt")),
    ("RX 6800 XT", (16,), ("radeonrx6800xt", "6800xt")),
    ("Gaudi 2", (96,), ("hl225", "intelgaudi2", "habanagaudi2")),
    ("Gaudi 3", (128,), ("hl325", "intelgaudi3", "habanagaudi3")),
)

# sold in several forms: name, memory of an unnamed form, memory of each form
_FORMS: tuple[tuple[str, tuple[int, ...], dict[str, tuple[int, ...]]], ...] = (
    ("H100", (80, 94), {"SXM": (80,), "PCIe": (80,), "NVL": (94,)}),
    ("H200", (141,), {"SXM": (141,), "NVL": (141,)}),
    ("H800", (80,), {"SXM": (80,), "PCIe": (80,)}),
    ("A100", (40, 80), {"SXM": (40, 80), "PCIe": (40, 80)}),
    ("A800", (40, 80), {"SXM": (80,), "PCIe": (40, 80)}),
    ("V100", (16, 32), {"SXM": (16, 32), "PCIe": (16, 32)}),
    ("P100", (12, 16), {"SXM": (16,), "PCIe": (12, 16)}),
)

_GEFORCE: dict[str, tuple[int, ...]] = {
    "RTX 5090": (32,),
    "RTX 5090 D": (24, 32),
    "RTX 5080": (16,),
    "RTX 5070 Ti": (16,),
    "RTX 5070": (12,),
    "RTX 5060 Ti": (8, 16),
    "RTX 5060": (8,),
    "RTX 5050": (8,),
    "RTX 4090": (24, 48),
    "RTX 4090 D": (24, 48),
    "RTX 4080 SUPER": (16, 32),
    "RTX 4080": (12, 16),
    "RTX 4070 Ti SUPER": (16,),
    "RTX 4070 Ti": (12,),
    "RTX 4070 SUPER": (12,),
    "RTX 4070": (12,),
    "RTX 4060 Ti": (8, 16),
    "RTX 4060": (8,),
    "RTX 3090 Ti": (24,),
    "RTX 3090": (24,),
    "RTX 3080 Ti": (12,),
    "RTX 3080": (10, 12, 20),
    "RTX 3070 Ti": (8,),
    "RTX 3070": (8,),
    "RTX 3060 Ti": (8,),
    "RTX 3060": (8, 12),
    "RTX 3050": (4, 6, 8),
    "RTX 2080 Ti": (11, 22),
    "RTX 2080 SUPER": (8,),
    "RTX 2080": (8,),
    "RTX 2070 SUPER": (8,),
    "RTX 2070": (8,),
    "RTX 2060 SUPER": (8,),
    "RTX 2060": (6, 12),
    "GTX 1660 Ti": (6,),
    "GTX 1660 SUPER": (6,),
    "GTX 1660": (6,),
    "GTX 1650 SUPER": (4,),
    "GTX 1650": (4,),
    "GTX 1080 Ti": (11,),
    "GTX 1080": (8,),
    "GTX 1070 Ti": (8,),
    "GTX 1070": (8,),
    "GTX 1060": (3, 6),
    "GTX 1050 Ti": (4,),
    "GTX 1050": (2, 3),
}

_SIZES = (
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    11,
    12,
    16,
    20,
    22,
    24,
    32,
    40,
    48,
    64,
    72,
    80,
    94,
    96,
    128,
    141,
    144,
    180,
    192,
    256,
    288,
)
_VENDOR = re.compile(
    r"^(?:(?:nvidia|amd|intel|geforce|tesla|instinct|corporation)\b[\s-]*)+(?=\S)", re.IGNORECASE
)
_COUNT = re.compile(r"^\d{1,2}\s?x\s?(?=[a-z])")
_MEMORY = re.compile(r"(?<![a-z0-9.])(\d{1,3})\s?(?:gib|gb|gi|g)(?![a-z0-9])")
_FORM = re.compile(r"(?<![a-z0-9])(sxm\d?|pci[ -]?e|nvl|oam|hgx|dgx)(?:\d{0,2})(?![a-z0-9])")
_GLUED = re.compile(r"(sxm\d?|pcie|nvl)$")
_RAM = re.compile(r"(?<![a-z0-9])(hbm\d?e?|gddr\d?x?|infiniband|roce|nvlink|ethernet)(?![a-z0-9])")
_NOISE = re.compile(
    r"nvidia|geforce|tesla|instinct|amd|corporation|generation|graphics|edition|accelerator|blackwell|gpu"
)
_LAPTOP = re.compile(r"(?:laptop|mobile|maxq)$")
_LETTERS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Gpu:
    """The model that a spelling stands for.

    Attributes
    ----------
    name
        The table's name ("H100 SXM"), or the cleaned spelling if unknown.
    family
        The name without its form ("H100"); the same as `name` elsewhere.
    vram
        The sizes, GB, that the model is sold with; empty if unknown.
    vram_said
        The size, GB, that the spelling itself names ("A100-40GB"), or 0.
    """

    name: str
    family: str
    vram: tuple[int, ...] = ()
    vram_said: float = 0.0

    @property
    def known(self) -> bool:
        """Whether the model is in the table."""
        return bool(self.vram)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The models that a user's name for a GPU accepts.

    Attributes
    ----------
    models
        The table's names; the first is what `text` stands for.
    spellings
        The same as clouds may spell them, for a cloud's own filter.
    vram_gb
        The memory size that the user named, or 0.
    """

    text: str
    models: tuple[str, ...]
    spellings: tuple[str, ...]
    vram_gb: float
    known: bool

    @property
    def names(self) -> frozenset[str]:
        """The models in lower case."""
        return frozenset(model.lower() for model in self.models)


def _spellings() -> Iterator[tuple[str, str]]:
    for name, _, others in _PLAIN:
        yield _key(name), name
        for other in others:
            yield other, name
    for name, _, _ in _FORMS:
        yield _key(name), name
    for name in _GEFORCE:
        key = _key(name)
        short = key.replace("super", "s")
        tails = {key, short, short.replace("tis", "sti")}
        for tail in tails:
            yield tail, name
            yield tail[3:], name  # "4090", "3060ti"


def _key(text: str) -> str:
    return _NOISE.sub("", _LETTERS.sub("", text.lower()))


_VRAM: dict[str, tuple[int, ...]] = {
    **{name: sizes for name, sizes, _ in _PLAIN},
    **{name: sizes for name, sizes, _ in _FORMS},
    **_GEFORCE,
}
_MODEL_FORMS: dict[str, dict[str, tuple[int, ...]]] = {name: forms for name, _, forms in _FORMS}
_BY_KEY: dict[str, str] = dict(_spellings())


def known_names() -> list[str]:
    """List every name of the table, with its forms."""
    forms = [f"{name} {form}" for name, _, found in _FORMS for form in found]
    return [*_VRAM, *forms]


@lru_cache(maxsize=4096)
def _normalise(text: str) -> Gpu:
    shown = _VENDOR.sub("", clean(text.replace("_", " "), LONGEST_NAME))
    rest = _COUNT.sub("", shown.lower())
    memory = _MEMORY.search(rest)
    gigabytes = float(memory[1]) if memory else 0.0
    rest = _MEMORY.sub(" ", rest)
    found_form = _FORM.search(rest)
    form = found_form[1] if found_form else ""
    rest = _FORM.sub(" ", rest)
    key = _key(_RAM.sub(" ", rest))
    base = _BY_KEY.get(key)
    if base is None and (glued := _GLUED.search(key)):
        form = form or glued[1]
        base = _BY_KEY.get(key[: glued.start()])
    laptop = False
    if base is None and (small := _LAPTOP.search(key)):
        base = _BY_KEY.get(key[: small.start()])
        laptop = True
    if base is None:
        return Gpu(shown, shown, (), gigabytes)
    if laptop:
        # a laptop's chip has its own memory: any common size
        return Gpu(f"{base} Laptop", f"{base} Laptop", _SIZES, gigabytes)
    forms = _MODEL_FORMS.get(base)
    if forms is None:
        return Gpu(base, base, _VRAM[base], gigabytes)
    if not form and base == "H100" and "hbm3" in rest:
        form = "sxm"  # the driver's own name of the SXM form is "NVIDIA H100 80GB HBM3"
    word = "SXM" if form[:3] in {"sxm", "hgx", "dgx"} else "PCIe" if form[:3] == "pci" else form.upper()
    if word in forms:
        return Gpu(f"{base} {word}", base, forms[word], gigabytes)
    return Gpu(base, base, _VRAM[base], gigabytes)


def normalise(text: str) -> Gpu:
    """Return the model that `text` stands for, in any cloud's spelling; cached by spelling.

    Unknown names come back cleaned: one printable line, no vendor, at most 60
    characters. A second pass changes nothing.
    """
    return _normalise(text[:400])


def snap_vram(gb: float, sizes: tuple[int, ...] = ()) -> float:
    """Round `gb` to the maker's figure, if one is within 8 %; else to 0.1.

    `sizes` are the ones that the model is sold with; without them all common
    sizes are tried.
    """
    if gb <= 0.0:
        return float(sizes[0]) if len(sizes) == 1 else 0.0
    near = min(sizes or _SIZES, key=lambda size: abs(size - gb))
    if abs(near - gb) <= SNAP * near:
        return float(near)
    return round(gb, 1)


def vram_from_mib(mib: float, sizes: tuple[int, ...] = ()) -> float:
    """Convert a driver's MiB to GB: 81559 is 80."""
    return snap_vram(mib / 1024.0, sizes)


def wanted(text: str) -> Wanted:
    """Return the models that a user means by `text`: a family means all its forms, a size narrows it.

    "H100" is the H100 in every form, "H100 SXM" only that one, "A100 80GB" an
    A100 of 80 GB, "4090" an RTX 4090.
    """
    model = normalise(text)
    models = [model.name, *(f"{model.name} {form}" for form in _MODEL_FORMS.get(model.name, ()))]
    if model.name == "RTX PRO 6000":
        models += [name for name in _VRAM if name.startswith("RTX PRO 6000 ")]
    vram = snap_vram(model.vram_said, model.vram) if model.vram_said else 0.0
    return Wanted(model.name, tuple(models), _spelled(models), vram, model.known)


def same_model(one: str, other: str) -> bool | None:
    """Whether two spellings can be one model ("H100", "NVIDIA H100 PCIe"); None if the table lacks one."""
    first, second = normalise(one), normalise(other)
    if first.name.lower() == second.name.lower():
        return True
    if not (first.known and second.known):
        return None
    pair = {first.name, second.name}
    if "RTX 6000" in pair:  # a spelling of two generations
        return bool(pair & {"RTX 6000 Ada", "Quadro RTX 6000"})
    return second.name in wanted(first.name).models or first.name in wanted(second.name).models


def _spelled(models: list[str]) -> tuple[str, ...]:
    """List `models` and Vast.ai's spellings of them: RTX 6000Ada, RTX 4070S Ti, RTX 4090D, Q RTX 8000."""
    found = dict.fromkeys(models)
    for name in models:
        short = name.replace(" Ti SUPER", "S Ti").replace(" SUPER", "S").replace("Quadro RTX", "Q RTX")
        found[short.replace(" Ada", "Ada").replace(" D", "D")] = None
        if name.endswith(" SXM"):
            found |= dict.fromkeys(f"{name}{number}" for number in range(2, 7))
        if name.startswith("MI"):
            found[f"Instinct{name}"] = None
    return tuple(found)

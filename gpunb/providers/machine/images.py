"""What names of images tell: CUDA, the processor's architecture, the system that a GPU user wants.

A tag such as ``2.7.0-cuda12.8-cudnn9-runtime`` names the CUDA that the image is made for. A driver runs
images up to its own CUDA, and a new kind of GPU needs images from the CUDA on that knows it (Vast's page
on the RTX 5 series: 12.8 for Blackwell). A name that says nothing rules nothing out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpunb.providers.base import Offer

__all__ = ["cuda_of", "default_os", "misfit"]

_TAGGED = re.compile(r"(?:^|[^a-z0-9])cu(?:da)?[-_]?(?:(\d{2})\.(\d{1,2})|(\d{2})(\d))(?![0-9])")
_BASE = re.compile(r"(?:^|/)nvidia/cuda:(\d{2})\.(\d{1,2})")
_ARM = re.compile(r"(?:^|[^a-z0-9])(?:arm64|aarch64)(?![a-z0-9])")
#: Compute capability times 100 from which on a GPU needs images of that CUDA, with what its kind is called.
_KINDS = ((1000, 12.8, "Blackwell"), (890, 11.8, "Ada and Hopper"), (800, 11.0, "Ampere"))
_NAMES = ((re.compile(r"\bRTX ?50\d\d|\bG?B[23]00\b|\bRTX PRO (?:4|5|6)\d00", re.IGNORECASE), 1000),)


def cuda_of(image: str) -> float | None:
    """Return the CUDA version in the image's name; None if there is none."""
    name = image.lower()
    found = _BASE.search(name) or _TAGGED.search(name)
    if not found:
        return None
    numbers = [part for part in found.groups() if part]
    return float(f"{numbers[0]}.{numbers[1]}")


def misfit(offer: Offer, image: str) -> str:
    """Return why `image` can't run on the machine of `offer`, in a few words; "" if no reason is known."""
    arch = str(offer.raw.get("cpu_arch") or "")
    if arch and bool(_ARM.search(image.lower())) and arch not in {"arm64", "aarch64"}:
        return f"its processor is {arch[:20]}, and the image is for arm64"
    wanted = cuda_of(image)
    if wanted is None:
        return ""
    if offer.cuda and wanted > offer.cuda + 1e-9:
        return f"its driver runs CUDA up to {offer.cuda:g}, and the image is for {wanted:g}"
    capability = _capability(offer)
    for least, cuda, kind in _KINDS:
        if capability >= least:
            if wanted + 1e-9 < cuda:
                return (
                    f"its {offer.gpu} ({kind}) needs CUDA {cuda:g} or later, and the image is for {wanted:g}"
                )
            break
    return ""


def _capability(offer: Offer) -> float:
    """Return the compute capability times 100; 0 if it is not known."""
    capability: Any = offer.raw.get("compute_cap")
    if isinstance(capability, (int, float)) and capability > 0:
        return float(capability)
    return next((float(least) for name, least in _NAMES if name.search(offer.gpu)), 0.0)


def default_os(options: list[str]) -> str:
    """Choose the system that a GPU user wants: with CUDA if there is one, then the newest Ubuntu."""

    def rank(name: str) -> tuple[bool, bool, list[int]]:
        low = name.lower()
        return "cuda" in low, "ubuntu" in low, [int(part) for part in re.findall(r"\d+", low)]

    return max(options, key=rank, default="")

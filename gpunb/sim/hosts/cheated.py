"""Machines that are not what was offered: each changes what a host shows of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.sim.catalog import MODELS

if TYPE_CHECKING:
    from pathlib import Path

    from gpunb.sim.hosts.machines import HostSpec

__all__ = ["dead_torch", "worsen"]

# a host has no CUDA here, so its PyTorch is what a dead GPU shows itself by
_DEAD_TORCH = """
class version:
    cuda = "12.4"


class cuda:
    is_available = staticmethod(lambda: True)
    device_count = staticmethod(lambda: {gpus})


def ones(shape, device):
    raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
"""


def worsen(spec: HostSpec, kind: str) -> None:
    """Make the host that `spec` describes worse than its offer, in the way of the fault `kind`."""
    if kind == "gpu-missing":
        spec.gpus -= 1
    elif kind == "gpu-other":
        other = next(model for model in MODELS if model.name != spec.gpu and model.vram_mib >= spec.vram_mib)
        spec.gpu, spec.vram_mib = other.name, other.vram_mib
    elif kind == "gpu-half-memory":
        spec.vram_mib //= 2
    elif kind == "gpu-old-driver":
        spec.cuda = 11.4
        spec.env = {**spec.env, "CUDA_VERSION": "12.4.1"}  # as NVIDIA's images have it
    else:
        spec.gpu_trouble = kind.removeprefix("gpu-")


def dead_torch(folder: Path, gpus: int = 1) -> Path:
    """Put a PyTorch whose GPUs can't allocate below `folder`; returns the folder to import it from."""
    place = folder / "python"
    place.mkdir(parents=True, exist_ok=True)
    (place / "torch.py").write_text(_DEAD_TORCH.replace("{gpus}", str(gpus)), "utf-8")
    return place

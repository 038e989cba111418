"""The simulated ``nvidia-smi`` on a host's PATH."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gpunb.sim.hosts import smi


def put(folder: Path, gpus: int = 2, name: str = "NVIDIA H100 80GB HBM3") -> None:
    """A host with `gpus` GPUs, whose ``bin`` is `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = {"name": name, "gpus": gpus, "vram_mib": 81559, "watts": 700, "driver": "550.54.15"}
    spec.update(cuda="12.4", compute_cap="9.0", seed="test")
    (folder / "gpus.json").write_text(json.dumps(spec))
    program = folder / "nvidia-smi"
    source = Path(smi.__file__).read_text().replace("#!/usr/bin/env python3\n", "")
    program.write_text(f"#!{sys.executable}\n{source}")
    program.chmod(0o755)


def put_on(host, gpus: int = 2) -> None:
    """The same for a test's sshd, before an agent is started there."""
    put(host.root / "bin", gpus)
    enter = host.root / "enter"
    first, rest = enter.read_text().split("\n", 1)
    enter.write_text(f'{first}\nexport PATH="{host.root}/bin:$PATH"\n{rest}')

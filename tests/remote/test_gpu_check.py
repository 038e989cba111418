"""A GPU that is paid for and does not answer is named when the machine is ready."""

from __future__ import annotations

import sys

import pytest

from gpunb.remote import AgentClient
from gpunb.services.running.gpu_check import gpu_trouble
from gpunb.sessions.model import Session
from tests.support import smi

pytestmark = pytest.mark.slow

BROKEN = "#!/bin/sh\necho 'Failed to initialize NVML: Unknown Error'; exit 255\n"  # nvidia-docker#1671


@pytest.mark.parametrize(
    ("there", "rented", "said"),
    [
        (None, 2, ""),
        (2, 2, ""),
        (1, 2, "train shows 1 GPU, and 2 are rented"),
        ("broken", 2, "the GPU of train does not answer"),
        ("broken", 0, ""),
    ],
)
def test_what_is_said_of_the_gpus(host, there, rented, said):
    if there is not None:
        smi.put_on(host, there if isinstance(there, int) else 1)
    if there == "broken":
        (host.root / "bin/nvidia-smi").write_text(BROKEN)
    gpu = "H100" if rented else ""
    session = Session(id="s1", name="train", provider="scripted", label="l", gpu=gpu, gpus=rented)
    with AgentClient.connect(host.endpoint(), python=sys.executable) as client:
        found = gpu_trouble(client, session)
    assert found.startswith(said)
    assert bool(found) == bool(said)
    if there == "broken" and rented:
        assert "Failed to initialize NVML" in found
        assert "billed" in found

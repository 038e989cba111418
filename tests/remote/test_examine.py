"""The host's part of the start check: real processes, a simulated ``nvidia-smi``, our own libcuda."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpunb.remote import AgentClient
from tests.support import smi

BROKEN = "#!/bin/sh\necho 'Failed to initialize NVML: Unknown Error'; exit 255\n"  # nvidia-docker#1671
# what gpu_work calls of NVIDIA's library: the second GPU runs out of memory
DRIVER = r"""
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
static int now = 0;
int cuInit(unsigned flags) { return %(init)d; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = now = index; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &now; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxSetCurrent(void *context) { return context == &now ? 0 : 201; }
int cuMemAlloc_v2(uint64_t *at, size_t size) {
    if (now == 1) return 2;
    *at = (uint64_t)malloc(size);
    return 0;
}
int cuMemsetD32_v2(uint64_t at, uint32_t word, size_t count) {
    for (size_t i = 0; i < count; i++) ((uint32_t *)at)[i] = word;
    return 0;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) { memcpy(to, (void *)from, size); return 0; }
int cuMemFree_v2(uint64_t at) { free((void *)at); return 0; }
int cuGetErrorName(int code, const char **name) {
    *name = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_NO_DEVICE";
    return 0;
}
"""


def examined(host, **asked):
    with AgentClient.connect(host.endpoint(), python=sys.executable) as client:
        return client.request("examine", **{"gpus": True, "disk": False, **asked})


@pytest.mark.slow
def test_a_sound_host_tells_its_figures(host):
    smi.put_on(host, 2)
    found = examined(host, disk=True)
    assert found["smi"] == ""
    assert found["gpus"] == [{"name": "NVIDIA H100 80GB HBM3", "mib": 81559.0, "ecc": 0.0, "slowed": ""}] * 2
    assert (found["driver"], found["cuda"], found["slices"]) == ("550.54.15", "12.4", [])
    assert found["disk_mbps"] > 0
    assert found["cores"] >= 0.1
    assert found["ram_gb"] > 0.1
    assert found["work_over"] is True
    assert not list((host.home / ".gpunb").glob("speed-*"))


@pytest.mark.slow
def test_what_is_not_asked_is_not_measured(host):
    found = examined(host, gpus=False)
    assert set(found) <= {"cores", "ram_gb", "took_s", "t", "id", "op", "n", "k"}, found


@pytest.mark.slow
@pytest.mark.parametrize("there", [None, BROKEN])
def test_a_missing_tool_is_missing_and_a_broken_one_is_trouble(host, there):
    if there is not None:
        smi.put_on(host, 1)
        (host.root / "bin/nvidia-smi").write_text(there)
    found = examined(host)
    assert found["gpus"] == []
    assert found["smi"] == "missing" if there is None else "Failed to initialize NVML" in found["smi"]


def run_work(folder: Path, **env: str) -> list[dict]:
    from gpunb.agent.check import gpu_work

    ran = subprocess.run(
        [sys.executable, gpu_work.__file__], capture_output=True, timeout=60, env=env, check=True
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize(
    ("init", "told"),
    [
        (0, [(0, ""), (1, "cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY")]),
        (100, [(-1, "cuInit: CUDA_ERROR_NO_DEVICE")]),
    ],
)
def test_the_driver_is_called_on_each_gpu(tmp_path, init, told):
    (tmp_path / "cuda.c").write_text(DRIVER % {"init": init})
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", tmp_path / "cuda.c"],
        check=True,
        timeout=60,
    )
    lines = run_work(tmp_path, LD_LIBRARY_PATH=str(tmp_path))
    assert [(one["gpu"], one["why"]) for one in lines if one["by"] == "driver"] == told


def test_a_torch_that_fails_is_told_by_gpu(tmp_path):
    from gpunb.sim.hosts.cheated import dead_torch

    lines = run_work(tmp_path, PYTHONPATH=str(dead_torch(tmp_path, 2)))
    assert [(one["gpu"], one["by"]) for one in lines] == [(0, "torch"), (1, "torch")]
    assert all("uncorrectable ECC error" in one["why"] for one in lines)


def test_a_broken_torch_is_no_finding(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libcudnn.so.9')")
    assert run_work(tmp_path, PYTHONPATH=str(tmp_path)) == []

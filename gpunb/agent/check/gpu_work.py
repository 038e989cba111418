"""Let each GPU allocate memory and compute; a program of its own, which a broken driver may kill.

It prints a JSON line for each step at once, so that what it found is known also if it is ended early::

    {"gpu": 0, "by": "driver", "why": ""}      why is "" for a success
    {"gpu": -1, "by": "torch", "why": "..."}   all GPUs: the library can't reach the driver

The driver is called directly (`ctypes`), for that works in every image; then torch or cupy multiplies
matrices, if one of them is installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import json
import sys
from typing import Any

BYTES = 64 << 20
SIDE = 1024
WORD = 0x5A5A1234


def tell(gpu: int, by: str, why: str) -> None:
    """Print one result."""
    sys.stdout.write(json.dumps({"gpu": gpu, "by": by, "why": why[:300]}) + "\n")
    sys.stdout.flush()


class DriverError(Exception):
    """A call of the driver failed."""


class Driver:
    """The calls of ``libcuda`` that are needed, each checked."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def call(self, name: str, *args: object) -> None:
        """Call a function of the driver.

        Raises
        ------
        DriverError
            It returned an error, which the message names.
        """
        code = getattr(self._library, name)(*args)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            raise DriverError("%s: %s" % (name, text.value.decode() if text.value else code))


def by_driver() -> None:
    """Allocate, fill and read back memory on each GPU; nothing if there is no driver library."""
    try:
        driver = Driver(ctypes.CDLL("libcuda.so.1"))
    except OSError:
        return
    count = ctypes.c_int()
    try:
        driver.call("cuInit", 0)
        driver.call("cuDeviceGetCount", ctypes.byref(count))
    except DriverError as err:
        tell(-1, "driver", str(err))
        return
    for index in range(count.value):
        try:
            _fill(driver, index)
        except DriverError as err:
            tell(index, "driver", str(err))
        else:
            tell(index, "driver", "")


def _fill(driver: Driver, index: int) -> None:
    device, context = ctypes.c_int(), ctypes.c_void_p()
    address, word = ctypes.c_uint64(), ctypes.c_uint32()
    driver.call("cuDeviceGet", ctypes.byref(device), index)
    driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        driver.call("cuCtxSetCurrent", context)
        driver.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(BYTES))
        driver.call("cuMemsetD32_v2", address, ctypes.c_uint32(WORD), ctypes.c_size_t(BYTES // 4))
        last = ctypes.c_uint64(address.value + BYTES - 4)
        driver.call("cuMemcpyDtoH_v2", ctypes.byref(word), last, ctypes.c_size_t(4))
        driver.call("cuMemFree_v2", address)
    finally:
        driver.call("cuDevicePrimaryCtxRelease_v2", device)
    if word.value != WORD:
        raise DriverError("memory returned %#x instead of %#x" % (word.value, WORD))


def by_torch() -> None:
    """Multiply matrices by torch on each GPU; nothing for a build without CUDA."""
    torch: Any = importlib.import_module("torch")

    if not getattr(torch.version, "cuda", None):
        return
    if not torch.cuda.is_available():
        try:
            torch.zeros(1, device="cuda")
        except Exception as err:  # noqa: BLE001 - any failure is the finding
            tell(-1, "torch", _short(err))
        return
    for index in range(torch.cuda.device_count()):
        try:
            ones = torch.ones((SIDE, SIDE), device="cuda:%d" % index)
            found = float((ones @ ones)[0, 0])
        except Exception as err:  # noqa: BLE001 - any failure is the finding
            tell(index, "torch", _short(err))
        else:
            tell(index, "torch", "" if found == SIDE else "computed %g, not %d" % (found, SIDE))


def by_cupy() -> None:
    """Multiply matrices by cupy on each GPU."""
    cupy: Any = importlib.import_module("cupy")

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as err:  # noqa: BLE001 - any failure is the finding
        tell(-1, "cupy", _short(err))
        return
    for index in range(count):
        try:
            with cupy.cuda.Device(index):
                ones = cupy.ones((SIDE, SIDE), dtype="float32")
                found = float((ones @ ones)[0, 0])
        except Exception as err:  # noqa: BLE001 - any failure is the finding
            tell(index, "cupy", _short(err))
        else:
            tell(index, "cupy", "" if found == SIDE else "computed %g, not %d" % (found, SIDE))


def _short(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0]


def main() -> None:
    """Run the steps that are possible here."""
    by_driver()
    for name, work in (("torch", by_torch), ("cupy", by_cupy)):
        if importlib.util.find_spec(name) is None:
            continue
        with contextlib.suppress(Exception):  # it is broken or of another version: not the GPU's fault
            work()
            return


if __name__ == "__main__":
    main()

"""``nvidia-smi`` of a simulated host: a stand-alone program in the host's ``bin``.

It reads ``gpus.json`` beside it (name, memory in MiB, watts, driver, seed) and
shows a load that moves smoothly with time, the same for every reader at one
moment. Fields, table and messages are laid out as NVIDIA's tool does it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from typing import Any, Dict, List, Tuple

HELP = "usage: nvidia-smi [-L] [-i ID] [--query-gpu=FIELD,... --format=csv[,noheader][,nounits]]"


def load_spec() -> Dict[str, Any]:
    """Read the GPUs of the host."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "gpus.json")) as file:
        result: Dict[str, Any] = json.load(file)
    return result


def wave(seed: str, now: float, period: float) -> float:
    """Return a number between 0 and 1 that varies smoothly with time."""
    phase = int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16) / 2**32
    slow = math.sin(2 * math.pi * (now / period + phase))
    quick = math.sin(2 * math.pi * (now / (period / 7.3) + phase * 3))
    return min(1.0, max(0.0, 0.62 + 0.3 * slow + 0.12 * quick))


def state(spec: Dict[str, Any], index: int, now: float) -> Dict[str, Tuple[str, str]]:
    """Return one GPU's readings at the moment `now`."""
    seed = "%s/%d" % (spec["seed"], index)
    load = wave(seed, now, 97.0)
    total = spec["vram_mib"]
    used = int(total * (0.04 + 0.7 * wave(seed + "/memory", now, 613.0)))
    digest = hashlib.sha256(seed.encode()).hexdigest()
    uuid = "GPU-%s-%s-%s-%s-%s" % (digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32])
    return {
        "index": (str(index), ""),
        "name": (spec["name"], ""),
        "gpu_name": (spec["name"], ""),
        "uuid": (uuid, ""),
        "gpu_uuid": (uuid, ""),
        "count": (str(spec["gpus"]), ""),
        "driver_version": (spec["driver"], ""),
        "pci.bus_id": ("00000000:%02X:00.0" % (index + 1), ""),
        "pstate": ("P0" if load > 0.2 else "P8", ""),
        "compute_cap": (spec["compute_cap"], ""),
        "timestamp": (time.strftime("%Y/%m/%d %H:%M:%S.000", time.localtime(now)), ""),
        "temperature.gpu": (str(34 + int(44 * load)), ""),
        "utilization.gpu": (str(int(100 * load)), " %"),
        "utilization.memory": (str(int(70 * load)), " %"),
        "memory.total": (str(total), " MiB"),
        "memory.used": (str(used), " MiB"),
        "memory.free": (str(total - used), " MiB"),
        "ecc.errors.uncorrected.volatile.total": ("0", ""),
        "clocks_throttle_reasons.active": ("0x0000000000000000", ""),
        "mig.mode.current": ("[N/A]", ""),
        "power.draw": ("%.2f" % (spec["watts"] * (0.12 + 0.83 * load)), " W"),
        "power.limit": ("%.2f" % spec["watts"], " W"),
        "fan.speed": (str(30 + int(50 * load)), " %"),
        "clocks.sm": (str(300 + int(1680 * load)), " MHz"),
        "clocks.mem": ("1593", " MHz"),
    }


def query(spec: Dict[str, Any], wanted: str, flags: List[str], indices: List[int], now: float) -> int:
    """Print the answer to ``--query-gpu``; return the exit code."""
    fields = [name.strip() for name in wanted.split(",")]
    known = state(spec, 0, now)
    for name in fields:
        if name not in known:
            print('Field "%s" is not a valid field to query.' % name)
            return 2
    if "csv" not in flags:
        print('Option "--format=csv" is required with a query')
        return 1
    units = "nounits" not in flags
    if "noheader" not in flags:
        heads = []
        for name in fields:
            unit = known[name][1].strip()
            heads.append("%s [%s]" % (name, unit) if unit and units else name)
        print(", ".join(heads))
    for index in indices:
        row = state(spec, index, now)
        print(", ".join(row[name][0] + (row[name][1] if units else "") for name in fields))
    return 0


def table(spec: Dict[str, Any], indices: List[int], now: float) -> int:
    """Print the plain table."""
    line = "+-----------------------------------------------------------------------------------------+"
    rule = "|-----------------------------------------+------------------------+----------------------+"
    print(time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(now)))
    print(line)
    version = "NVIDIA-SMI %s" % spec["driver"]
    print("| %-33s Driver Version: %-14s CUDA Version: %-8s |" % (version, spec["driver"], spec["cuda"]))
    print(rule)
    print("| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |")
    print("| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |")
    print(rule.replace("-", "=").replace("|=", "|=", 1))
    for index in indices:
        now_is = {name: value for name, (value, _) in state(spec, index, now).items()}
        print(
            "| %3d  %-30s On  |%19s Off |                    0 |"
            % (index, spec["name"][:30], now_is["pci.bus_id"])
        )
        power = "%dW / %dW" % (float(now_is["power.draw"]), spec["watts"])
        memory = "%sMiB / %sMiB" % (now_is["memory.used"], now_is["memory.total"])
        print(
            "| %3s%%  %3sC   %-4s %21s | %22s | %6s%%      Default |"
            % (
                now_is["fan.speed"],
                now_is["temperature.gpu"],
                now_is["pstate"],
                power,
                memory,
                now_is["utilization.gpu"],
            )
        )
        print("+-----------------------------------------+------------------------+----------------------+")
    return 0


def main(argv: List[str]) -> int:
    """Parse the options and print; return the exit code."""
    spec, now = load_spec(), time.time()
    indices, listing = list(range(spec["gpus"])), False
    wanted: str | None = None
    flags: List[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name in ("-i", "--id", "--query-gpu", "--format") and not equals:
            value = rest.pop(0) if rest else ""
        if name in ("-i", "--id"):
            if not value.isdigit() or int(value) >= spec["gpus"]:
                print("No devices were found")
                return 6
            indices = [int(value)]
        elif name == "--query-gpu":
            wanted = value
        elif name == "--format":
            flags = value.split(",")
        elif name in ("-L", "--list-gpus"):
            listing = True
        elif name == "--query-compute-apps" or name.startswith("--query-compute-apps"):
            return 0
        elif name in ("-h", "--help"):
            print(HELP)
            return 0
        else:
            print("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.")
            return 1
    if listing:
        for index in indices:
            row = state(spec, index, now)
            print("GPU %d: %s (UUID: %s)" % (index, spec["name"], row["uuid"][0]))
        return 0
    return query(spec, wanted, flags, indices, now) if wanted is not None else table(spec, indices, now)


if __name__ == "__main__":
    if load_spec().get("lost"):
        sys.exit("Unable to determine the device handle for GPU0: 0000:01:00.0: Unknown Error")
    sys.exit(main(sys.argv[1:]))

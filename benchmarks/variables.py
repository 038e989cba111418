"""A 400 MB array there and back: ours, a raw ssh channel, ipyparallel; near, and at 50 ms.

Real OpenSSH on loopback. The raw channel is `ssh host 'cat > /dev/null'` and `ssh host cat FILE` with
the same bytes (of which the host has a copy in memory). Memory is the growth of each end's peak
resident size beyond the object itself, in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import Bar, Options, Report, Result
from benchmarks._measure import interleave, process
from benchmarks.cells import RTT, agent, parallel, sshd_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.remote import AgentClient
    from tests.support.machines.sshd import Sshd

ROUNDS = 5
SIZE = 400_000_000
MB = 1e6

# the client's end in a process of its own, so that its peak is its own
CLIENT = """
import io, json, resource, sys
import numpy as np
from pathlib import Path
from gpunb.remote import AgentClient, get, put
from gpunb.output import TextSink, show
from gpunb.ssh import Endpoint
facts = json.loads(sys.argv[1]); size = int(sys.argv[2])
for name in ("key", "known_hosts"):
    facts[name] = Path(facts[name])
rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
PEAK = "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
def there(code):
    out = io.StringIO()
    show(client.run_cell(code), TextSink(out, out), interactive=False)
    return out.getvalue()
def start(code):  # the kernel's peak counts from here on
    return 1024 * int(there(code + chr(10) + "open('/proc/self/clear_refs', 'w').write('5');" + PEAK))
with AgentClient.connect(Endpoint(**facts), python=sys.executable, trust="own") as client:
    if sys.argv[3] == "put":
        base = start("import numpy; a = None")
        value = np.random.default_rng(1).random(size // 8)
        before = rss()
        put(client, {"a": value})
        beyond = 1024 * int(there(PEAK)) - base - value.nbytes
        print(json.dumps({"here": rss() - before, "there": beyond}))
    else:
        base = start("")
        before = rss()
        value = get(client, ["a"])["a"]
        print(json.dumps({"here": rss() - before - value.nbytes, "there": 1024 * int(there(PEAK)) - base}))
"""


def run(options: Options) -> Report:
    """Measure both ways, near and far, and the memory of both ends."""
    import numpy as np

    rounds = options.rounds(ROUNDS)
    value = np.random.default_rng(1).random(SIZE // 8)
    with sshd_host() as host:
        with agent(host) as client, parallel() as px:
            found = near(host, client, px, value, rounds)
        memory = peaks(host)
        found.update(far(host, value, max(2, rounds // 2)))
    results = [Result(name=name, samples=values, unit="MB/s") for name, values in found.items()]
    results += [Result(name=name, samples=[size / MB], unit="MB") for name, size in memory.items()]
    rate = {result.name: result.median for result in results}
    bars = [
        _at_least(f"{way} / raw ssh", rate[f"{way}, gpunb"] / rate[f"{way}, raw ssh"], 0.8)
        for way in ("put", "get")
    ]
    bars += [
        _at_least(
            f"{way} at 50 ms / raw ssh", rate[f"{way} at 50 ms, gpunb"] / rate[f"{way} at 50 ms, raw ssh"], 4
        )
        for way in ("put", "get")
    ]
    if "put, ipyparallel" in rate:
        bars += [
            _at_least(f"{way} / ipyparallel", rate[f"{way}, gpunb"] / rate[f"{way}, ipyparallel"], 1.0)
            for way in ("put", "get")
        ]
    bars += [Bar(name=name, value=size / MB, limit=64.0, unit="MB") for name, size in memory.items()]
    return Report(results=results, bars=bars)


def _at_least(name: str, value: float, limit: float) -> Bar:
    return Bar(name=name, value=value, limit=limit, unit="x", sense="at least")


def near(
    host: Sshd, client: AgentClient, px: Callable[..., object] | None, value: object, rounds: int
) -> dict[str, list[float]]:
    """All peers in turns on a direct line."""
    work = {**ours(client, value), **raw(host, host.port, value)}
    if px is not None:
        work.update(engines(px, value))
    return interleave({name: _rate(one, value) for name, one in work.items()}, rounds)


def far(host: Sshd, value: object, rounds: int) -> dict[str, list[float]]:
    """Ours and the raw channel behind 50 ms."""
    argv = [
        sys.executable,
        "-m",
        "tests.support.machines.proxy",
        "--to",
        f"127.0.0.1:{host.port}",
        "--rtt",
        str(RTT),
    ]
    proxy = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert proxy.stdout is not None
        port = int(proxy.stdout.readline())
        with agent(host, port) as client:
            work = {**ours(client, value), **raw(host, port, value)}
            renamed = {name.replace(",", " at 50 ms,"): one for name, one in work.items()}
            return interleave({name: _rate(one, value) for name, one in renamed.items()}, rounds)
    finally:
        proxy.communicate(timeout=10)


def _rate(work: Callable[[], object], value: object) -> Callable[[], float]:
    def sample() -> float:
        begin = time.perf_counter()
        work()
        return float(value.nbytes) / MB / (time.perf_counter() - begin)  # type: ignore[attr-defined]

    return sample


def ours(client: AgentClient, value: object) -> dict[str, Callable[[], object]]:
    """`put` and `get`, checked; a changed element each time, so that nothing is saved by its hash."""
    from gpunb.remote import get, put

    def there() -> None:
        value[0] += 1  # type: ignore[index]
        put(client, {"a": value})

    def back() -> None:
        found = get(client, ["a"])["a"]
        if found[0] != value[0] or found.nbytes != value.nbytes:  # type: ignore[index, attr-defined]
            msg = "another array came back"
            raise RuntimeError(msg)

    there()
    return {"put, gpunb": there, "get, gpunb": back}


def raw(host: Sshd, port: int, value: object) -> dict[str, Callable[[], object]]:
    """One ssh channel with cat at its other end."""
    from gpunb.ssh import ssh_argv

    data = memoryview(value).cast("B")  # type: ignore[arg-type]
    folder = Path("/dev/shm" if os.path.isdir("/dev/shm") else host.root)  # noqa: PTH112
    file = folder / f"gpunb-bench-{os.getpid()}"
    file.write_bytes(data)
    endpoint = host.endpoint(port=port)

    def there() -> None:
        subprocess.run(ssh_argv(endpoint, "sh", "-c", "cat > /dev/null"), input=data, check=True)

    def back() -> None:
        done = subprocess.run(ssh_argv(endpoint, "cat", str(file)), stdout=subprocess.PIPE, check=True)
        if len(done.stdout) != len(data):
            msg = f"{len(done.stdout)} bytes came back"
            raise RuntimeError(msg)

    return {"put, raw ssh": there, "get, raw ssh": back}


def engines(px: Callable[..., object], value: object) -> dict[str, Callable[[], object]]:
    """Push and pull of an ipyparallel engine beside us: it has no line to cross."""
    view = px.view  # type: ignore[attr-defined]
    return {
        "put, ipyparallel": lambda: view.push({"a": value}, block=True),
        "get, ipyparallel": lambda: view.pull("a", block=True),
    }


def peaks(host: Sshd) -> dict[str, float]:
    """Bytes beyond the object at each end's peak."""
    from dataclasses import asdict

    facts = {
        name: str(one) if isinstance(one, Path) else one for name, one in asdict(host.endpoint()).items()
    }
    found: dict[str, float] = {}
    for way in ("put", "get"):
        argv = [sys.executable, "-c", CLIENT, json.dumps(facts), str(SIZE), way]
        peak = json.loads(process(argv, timeout=120).out.splitlines()[-1])
        found[f"memory here, {way}"] = peak["here"]
        found[f"memory of the host's kernel, {way}"] = peak["there"]
    return found

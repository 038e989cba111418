"""A cell on a host against a local kernel and the peers: round trip, printed lines, first cell.

Real OpenSSH on loopback, our agent behind it through paramiko; the local kernel through
jupyter_client; ipyparallel's engine as `%%px` uses it; `ssh host python -c pass`. All in turns.
With a proxy of 50 ms round trip in front of sshd, the same cell once more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import Bar, Options, Report, Result
from benchmarks._measure import interleave, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpunb.remote import AgentClient
    from tests.support.machines.sshd import Sshd

ROUNDS = 60
RTT = 0.05
LINES = "for i in range(200_000): print(i)"
COLOURS = "for i in range(20_000): print(f'\\x1b[32m{i}\\x1b[0m of é')"
TABLE = """
import random
class Table:
    def _repr_html_(self):
        return f"<table>{('<tr>' + f'<td>{random.random():.6f}</td>' * 20 + '</tr>') * 60}</table>"
Table()
"""
GUARDED = {
    "pass": "pass",
    "200k lines": LINES,
    "20k coloured lines": COLOURS,
    "a table of 1,200 cells": TABLE,
}
START = "banner to first cell, gpunb"
BY_HAND = "banner to first cell, ssh and ipykernel by hand"
START_LIMIT = 1.3
#: What somebody does who has only ssh: log in, start a kernel, run a cell in it.
KERNEL_BY_HAND = """
from jupyter_client.manager import start_new_kernel
manager, kernel = start_new_kernel(kernel_name="python3")
kernel.execute_interactive("pass", output_hook=lambda _: None, timeout=60)
print("ran", flush=True)
import os, signal
os.kill(manager.provisioner.pid, signal.SIGKILL)
"""
WRITES = "import sys\nfor i in range(2_000):\n    sys.stdout.write(f'{i}\\n'); sys.stdout.flush()"


class Nowhere:
    """A sink that counts, so that nothing of a front's own cost is measured."""

    def __init__(self) -> None:
        self.size = 0

    def stream(self, name: str, text: str) -> None:  # noqa: ARG002
        """Count it."""
        self.size += len(text)

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Nothing."""

    def result(self, content: dict[str, Any]) -> None:
        """Nothing."""

    def clear(self, *, wait: bool) -> None:
        """Nothing."""

    def ask(self, prompt: str, *, password: bool) -> str:  # noqa: ARG002
        """No benchmark asks."""
        return ""

    def note(self, text: str) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


@contextlib.contextmanager
def sshd_host(hosts: str = "plain") -> Iterator[Sshd]:
    """A real sshd with a home of its own; what ran there is ended.

    With "ssh" its logins are a session's of provider ssh: by the session's key, through its script.
    """
    from gpunb.agent.shared import processes
    from tests.support.machines import own_hosts
    from tests.support.machines.sshd import Sshd

    with tempfile.TemporaryDirectory(prefix="gpunb-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if hosts == "ssh":
            with own_hosts.rented_host(folder) as rented:
                host = rented.machine.sshd
                host.key = dataclasses.replace(host.key, private=rented.key)
                yield host
            return
        host = Sshd(folder / "host").start()
        try:
            yield host
        finally:
            host.stop()
            processes.end_tree(None, f"HOME={host.home}", grace=2.0)


@contextlib.contextmanager
def agent(host: Sshd, port: int | None = None, trust: str = "own") -> Iterator[AgentClient]:
    """A client of the host's agent, through `port` if given, with that trust."""
    from gpunb.remote import AgentClient

    endpoint = host.endpoint(port=port or host.port)
    with AgentClient.connect(endpoint, python=sys.executable, trust=trust) as client:
        yield client


def ours(client: AgentClient, code: str, size: int | None = None) -> Callable[[], None]:
    """Run `code` through the agent, and check that all it prints arrived."""
    from gpunb.output import show

    def work() -> None:
        sink = Nowhere()
        show(client.run_cell(code), sink, interactive=False)
        if size is not None and sink.size != size:
            msg = f"{sink.size} of {size} characters arrived"
            raise RuntimeError(msg)

    return work


@contextlib.contextmanager
def local_kernel() -> Iterator[Callable[[str], None]]:
    """A local ipykernel; the function runs code in it until reply and idle are there."""
    from jupyter_client.manager import start_new_kernel

    manager, kernel = start_new_kernel(kernel_name="python3")

    def execute(code: str) -> None:
        kernel.execute_interactive(code, output_hook=lambda _: None, timeout=120)

    try:
        yield execute
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)


@contextlib.contextmanager
def parallel() -> Iterator[Callable[[str], None] | None]:
    """One ipyparallel engine, as `%%px` uses it; None where it is not installed."""
    try:
        import ipyparallel
    except ImportError:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="gpunb-ipp-") as profile:
        cluster = ipyparallel.Cluster(n=1, profile_dir=profile, log_level=40)
        with cluster as client:
            view = client[:]

            def execute(code: str) -> None:
                view.execute(code, block=True)

            execute.view = view  # type: ignore[attr-defined]
            yield execute


def run(options: Options) -> Report:
    """Measure round trips, output and the first cell."""
    rounds = options.rounds(ROUNDS)
    with sshd_host(options.hosts) as host:
        starts = session_start(host, max(3, rounds // 10))
        with agent(host) as client, local_kernel() as local, parallel() as px:
            trips = round_trips(host, client, local, px, rounds)
            guarded = stranger(host, client, rounds)
            prints = interleave(
                {
                    "200k lines, local ipykernel": lambda: seconds(lambda: local(LINES)) * 1000,
                    "200k lines, gpunb": lambda: seconds(ours(client, LINES, 1_288_890)) * 1000,
                    "2k flushed writes, local ipykernel": lambda: seconds(lambda: local(WRITES)) * 1000,
                    "2k flushed writes, gpunb": lambda: seconds(ours(client, WRITES)) * 1000,
                },
                max(5, rounds // 6),
            )
        far = far_trip(host, max(10, rounds // 3))
    found = {**trips, **prints, **guarded, **starts, **far}
    results = [Result(name=name, samples=values, unit="ms") for name, values in found.items()]
    median = {result.name: result.median for result in results}
    return Report(
        results=results,
        bars=[
            Bar(
                name="round trip / local ipykernel",
                value=median["pass, gpunb"] / median["pass, local ipykernel"],
                limit=1.15,
                unit="x",
            ),
            Bar(
                name="round trip at 50 ms",
                value=median["pass, gpunb at 50 ms"],
                limit=RTT * 1000 + 10,
                unit="ms",
            ),
            Bar(
                name="start of a session / ssh and an ipykernel by hand",
                value=median[START] / median[BY_HAND],
                limit=START_LIMIT,
                unit="x",
            ),
            Bar(
                name="printed lines / local ipykernel",
                value=median["200k lines, gpunb"] / median["200k lines, local ipykernel"],
                limit=1.05,
                unit="x",
            ),
            *(
                Bar(
                    name=f"{what}, a stranger / a trusted host",
                    value=ratio(guarded, what),
                    limit=1.05,
                    unit="x",
                )
                for what in ("pass", "200k lines")  # the others are rows: they are mostly what is cleaned
            ),
        ],
    )


def ratio(found: dict[str, list[float]], what: str) -> float:
    """What a stranger's cost beside a trusted one's, by their medians."""
    return statistics.median(found[f"{what}, stranger"]) / statistics.median(found[f"{what}, trusted"])


def stranger(host: Sshd, trusted: AgentClient, rounds: int) -> dict[str, list[float]]:
    """The same cells on the same host through the gate for strangers, and past it, in turns."""
    with agent(host, trust="stranger") as guarded:
        work = {
            f"{what}, {trust}": ours(client, code)
            for what, code in GUARDED.items()
            for trust, client in (("trusted", trusted), ("stranger", guarded))
        }
        timed = {name: lambda one=one: seconds(one) * 1000 for name, one in work.items()}
        return interleave(timed, max(5, rounds // 2), warm_up=2)


def round_trips(
    host: Sshd,
    client: AgentClient,
    local: Callable[[str], None],
    px: Callable[[str], None] | None,
    rounds: int,
) -> dict[str, list[float]]:
    """The empty cell, everywhere, in turns."""
    from gpunb.ssh import ssh_argv

    argv = ssh_argv(host.endpoint(), sys.executable, "-c", "pass")
    work: dict[str, Callable[[], object]] = {
        "pass, local ipykernel": lambda: local("pass"),
        "pass, gpunb": ours(client, "pass"),
    }
    if px is not None:
        work["pass, ipyparallel %%px"] = lambda: px("pass")
    found = interleave(
        {name: lambda one=one: seconds(one) * 1000 for name, one in work.items()},  # type: ignore[misc]
        rounds,
        warm_up=5,
    )
    ssh = interleave(
        {"ssh host python -c pass": lambda: seconds(lambda: subprocess.run(argv, check=True)) * 1000}, 5
    )
    return {**found, **ssh}


def session_start(host: Sshd, rounds: int) -> dict[str, list[float]]:
    """From a reachable host without our agent to the first cell's end, and the same by hand; in ms."""
    import shutil

    from gpunb.ssh import ssh_argv

    argv = ssh_argv(host.endpoint(), sys.executable, "-")

    def by_hand() -> float:
        begin = time.perf_counter()
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
            assert shell.stdin is not None
            assert shell.stdout is not None
            shell.stdin.write(KERNEL_BY_HAND)
            shell.stdin.close()
            if shell.stdout.readline() != "ran\n":
                msg = "the kernel by hand did not run its cell"
                raise RuntimeError(msg)
            return (time.perf_counter() - begin) * 1000

    def with_gpunb() -> float:
        begin = time.perf_counter()
        with agent(host) as client:
            ours(client, "pass")()
            took = (time.perf_counter() - begin) * 1000
            client.shutdown()
        time.sleep(0.5)
        agents = [*host.home.glob(".gpunb/s/*/agent"), host.home / ".gpunb/agent"]
        for one in agents:  # what lets a session in stays
            shutil.rmtree(one, ignore_errors=True)
        return took

    return interleave({START: with_gpunb, BY_HAND: by_hand}, rounds, warm_up=1)


def far_trip(host: Sshd, rounds: int) -> dict[str, list[float]]:
    """The empty cell behind a proxy in a process of its own."""
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
            work = ours(client, "pass")
            return interleave({"pass, gpunb at 50 ms": lambda: seconds(work) * 1000}, rounds, warm_up=3)
    finally:
        proxy.communicate(timeout=10)

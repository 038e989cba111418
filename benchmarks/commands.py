"""Whole processes against what people would type instead: gpunb exec and sync beside ssh and rsync.

What is measured begins with the interpreter's start and ends with the process, as a user waits for it. The
host is a session of the cloud `local`: a real sshd on this machine. The peer of `exec` is ssh through a
connection that its ControlMaster keeps open; that of `sync` is rsync, which logs in each time.
"""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import Bar, Options, Report, Result
from benchmarks._measure import interleave, process
from benchmarks.startup import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROUNDS = 7
FILES = 5_000
#: At most so many times the peer's time.
EXEC_LIMIT = 1.2
SYNC_LIMIT = 1.0
GPUNB = str(Path(sysconfig.get_path("scripts"), "gpunb"))


def run(options: Options) -> Report:
    """Measure, with a home, a host and folders of its own."""
    with tempfile.TemporaryDirectory(prefix="gpunb-bench-") as folder:
        home = Path(folder, "home")
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(LEFT_OUT)},
            "GPUNB_HOME": str(home),
        }
        with session(environment) as ssh:
            return _measured(environment, ssh, Path(folder), options.rounds(ROUNDS))


@contextlib.contextmanager
def session(environment: Mapping[str, str]) -> Iterator[list[str]]:
    """A session of `local`; the words of an ssh to its host that keeps one connection."""
    process([GPUNB, "rent", "--cloud", "local", "--for", "1h", "--yes"], env=environment, timeout=180.0)
    script = (
        "import json\nfrom gpunb.sessions.ledger.sessions import Ledger\n"
        "from gpunb.sessions.access.host_access import endpoint\nfrom gpunb.ssh import ssh_argv\n"
        "with Ledger.open() as ledger: print(*ssh_argv(endpoint(ledger.one())), sep='\\n')"
    )
    words = process([sys.executable, "-c", script], env=environment).out.splitlines()
    control = Path(environment["GPUNB_HOME"], "m")
    ssh = [*words[:1], "-o", f"ControlPath={control}", *words[1:]]
    master = subprocess.Popen([*ssh[:1], "-M", "-N", *ssh[1:]], stdin=subprocess.DEVNULL)
    try:
        while not control.exists():
            if master.poll() is not None:
                msg = f"ssh ended with {master.returncode}"
                raise RuntimeError(msg)
            with contextlib.suppress(subprocess.TimeoutExpired):
                master.wait(0.05)
        yield ssh
    finally:
        master.terminate()
        master.wait()
        process([GPUNB, "down", "--all", "--yes"], env=environment, timeout=180.0)


def _measured(environment: Mapping[str, str], ssh: list[str], folder: Path, rounds: int) -> Report:
    tree = folder / "tree"
    luck = random.Random(1)
    for number in range(FILES):
        path = tree / f"d{number % 50:02}" / f"file-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(luck.randbytes(luck.randint(100, 4000)))
    there = folder / "there"
    there.mkdir()
    host = ssh[-1]
    # a login for each call, as rsync has it for a user
    alone = shlex.join([*ssh[:1], *ssh[3:-2]])
    commands = {
        "gpunb exec true": [GPUNB, "exec", "--", "true"],
        "ssh host true, multiplexed": [*ssh, "true"],
        "gpunb sync, nothing changed": [GPUNB, "sync", f"{tree}/", f":{there}/ours"],
        "rsync, nothing changed": ["rsync", "-a", "-e", alone, f"{tree}/", f"{host}:{there}/theirs"],
    }

    def timed(argv: list[str]) -> Callable[[], float]:
        return lambda: process(argv, env=environment, timeout=300.0).seconds * 1000

    found = interleave({name: timed(argv) for name, argv in commands.items()}, rounds)
    results = {name: Result(name=name, samples=values, unit="ms") for name, values in found.items()}
    ours, peers = list(results.values())[::2], list(results.values())[1::2]
    return Report(
        results=list(results.values()),
        bars=[
            Bar(name=f"{one.name} / {peer.name}", value=one.median / peer.median, limit=limit, unit="times")
            for one, peer, limit in zip(ours, peers, (EXEC_LIMIT, SYNC_LIMIT), strict=True)
        ],
        notes=[f"{FILES:,} files; whole processes, in turns"],
    )

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from gpunb.agent.shared import processes


def wait_gone(pids, seconds=10):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if all(processes.start_time(pid) is None for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_a_whole_tree_ends_also_what_left_the_group_and_what_ignores_term():
    script = (
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "detached = subprocess.Popen(['setsid', 'sh', '-c', 'sleep 60 & wait'])\n"
        "print(child.pid, detached.pid, flush=True)\n"
        "signal.pause()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "GPUNB_RUN": "marked1"}
    )
    pids = [process.pid, *map(int, process.stdout.readline().split())]
    process.stdout.close()
    assert len(processes.tree(process.pid, "GPUNB_RUN=marked1")) >= 3
    processes.end_tree(process.pid, "GPUNB_RUN=marked1", grace=0.5)
    assert process.wait(10) == -signal.SIGKILL
    assert wait_gone(pids)
    assert not processes.tree(None, "GPUNB_RUN=marked1")


def test_a_pid_is_alive_only_with_its_start_time():
    mine = processes.start_time(os.getpid())
    assert processes.alive(os.getpid(), mine)
    assert not processes.alive(os.getpid(), (mine or 0) + 1)
    assert not processes.alive(None, None)


def test_a_zombie_is_not_alive():
    child = subprocess.Popen(["true"])
    until = time.monotonic() + 10
    while processes.start_time(child.pid) is not None and time.monotonic() < until:
        time.sleep(0.02)
    assert processes.start_time(child.pid) is None
    child.wait()

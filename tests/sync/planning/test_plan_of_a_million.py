"""The plan of a million files stays small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MILLION = """
import sys
from gpunb.agent.shared import file_frames as wire
from gpunb.sync.planning.planner import Merge
from gpunb.sync.planning.plan import Tree
from gpunb.sync.planning.rules import Rules
from gpunb.sync.planning.side import Entry
from gpunb.sync.stream.engine import _Tasks

class Target:
    local = True
    def __init__(self): self.asked = []
    def ask(self, path): self.asked.append(path)
    def take(self): path = self.asked.pop(0); return path, entries(path), ""

def entries(path):
    if not path:
        return [Entry(f"folder-{n:04}", wire.FOLDER, 0o755, 0, 5) for n in range(1000)]
    return [Entry(f"a-file-with-a-name-{n:04}.json", wire.FILE, 0o644, 1000, 5) for n in range(1000)]

def source():
    yield "", entries("")
    for n in range(1000):
        yield f"folder-{n:04}", entries("x")

there = sys.argv[1] == "there"
merge = Merge(Rules(None), Tree(), Target(), exists=there)
plan = merge.run(source())
assert len(plan.unchanged if there else plan.items) == 1_000_000
tasks = _Tasks(iter(plan.items))
count = 0
while (task := tasks.get(wait=True)) is not None:
    count += len(task.items)
assert count == (0 if there else 1_000_000)
assert plan.data()["counts"]["items"] == count
# not getrusage: its peak begins with the parent's
print([int(x.split()[1]) // 1024 for x in open('/proc/self/status') if x.startswith('VmHWM')][0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("case", ["new", "there"])
def test_a_million_files_fit_into_a_plan(case: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MILLION, case], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150  # MB, interpreter included

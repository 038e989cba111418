"""Runs the groups of attacks, each in a process of its own, and prints their table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.attack.frame import CASE, GROUPS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
_MOST_S = 900


def run_group(group: str, *words: str) -> list[dict[str, Any]]:
    """What became of each case of `group` (one of `words` in its name); a child that dies is one more."""
    argv = [sys.executable, "-m", "tests.attack.frame", group, *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=_MOST_S, check=False)
    found = [json.loads(line[len(CASE) :]) for line in done.stdout.split("\n") if line.startswith(CASE)]
    if done.returncode or not found:
        wrong = [f"its process ended with {done.returncode}: {done.stderr[-3000:]}"]
        last = {"group": group, "name": "(the process)", "line": "", "seconds": 0.0, "mb": 0}
        found.append({**last, "wrong": wrong, "hangs": False})
    return found


def run_groups(groups: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """All of them, one after the other."""
    return [one for group in groups or GROUPS for one in run_group(group)]


def table(found: Sequence[dict[str, Any]]) -> str:
    """One row a case: how it ended, in what time and memory, and what gpunb said."""
    rows = [f"{'':4} {'case':66} {'s':>6} {'MB':>4}  what gpunb says"]
    for one in found:
        mark = "FAIL" if one["wrong"] else "ok"
        name = f"{one['group']}: {one['name']}"
        rows.append(f"{mark:4} {name[:66]:66} {one['seconds']:6.2f} {one['mb']:4}  {one['line'][:120]}")
        rows += [f"     {why}" for why in one["wrong"]]
    bad = sum(1 for one in found if one["wrong"])
    rows.append(
        f"{len(found)} cases, {bad} failed; slowest {max(one['seconds'] for one in found):.1f} s,"
        f" most memory {max(one['mb'] for one in found)} MB"
    )
    return "\n".join(rows)

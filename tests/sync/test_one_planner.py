"""The same trees give the same plan and the same result, whatever the engine."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gpunb.sync import rsync
from tests.support.bench import Bench
from tests.support.trees import ODD

if TYPE_CHECKING:
    from gpunb.sync import Plan

pytestmark = pytest.mark.slow

RSYNC = (rsync.local_version() or (0,)) >= (3, 4)
WAYS = [
    ("stream", "up"), ("stream", "down"), ("sftp", "up"), ("sftp", "down"),
    *([("rsync", "up"), ("rsync", "down")] if RSYNC else []),
]  # fmt: skip
NAMES = [b"a", b"A", b"b", b"a.b", b"a-", b"out.log", b"__pycache__", b".git", b"keep", *ODD[1:17:3], ODD[15]]
EXAMPLES = 15
NOW = 1_700_000_000

names = st.one_of(
    st.sampled_from(NAMES), st.binary(min_size=1, max_size=8).filter(lambda b: not set(b) & {0, 47})
).filter(lambda b: b not in (b".", b"..") and not b.startswith(b".gpunb-"))
entry = st.tuples(
    st.lists(names, min_size=1, max_size=3),
    st.sampled_from(["file", "file", "file", "folder", "link", "link out", "pipe"]),
    st.sampled_from(["", "x", "y", "longer", "large"]),
    st.sampled_from([0o644, 0o600, 0o755, 0o444]),
    # of one second and of one even second, and SFTP's first and last, are the ties
    st.sampled_from([NOW, NOW + 1, NOW + 2, NOW + 0.5, 0, 2**32 - 1]),
)
FATES = [
    "the same",
    "the same",
    "new",
    "extra",
    "a pipe",
    "a link",
    "a folder",
    "other mode",
    "other time",
    "other",
]
trees = st.lists(st.tuples(entry, st.sampled_from(FATES)), min_size=4, max_size=16)
options = st.fixed_dictionaries({
    "delete": st.booleans(),
    "exclude": st.sampled_from([(), ("*.log",), ("/a/",), ("b", "!keep")]),
    "checksum": st.booleans(),
    "yes": st.just(True),
})  # fmt: skip


def apart(tree: list[Any]) -> tuple[list[Any], list[Any]]:
    """The source and the target: what became of each entry in the second."""
    source = [one for one, fate in tree if fate != "extra"]
    target = []
    for (parts, kind, content, mode, mtime), fate in tree:
        kind = fate[2:] if fate.startswith("a ") else kind  # noqa: PLW2901
        content = "other" if fate == "other" else content  # noqa: PLW2901
        mode, mtime = 0o640 if fate == "other mode" else mode, NOW + 77 if fate == "other time" else mtime  # noqa: PLW2901
        if fate != "new":
            target.append((parts, kind, content, mode, mtime))
    return source, target


def build(root: bytes, tree: list[Any]) -> None:
    os.makedirs(root)
    for parts, kind, content, mode, mtime in tree:
        path = b"/".join((root, *parts))
        try:
            os.makedirs(path if kind == "folder" else os.path.dirname(path), exist_ok=True)
        except OSError:
            continue  # a file of an earlier entry is in the way
        if os.path.lexists(path):
            continue
        if kind.startswith("link"):
            os.symlink(b"/etc/hostname" if kind == "link out" else parts[-1] + b"-goal", path)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            with open(path, "wb") as file:
                file.write(content.encode() * (60_000 if content == "large" else 1))
            os.chmod(path, mode)
            os.utime(path, ns=(int(mtime * 10**9),) * 2)


def shape(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """All of a tree, with times as SFTP can carry them."""
    top, found = os.fsencode(root), {}
    for above, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(above, name)
            facts = os.lstat(path)
            more: tuple[Any, ...] = ()
            if stat.S_ISLNK(facts.st_mode):
                more = (os.readlink(path),)
            elif stat.S_ISREG(facts.st_mode):
                seconds = min(max(facts.st_mtime_ns // 10**9, 0), 2**32 - 1)
                more = oct(facts.st_mode), seconds, Path(os.fsdecode(path)).read_bytes()
            elif stat.S_ISDIR(facts.st_mode):
                more = (oct(facts.st_mode),)
            found[os.path.relpath(path, top)] = (stat.S_IFMT(facts.st_mode), *more)
    return found


def decided(plan: Plan) -> dict[str, Any]:
    """What a plan decides, without the order of its lists."""
    listed = ("items", "folders", "modes", "unchanged")
    found: dict[str, Any] = {name: sorted(item.path for item in getattr(plan, name)) for name in listed}
    found["left out"] = sorted(one.path for one in plan.left_out)
    found["blocked"], found["deletions"] = sorted(plan.blocked), plan.deletions
    return found


def test_every_engine_decides_the_same(bench: Bench, tmp_path: Path) -> None:
    seen = {"deletions": 0, "blocked": 0, "items": 0, "unchanged": 0, "modes": 0}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        phases=[Phase.generate],  # each example takes a second or more: smaller ones are looked for by hand
    )
    @given(trees, options)
    def same(tree: list[Any], wish: dict[str, Any]) -> None:
        source, target = apart(tree)
        plans, results = {}, {}
        for engine, direction in WAYS:
            one, two = tmp_path / "one", tmp_path / "two"
            for folder, entries in ((one, source), (two, target)):
                shutil.rmtree(folder, ignore_errors=True)
                build(os.fsencode(folder), entries)
            report = bench.report(engine, direction, one, two, guard=False, **wish)
            assert report.failed == report.plan.blocked, (engine, direction)
            plans[engine, direction] = decided(report.plan)
            results[engine, direction] = shape(two)
            again = bench.report(engine, direction, one, two, guard=False, **wish)
            assert not again.plan.items, (engine, direction)
            assert not again.plan.deletions, (engine, direction)
        first = plans["stream", "up"]
        for name in seen:
            seen[name] += len(first[name])
        for way in WAYS[1:]:
            assert plans[way] == first, way
            assert results[way] == results["stream", "up"], way

    same()
    assert all(seen.values()), seen

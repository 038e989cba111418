"""Random trees there and back, byte for byte, while the line is cut again and again."""

from __future__ import annotations

import os
import random
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpunb.sync import sync
from gpunb.sync.planning.rules import Rules
from tests.support.machines.hosts import agent_on
from tests.support.machines.proxy import Proxy
from tests.support.trees import ODD, shape

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from gpunb.remote import AgentClient
    from tests.support.machines.sshd import Sshd

TREES = 100
CUTS = 50
RULES = Rules(None)  # names that never go, such as __pycache__, are not tried

names = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from([b"a", b"b", b"A", b"a.b", b"a-", b"a b"]),
    st.binary(min_size=1, max_size=20).filter(lambda b: b not in (b".", b"..") and not set(b) & {0, 47}),
).filter(lambda b: not any(RULES.why_out(os.fsdecode(b), folder=f) for f in (True, False)))
sizes = st.one_of(
    st.integers(0, 3),
    st.integers(0, 5000),
    st.sampled_from([2**18, 2**19, 2**19 + 1, 2**20, 3 * 2**20, 9 * 2**20 + 5]),
)
entry = st.tuples(
    st.lists(names, min_size=1, max_size=4),
    st.sampled_from(["file", "file", "file", "file", "folder", "link", "hard", "sparse"]),
    sizes,
    st.sampled_from([0o644, 0o600, 0o755, 0o444, 0o700]),
    st.integers(0, 2**33 * 10**9),
)
trees = st.lists(entry, max_size=25)


def build(root: bytes, tree: list[Any], luck: random.Random) -> None:
    os.makedirs(root)
    made: list[bytes] = []
    for parts, kind, size, mode, mtime in tree:
        path = b"/".join((root, *parts))
        try:
            os.makedirs(path if kind == "folder" else os.path.dirname(path), exist_ok=True)
        except (FileExistsError, NotADirectoryError, OSError):
            continue  # a file of an earlier entry is in the way
        if kind == "folder" or os.path.lexists(path):
            continue
        if kind == "link":
            os.symlink(parts[-1] + b"-goal", path)
            continue
        if kind == "hard" and made:
            os.link(made[-1], path)
            continue
        with open(path, "wb") as file:
            if kind == "sparse":
                file.truncate(size)
            else:
                file.write(luck.randbytes(size))
        os.chmod(path, mode)
        os.utime(path, ns=(mtime, mtime))
        made.append(path)


class Cutter:
    """Drops the line at a random moment while the body runs."""

    def __init__(self, proxy: Proxy, luck: random.Random, *, active: bool) -> None:
        self.proxy, self.active = proxy, active
        self._delay = luck.uniform(0.0, 0.15)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._cut)
        self.cut = False

    def _cut(self) -> None:
        if not self._over.wait(self._delay):
            self.proxy.drop()
            self.cut = True

    def __enter__(self) -> Self:
        if self.active:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            self._thread.join()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_there_and_back_with_cuts_in_between(sshd: Sshd, tmp_path: Path) -> None:
    luck = random.Random(1)
    cuts = turns = 0
    with Proxy(sshd.port) as proxy, agent_on(sshd, port=proxy.port) as agent:

        @settings(
            max_examples=TREES, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(trees)
        def there_and_back(tree: list[Any]) -> None:
            nonlocal cuts, turns
            turns += 1
            here, back, there = tmp_path / "here", tmp_path / "back", sshd.home / "there"
            for folder in (here, back, there):
                shutil.rmtree(folder, ignore_errors=True)
            build(os.fsencode(here), tree, luck)
            # a cut that comes too late is no cut: more are tried than are needed
            for direction, ends in (("up", (here, "there")), ("down", ("there", back))):
                with Cutter(proxy, luck, active=cuts < CUTS) as cutter:
                    _sync(agent, ends, direction)
                    while cutter.active and not cutter.cut:
                        _sync(agent, ends, direction)
                cuts += cutter.cut
            assert shape(there) == shape(here)
            assert shape(back) == shape(here)
            assert not list(there.rglob(".gpunb-part-*"))
            again = sync(agent.connection, str(here), "there", direction="up", agent=agent)
            assert (again.sent_files, again.plan.modes) == (0, [])

        there_and_back()
    assert turns >= TREES
    assert cuts >= CUTS


def _sync(agent: AgentClient, ends: tuple[object, object], direction: Any) -> None:
    sync(agent.connection, str(ends[0]), str(ends[1]), direction=direction, agent=agent).check()

"""A cell on eight hosts of a group against `%%px` on eight engines of ipyparallel, in one run.

Eight instances of the local cloud, each with an SSH server, an agent and a kernel of its own, a ledger, and
all that `%%gpu -s team` does but the notebook; the peer's engines are processes without SSH.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import Bar, Options, Report, Result
from benchmarks._measure import interleave, seconds
from benchmarks.cells import Nowhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 8
ROUNDS = 30
LIMIT = 1.3


@contextlib.contextmanager
def ours() -> Iterator[Callable[[], None]]:
    """Run `pass` on all members of a group of local instances, which are destroyed afterwards."""
    import gpunb
    from gpunb.output.group_screen import GroupScreen
    from gpunb.python_api import process_end
    from gpunb.python_api.frontend import PythonFrontend
    from gpunb.services.ranks import cells
    from gpunb.services.ranks.members import Member, Members

    with tempfile.TemporaryDirectory(prefix="gpnb", dir="/tmp", ignore_cleanup_errors=True) as name:
        before = os.environ.get("GPUNB_HOME")
        os.environ["GPUNB_HOME"] = str(Path(name, "home"))
        with ThreadPoolExecutor(SIZE) as pool:
            made = list(pool.map(lambda rank: gpunb.rent(hours=1, name=f"bench-{rank}"), range(SIZE)))
        try:
            with PythonFrontend() as context:
                there = (Member(rank, session.record) for rank, session in enumerate(made))
                members = Members("bench", tuple(there), SIZE)

                def work() -> None:
                    cells.run(context, members, "pass", GroupScreen(Nowhere(), members.ranks))

                yield work
        finally:
            with ThreadPoolExecutor(SIZE) as pool:
                list(pool.map(lambda session: session.down(), made))
            for session in made:
                process_end.left(session)
            os.environ.pop("GPUNB_HOME")
            if before is not None:
                os.environ["GPUNB_HOME"] = before


@contextlib.contextmanager
def engines() -> Iterator[Callable[[], None] | None]:
    """Run `pass` on as many engines of ipyparallel; None where it is not installed."""
    try:
        import ipyparallel
    except ImportError:
        yield None
        return
    with (
        tempfile.TemporaryDirectory(prefix="gpunb-ipp-") as profile,
        ipyparallel.Cluster(n=SIZE, profile_dir=profile, log_level=40) as client,
    ):
        view = client[:]
        yield lambda: view.execute("pass", block=True)


def run(options: Options) -> Report:
    """Measure the empty cell on all, in turns."""
    with ours() as gpunb_group, engines() as px:
        work = {f"pass on {SIZE}, gpunb": gpunb_group}
        if px is not None:
            work[f"pass on {SIZE}, ipyparallel %%px"] = px
        timed = {name: lambda one=one: seconds(one) * 1000 for name, one in work.items()}
        found = interleave(timed, options.rounds(ROUNDS), warm_up=3)
    results = [Result(name=name, samples=values, unit="ms") for name, values in found.items()]
    bars = []
    if px is not None:
        first, second = (result.median for result in results)
        bars = [Bar(name="a cell on 8 / %%px", value=first / second, limit=LIMIT, unit="x")]
    return Report(results=results, bars=bars)

"""A pytest plug-in: what one run of the tests draws, and how it is drawn again.

Long schedules and wide matrices are played whole by ``make soak``; ``make test`` plays a sample of them,
another one each time. The seed of a run is printed at its end; ``GPUNB_SEED=…`` draws the same again.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

SEED = "GPUNB_SEED"
SOAK = "GPUNB_SOAK"
"""Set by ``make soak``: nothing is left out."""
KEY = "gpunb/seed"
"""In pytest's cache: the seed of the last run, for ``--last-failed``."""


def seed() -> int:
    """The seed of this run, the same in all of its processes."""
    return int(os.environ.setdefault(SEED, str(random.SystemRandom().randrange(10**6))))


def drawn(name: str) -> random.Random:
    """What the schedule `name` draws from: the same for the same seed, whatever runs beside it."""
    return random.Random(f"{seed()} {name}")


def whole() -> bool:
    """Whether this run leaves nothing out."""
    return bool(os.environ.get(SOAK))


def sample(name: str, cases: dict[str, tuple[Any, ...]], most: int) -> set[str]:
    """Some of `cases` (by name, each with its parameters' values): `most` of them.

    With a `most` of 0 it is as few as it takes for each value of each parameter to be there.
    """
    names = sorted(cases)
    drawn(name).shuffle(names)
    if most:
        return set(names[:most])
    chosen, met = set(), set()
    # first those that bring more new values: a matrix has few of them
    for wanted in range(max(len(values) for values in cases.values()), 0, -1):
        for case in names:
            new = set(enumerate(cases[case])) - met
            if len(new) >= wanted:
                chosen.add(case)
                met |= new
    return chosen


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "sample(most): of its cases `make test` runs so many, by chance; without a number as few as have each"
        " value of each parameter; `make soak` runs all",
    )
    cache = getattr(config, "cache", None)  # none with -p no:cacheprovider
    again = config.getoption("lf", default=False)
    if SEED not in os.environ and again and cache is not None:
        os.environ[SEED] = str(cache.get(KEY, seed()))
    seed()  # before there are workers: they inherit it
    if cache is not None and not hasattr(config, "workerinput"):
        cache.set(KEY, seed())


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"samples were drawn with {SEED}={seed()}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # who asks for a case by its name gets it
    named = config.option.keyword or any("[" in arg for arg in config.args)
    if whole() or named or config.getoption("lf", default=False):
        return
    left_out = set(_left_out(items))
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]


def _left_out(items: Iterable[pytest.Item]) -> Iterable[str]:
    families: dict[str, dict[str, tuple[Any, ...]]] = defaultdict(dict)
    most: dict[str, int] = {}
    for item in items:
        mark = item.get_closest_marker("sample")
        if mark is not None and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            family = item.nodeid.partition("[")[0]
            most[family] = mark.args[0] if mark.args else 0
            # the same object in each case, hashable or not
            families[family][item.nodeid] = tuple(map(id, item.callspec.params.values()))
    for family, cases in families.items():
        chosen = sample(family, cases, most[family])
        yield from (case for case in cases if case not in chosen)

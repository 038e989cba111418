"""A pytest plug-in: what each failed test failed with, kept for ``.ci/again``.

Only what may come of a busy machine is worth another try: an assertion about something that had
not happened yet, or a timeout. Any other exception is a fault of the product, however rare.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

KEY = "gpunb/never-again"
"""In pytest's cache: the tests that failed with something else, and with what."""

_WAITED = (AssertionError, TimeoutError, subprocess.TimeoutExpired, pytest.fail.Exception)
_never: dict[str, str] = {}


def may_be_slow(error: BaseException) -> bool:
    """Whether a busy machine may be the reason; browsers have timeouts of their own classes."""
    return isinstance(error, _WAITED) or type(error).__name__ in ("TimeoutError", "TimeoutException")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.excinfo is not None and not may_be_slow(call.excinfo.value):
        report.never = call.excinfo.exconly(tryshort=True)[:300]  # a worker of xdist sends it along
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    why = getattr(report, "never", "")
    if why:
        _never[report.nodeid] = why


def pytest_sessionfinish(session: pytest.Session) -> None:
    cache = getattr(session.config, "cache", None)  # none with -p no:cacheprovider
    if cache is not None and not hasattr(session.config, "workerinput"):
        cache.set(KEY, dict(_never))

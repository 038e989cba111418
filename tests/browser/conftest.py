"""One JupyterLab for a worker's tests, one Chromium for those of a file, and a page for each test."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.browser.pages import Lab
from tests.browser.rig import BUILT, ROOT, Rig
from tests.support.machines.chromium import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def built() -> None:
    """The extension as its sources are now."""
    pytest.importorskip("jupyterlab")
    if not BUILT.is_dir() and shutil.which("node") is None:
        pytest.skip("the JupyterLab extension is not built, and there is no Node")
    done = subprocess.run([str(ROOT / ".ci" / "labextension")], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def rig(built: None) -> Iterator[Rig]:
    made = Rig()
    try:
        made.clouds_up()
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")  # no longer: its event loop is the thread's, and other tests need their own
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def lab(rig: Rig, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """JupyterLab in a browser window of 1280 by 800."""
    if rig.server is None:
        rig.start()
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(60_000)
    made = Lab(rig, context)
    try:
        yield made
        if request.node.stash.get(FAILED, False):
            made.picture(f"failed-{request.node.name}")
            rig.end_sessions()  # what it left would fail the next ones, too
        else:
            made.check()
    finally:
        context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Remember a failure, so that there is a picture of it."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report

"""The picker clicked in a real JupyterLab: real front, real kernel, real local host."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
from support.machines.chromium import KERNEL_READY, picture
from support.rentals.supervisors import end_supervisors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CELLS = [
    "%load_ext gpunb\nimport gpunb",
    "s = gpunb.pick(hours=0.5)\ns",
    "# while this cell runs, a click must be heard\nprint('rented', s.wait(120).state.value)",
    "%%gpu\nprint(6 * 7)",
]


def _notebook() -> str:
    cells = [
        {
            "cell_type": "code",
            "id": f"c{at}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": one,
        }
        for at, one in enumerate(CELLS)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps(
        {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    )


@pytest.fixture
def lab(home: Path, tmp_path: Path) -> Iterator[str]:
    """A JupyterLab on loopback; its address with the token."""
    pytest.importorskip("jupyterlab")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "pick.ipynb").write_text(_notebook())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    config = tmp_path / "config"
    argv = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    argv += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--LabApp.news_url="]
    argv += ["--LabApp.expose_app_in_browser=True"]
    argv += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--ServerApp.port_retries=0"]
    argv += ["--allow-root"] if os.geteuid() == 0 else []
    env = {**os.environ, "JUPYTER_CONFIG_DIR": str(config), "JUPYTER_RUNTIME_DIR": str(tmp_path / "run")}
    env |= {"JUPYTERLAB_SETTINGS_DIR": str(config / "s"), "JUPYTERLAB_WORKSPACES_DIR": str(config / "w")}
    with (tmp_path / "lab.log").open("wb") as log:
        server = subprocess.Popen(argv, env=env, cwd=folder, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                assert server.poll() is None, (tmp_path / "lab.log").read_text()
                try:
                    urllib.request.urlopen(f"{url}/api?token={token}", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield f"{url}/lab/tree/pick.ipynb?token={token}&reset"
        finally:
            server.terminate()
            server.wait(30)
            end_supervisors(home)


def run(page: Page, cell: int, *, wait: bool = True) -> None:
    editor = page.locator(".jp-CodeCell").nth(cell)
    editor.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    if wait:
        editor.locator(".jp-InputPrompt", has_text="[").filter(has_not_text="*").filter(
            has_text=str(cell + 1)
        ).wait_for()


def test_pick_and_wait_in_a_notebook(browser: Browser, lab: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(90_000)
    page.goto(lab)
    page.locator(".jp-CodeCell").nth(3).wait_for()
    page.evaluate(KERNEL_READY)  # a cell that is run before is not run at all
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
    run(page, 0)
    run(page, 1)
    grid = page.get_by_role("grid", name="Offers")
    grid.wait_for()
    page.locator(".gpunb-row").first.click()
    picture(page, "lab-picker")
    # the next cell waits, and the click is made while it does
    run(page, 2, wait=False)
    page.get_by_role("grid", name="Offers").focus()
    page.keyboard.press("Enter")
    page.get_by_role("alertdialog").wait_for()
    page.wait_for_timeout(700)
    picture(page, "lab-confirm")
    page.locator(".gpunb-yes").click()
    page.get_by_text("rented ready").wait_for()
    picture(page, "lab-ready")
    run(page, 3)
    page.get_by_text("42", exact=True).first.wait_for()
    # one-key commands of the notebook did nothing while the picker had the focus
    assert page.locator(".jp-CodeCell").count() >= len(CELLS)
    page.close()

"""A kernel that sends hostile display data, into a real JupyterLab in a real Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.attack.frame import Escaped, Place, case
from tests.attack.hostile.payloads import FRAMES, PAYLOADS

if TYPE_CHECKING:
    from playwright.sync_api import Page

TOKEN = "a-token-of-a-test"
MOST_SECONDS = 240.0  # JupyterLab starts in the first case
NAMES = [*PAYLOADS, *FRAMES]
KNOWN_TO_WORK = ["a script in HTML", "a widget that writes a file by the page's token"]
_one = ThreadPoolExecutor(1)  # Playwright keeps to one thread
_lab: dict[str, Any] = {}


def _start(place: Place) -> Page:
    """JupyterLab with one notebook, in a page that is ready to run its cells."""
    if "page" in _lab:
        return _lab["page"]  # type: ignore[no-any-return]
    from tests.support.machines.chromium import chromium

    base = place.root / "tmp/lab"
    work = _lab["work"] = base / "work"
    for folder in (work, base / "config"):
        folder.mkdir(parents=True)
    settings = {
        "IdentityProvider": {"token": TOKEN},
        "LabApp": {"news_url": None, "expose_app_in_browser": True},
        "ServerApp": {
            "root_dir": str(work),
            "jpserver_extensions": {"jupyterlab": True, "jupyter_lsp": False},
        },
    }
    (base / "config/jupyter_server_config.json").write_text(json.dumps(settings))
    played = [(name, place.url, "stranger") for name in NAMES]
    played += [(name, f"{place.url}-control", "own") for name in KNOWN_TO_WORK]
    code = [f"from tests.attack.hostile.stage import play; play{one!r}" for one in played]
    empty: dict[str, Any] = {"outputs": [], "execution_count": None}
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": text, **empty}
        for n, text in enumerate(code)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}
    (work / "evil.ipynb").write_text(json.dumps(book))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ, "JUPYTER_CONFIG_DIR": str(base / "config"), "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTER_RUNTIME_DIR": str(base / "run"), "IPYTHONDIR": str(base / "ipython"),
        "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces"), "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    argv = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        "--allow-root",
        f"--port={port}",
    ]
    log = (base / "log").open("wb")
    _lab["log"], _lab["server"] = log, subprocess.Popen(argv, cwd=work, env=env, stdout=log, stderr=log)
    until = time.monotonic() + 180
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5):
            break
        if time.monotonic() > until:
            raise AssertionError((base / "log").read_text()[-2000:])
        time.sleep(0.2)
    os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_CACHE_HOME"] = str(base / "browser")
    stack = _lab["stack"] = contextlib.ExitStack()
    page = stack.enter_context(chromium()).new_page()
    page.set_default_timeout(180_000)
    page.goto(f"http://127.0.0.1:{port}/lab/tree/evil.ipynb?token={TOKEN}&reset")
    page.wait_for_function(
        "(() => { const panel = window.jupyterapp?.shell.currentWidget;"
        f" return panel?.content?.widgets?.length == {len(cells)}"
        " && panel.sessionContext.session?.kernel?.status == 'idle'; })()"
    )
    _lab["page"] = page
    return page


_RUN = """async (at) => {
    const app = window.jupyterapp, panel = app.shell.currentWidget;
    panel.content.activeCellIndex = at;
    await app.commands.execute('notebook:run-cell');
    const cell = panel.content.widgets[at].model;
    return [cell.executionCount, cell.outputs.length, JSON.stringify(cell.outputs.toJSON()).slice(0, 20000)];
}"""
_TOUCH = """async (at) => {
    const node = window.jupyterapp.shell.currentWidget.content.widgets[at].node;
    const area = node.querySelector('.jp-OutputArea');
    for (const one of area ? area.querySelectorAll('*') : []) {
        for (const type of ['mouseover', 'focus', 'toggle']) one.dispatchEvent(new Event(type));
    }
    for (const one of area ? area.querySelectorAll('a, button, input') : []) {
        one.removeAttribute('target');
        if (!/^https?:/.test(one.getAttribute('href') || '')) one.click();
    }
    await new Promise(done => setTimeout(done, 500));
    const clean = ({}).pollutedByHost === undefined && typeof [].map === 'function';
    if (!clean) return ['(the page is polluted)', ''];
    return [location.pathname, area ? area.innerText.slice(0, 300) : ''];
}"""


def _show(place: Place, at: int) -> str:
    page = _start(place)
    count, outputs, raw = page.evaluate(_RUN, at)
    if not count:
        raise Escaped("the cell did not run")
    if '"output_type":"error"' in raw:
        raise Escaped(raw[:1500])
    path, text = page.evaluate(_TOUCH, at)
    written = sorted(one.name for one in _lab["work"].iterdir() if one.name.startswith("pwned"))
    if written and at < len(NAMES):
        raise Escaped(f"the page wrote {written}")
    if "/lab" not in path:
        raise Escaped(f"the page went to {path}")
    return f"{outputs} outputs: {' '.join(text.split())[:160]}"


def _case(place: Place, at: int) -> str:
    return _one.submit(_show, place, at).result(MOST_SECONDS)


for _at, _name in enumerate(NAMES):
    _body = partial(_case, at=_at)
    _body.__module__ = __name__  # type: ignore[attr-defined]
    case(_name, "^[0-9]+ outputs: ")(_body)


def _seen(place: Place, at: int) -> bool:
    """Whether a case that is known to work is noticed."""
    _one.submit(_show, place, len(NAMES) + at).result(MOST_SECONDS)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if any("-control" in hit for hit in place.canary.hits):
            place.canary.hits.clear()
            return True
        time.sleep(0.1)
    raise Escaped("nobody would have noticed")


@case("the watch works: a script of the user's own host does run", "^the canary was seen$")
def _(place: Place) -> str:
    return "the canary was seen" if _seen(place, 0) else ""


@case("the watch works: a widget of the user's own host writes a file", "^the file was seen$")
def _(place: Place) -> str:
    _seen(place, 1)
    file = _lab["work"] / "pwned.txt"
    return "the file was seen" if file.exists() else ""


def close() -> None:
    def end() -> None:
        if "stack" in _lab:
            _lab["stack"].close()
        server = _lab.get("server")
        if server is not None:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(20)
            server.kill()
            server.wait(10)
            _lab["log"].close()

    _one.submit(end).result(60)
    _one.shutdown()

"""Debian's headless Chromium, and pages that load the widgets' own files without a server."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import gpunb.notebook.widgets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

STATIC = Path(gpunb.notebook.widgets.__file__).with_name("static")
PICTURES = Path(__file__).parents[3] / "build" / "screenshots"
ORIGIN = "http://widgets.test"  # answered by `route`; nothing leaves the browser
SHELL = """<!doctype html><html><head><meta charset="utf-8">
<link rel="stylesheet" href="/picker.css"><link rel="stylesheet" href="/panel.css">
<style>body {{ margin: 8px; background: {background}; }}</style></head>
<body><div id="here"></div></body></html>"""

# of the picker's table: heads and figures that are cut, heads outside of their column, columns outside of it,
# cells that are not below their head; sorted by each column in turn, which adds an arrow to its head
HEADS = """() => {
  const said = [];
  const box = (one) => one.getBoundingClientRect();
  const grid = document.querySelector('.gpunb-grid');
  const shown = () => [...grid.querySelectorAll('.gpunb-head .gpunb-cell')].filter((one) => !one.hidden);
  for (const press of shown().map((head) => head.querySelector('.gpunb-sort'))) {
    press.click();
    for (const head of shown()) {
      const text = head.textContent;
      const button = head.querySelector('.gpunb-sort');
      if ([head, button].some((one) => one.scrollWidth > one.clientWidth)) said.push(`${text} is cut`);
      if (box(button).left < box(head).left || box(button).right > box(head).right + 0.5)
        said.push(`${text} is outside of its column`);
      if (box(head).right > box(grid).right + 0.5) said.push(`${text} is beside the table`);
      const key = [...head.classList].find((name) => name.startsWith('gpunb-c-'));
      for (const cell of [...grid.querySelectorAll(`.gpunb-row:not([hidden]) .${key}`)].slice(0, 5)) {
        if (cell.matches('.gpunb-num') && cell.scrollWidth > cell.clientWidth)
          said.push(`${cell.textContent} is cut`);
        if (Math.abs(box(cell).left - box(head).left) > 1 || Math.abs(box(cell).width - box(head).width) > 1)
          said.push(`${text} is not above its cells`);
      }
    }
    press.click();
    press.click();
  }
  return { said, heads: shown().map((head) => head.textContent) };
}"""

# in a JupyterLab with --expose-app-in-browser: the kernel of the notebook in front has said what it is
KERNEL_READY = """async () => {
  const context = window.jupyterapp.shell.currentWidget.sessionContext;
  await context.ready;
  await context.session.kernel.info;
}"""


def executable() -> str:
    """Where Chromium is; the test is skipped where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("needs Debian's chromium")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of our own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=executable(),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            timeout=90_000,
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def blank(browser: Browser, *, width: int = 1280, height: int = 800, dark: bool = False) -> Iterator[Page]:
    """A page with the widgets' styles, an element ``#here``, and none of our code loaded yet."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    faults: list[str] = []
    page.on("pageerror", lambda err: faults.append(str(err)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)

    def serve(route: Any) -> None:
        name = route.request.url.removeprefix(ORIGIN).lstrip("/")
        if not name:
            body = SHELL.format(background="#111" if dark else "#fff")
            route.fulfill(body=body, content_type="text/html")
        elif (STATIC / name).is_file():
            kind = "text/css" if name.endswith(".css") else "text/javascript"
            route.fulfill(path=str(STATIC / name), content_type=kind)
        else:
            route.fulfill(status=204, body="")

    page.route("**/*", serve)
    page.goto(ORIGIN + "/")
    try:
        yield page
        assert not faults, faults
    finally:
        context.close()


def picture(page: Page, name: str) -> None:
    """Keep a screenshot, to be looked at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(PICTURES / f"{name}.png"))

"""JupyterLab as somebody sees it: what the tests click and read."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from tests.browser.rig import TOKEN
from tests.support.machines.chromium import KERNEL_READY, PICTURES

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page

    from tests.browser.rig import Rig

WAIT_MS = 90_000
expect.set_options(timeout=WAIT_MS)


class Lab:
    """One browser window."""

    def __init__(self, rig: Rig, context: BrowserContext) -> None:
        self.rig = rig
        self.context = context
        self.faults: list[str] = []
        self.page: Page = self._watched(context.new_page())

    def _watched(self, page: Page) -> Page:
        page.on("pageerror", lambda err: self.faults.append(str(err)))
        page.on("console", self._heard)
        # JupyterLab's own words about a server that is gone, and about kernels that went with it
        said = re.compile("Server Connection Error|Kernel does not exist|Kernel Restarting")
        theirs = page.locator(".jp-Dialog", has_text=said)
        page.add_locator_handler(theirs, lambda found: found.locator("button.jp-Dialog-button").last.click())
        return page

    def _heard(self, said: ConsoleMessage) -> None:
        # JupyterLab catches what a plugin throws when it begins, and only says so on the console;
        # there the browser also tells of lines that break, as some tests mean them to
        if said.type == "error" and not re.search(r"net::|Failed to load resource|WebSocket", said.text):
            self.faults.append(said.text)

    def check(self) -> None:
        """No error that nobody caught, by anything of ours."""
        ours = [text for text in self.faults if "gpunb" in text.lower()]
        assert not ours, ours

    def another(self) -> Lab:
        """A second tab of the same browser."""
        twin = Lab.__new__(Lab)
        twin.rig, twin.context, twin.faults = self.rig, self.context, self.faults
        twin.page = self._watched(self.context.new_page())
        return twin

    # -- the page

    def open(self, path: str = "lab?reset", *, panel: bool = True) -> None:
        """Open JupyterLab, logged in, with the left panel."""
        sign = "&" if "?" in path else "?"
        self.page.goto(f"{self.rig.url}/{path}{sign}token={TOKEN}", wait_until="domcontentloaded")
        self.settle(panel=panel)

    def settle(self, *, panel: bool = True) -> None:
        """Wait until JupyterLab and our part of it are there."""
        self.page.wait_for_selector("#main", state="visible", timeout=WAIT_MS)
        self.page.wait_for_selector(
            "body[data-gpunb-link]:not([data-gpunb-link=connecting])", state="attached", timeout=WAIT_MS
        )
        # a notebook that is restored comes to the front, whatever was opened before it did
        self.page.evaluate("window.jupyterapp?.restored?.then(() => null)")
        if panel:
            self.show_panel()

    def show_panel(self) -> None:
        tab = self.page.locator('li.lm-TabBar-tab[data-id="gpunb-panel"]')
        tab.wait_for()
        if "lm-mod-current" not in (tab.get_attribute("class") or ""):
            tab.click()
        self.page.locator("#gpunb-panel").wait_for()

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_timeout(400)  # notifications glide in
        self.page.screenshot(path=str(PICTURES / f"lab-{name}.png"))

    def until(self, check: Callable[[], Any], why: str, seconds: float = 90) -> Any:
        """Wait for what is no element."""
        end = time.monotonic() + seconds
        while True:
            found = check()
            if found:
                return found
            assert time.monotonic() < end, why
            self.page.wait_for_timeout(200)

    def run(self, command: str, **args: Any) -> None:
        """A command of JupyterLab's, as the palette runs it (not waited for)."""
        self.page.evaluate(
            "([id, args]) => { void window.jupyterapp.commands.execute(id, args); }", [command, args]
        )

    # -- our parts

    @property
    def side(self) -> Locator:
        return self.page.locator("#gpunb-panel")

    def card(self, name: str) -> Locator:
        title = self.page.locator(".gpunb-card-name", has_text=re.compile(f"^{re.escape(name)}$"))
        return self.side.locator(".gpunb-card", has=title)

    @property
    def cost(self) -> Locator:
        return self.page.locator(".gpunb-status-press")

    def rent(self, name: str, *, find: str = "", wait: bool = True, budget: str = "") -> None:
        """By clicking, from the panel to "ready"."""
        dialog = self.rent_dialog()
        dialog.get_by_label("Name").fill(name)
        if budget:
            dialog.get_by_label("Budget, $").fill(budget)
        if find:
            dialog.locator(".gpunb-find").fill(find)
        dialog.locator(".gpunb-row").first.click()
        dialog.locator(".gpunb-foot .gpunb-rent").click()
        yes = dialog.locator(".gpunb-dialog .gpunb-yes")
        yes.wait_for()
        self.page.wait_for_timeout(700)  # a click that comes sooner is no answer
        yes.click()
        if wait:
            expect(dialog.locator(".gpunb-progress")).to_have_attribute("data-state", "ready")
            self.close_dialog()
            expect(self.card(name)).to_have_attribute("data-state", "ready")

    def rent_dialog(self, *, offers: bool = True) -> Locator:
        """The Rent dialog, with its offers unless there are none."""
        self.side.get_by_role("button", name="Rent…").click()
        dialog = self.page.locator(".gpunb-rent-dialog")
        dialog.locator(".gpunb-row" if offers else ".gpunb-note").first.wait_for()
        return dialog

    def close_dialog(self) -> None:
        self.page.locator(".jp-Dialog-footer button", has_text="Close").click()
        self.page.locator(".gpunb-rent-dialog").wait_for(state="detached")

    def act(self, name: str, action: str) -> None:
        """A button of the card, and yes to its question."""
        card = self.card(name)
        card.locator(f".gpunb-actions .gpunb-{action}").click()
        self.yes(card)

    def yes(self, card: Locator) -> str:
        """Yes to the card's question; what it said."""
        yes = card.locator(".gpunb-yes")
        yes.wait_for()
        said = card.locator(".gpunb-says").inner_text()
        self.page.wait_for_timeout(600)  # a click that comes sooner is no answer
        yes.click()
        return said

    # -- notebooks

    def notebook(self, name: str = "Untitled.ipynb") -> None:
        """A new notebook with the local Python kernel."""
        self.notebook_file(name)
        self.run("docmanager:open", path=name, factory="Notebook")
        self.page.locator(".jp-NotebookPanel:visible .jp-Notebook").wait_for()
        self.page.evaluate(KERNEL_READY)
        self.idle()

    def notebook_file(self, name: str) -> None:
        self.rig.ask(f"api/contents/{name}", "PUT", {"type": "notebook", "format": "json", "content": EMPTY})

    def idle(self) -> None:
        self.page.locator(
            '.jp-NotebookPanel:visible .jp-Notebook-ExecutionIndicator[data-status="idle"]'
        ).wait_for(timeout=WAIT_MS)

    def cell(self, code: str) -> Locator:
        """Type a cell at the end and run it; its element."""
        cells = self.page.locator(".jp-NotebookPanel:visible .jp-CodeCell")
        last = cells.last
        last.locator(".cm-content").click()
        self.page.keyboard.insert_text(code)
        at = cells.count() - 1
        self.page.keyboard.press("Shift+Enter")
        return cells.nth(at)

    @property
    def run_on(self) -> Locator:
        return self.page.locator(".jp-NotebookPanel:visible .gpunb-run-on-select")


# a cell that is run before the kernel has said who it is may be lost
EMPTY = {
    "cells": [{"cell_type": "code", "source": "", "metadata": {}, "outputs": [], "execution_count": None}],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
